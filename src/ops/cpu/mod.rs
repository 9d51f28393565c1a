//! The portable forms of the operations, on plain slices. Callers have checked the sizes.

pub mod adamw;
pub mod auroc;
pub mod bce;
pub mod bucketize;
pub mod combine;
pub mod combine_tile;
pub mod copy_column;
pub mod encode_ids;
pub mod feature_cross;
pub mod fill;
pub(crate) mod gemm;
pub mod hash_table;
pub mod initialize;
pub mod linear;
// Its callers promise that the inputs of a layer do not overlap.
pub(crate) mod linear_tile;
pub mod lookup;
pub mod merge_gradients;
pub mod merge_offsets;
pub mod mlp;
pub mod modulo;
pub mod multi_hash;
pub mod partition_ids;
pub mod philox;
pub mod ragged_dense;
pub mod relu;
pub mod rows;
pub mod scale;
pub mod sigmoid;
pub mod sparse_adamw;
pub mod string_hash;
pub mod truncate;

/// Elements below which splitting elementwise work over threads costs more than it gains.
const GRAIN: usize = 1 << 14;
