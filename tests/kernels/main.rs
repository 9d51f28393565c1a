//! Every kernel, run thread by thread on the CPU between guard pages, against the operation's CPU
//! form; and what the launchers refuse.

mod abi;
mod adamw;
mod auroc;
mod bce;
mod bucketize;
mod combine;
mod combine_tile;
mod common;
mod copy_column;
mod encode_ids;
mod feature_cross;
mod fill;
mod hash_table;
mod linear;
mod linear_tile;
mod merge_gradients;
mod mlp;
mod modulo;
mod multi_hash;
mod partition_ids;
mod relu;
#[path = "../common/root.rs"]
mod root;
mod rows;
mod scale;
mod segment_sum;
mod sigmoid;
mod sparse_adamw;
mod string_hash;
mod truncate;
