//! Whole-model behaviour, on a DeepCTR scaled down: the same features and tables, short sequences.

#[path = "../common/devices.rs"]
mod devices;
mod hostile;
mod model;
mod plan;
#[path = "../common/root.rs"]
mod root;
mod trace;
mod training;
