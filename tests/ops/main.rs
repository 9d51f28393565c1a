//! Every operation against a plain reference, and its edge cases, on every device. The vectors of the
//! specification are run by `tests/vectors`.

mod adamw;
mod auroc;
mod bce;
mod bucketize;
mod buffers;
mod combine;
mod combine_tile;
mod common;
mod copy_column;
#[path = "../common/devices.rs"]
mod devices;
mod encode_ids;
mod feature_cross;
mod features;
mod fill;
mod hash_table;
mod initialize;
mod linear;
mod linear_tile;
mod merge_gradients;
mod merge_offsets;
mod mlp;
mod modulo;
mod multi_hash;
mod names;
mod outside;
mod partition_ids;
mod ragged_dense;
mod refused;
mod rows;
mod scale;
mod sparse_adamw;
mod string_hash;
mod threads;
mod truncate;
