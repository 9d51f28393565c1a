//! Whole-model behaviour, on a DeepCTR scaled down: the same features and tables, short sequences.

#[path = "../common/devices.rs"]
mod devices;
mod hostile;
mod model;
mod plan;
mod trace;
mod training;
