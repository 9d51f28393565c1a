//! The operations, one file each: a safe function that checks sizes once and then calls the form
//! for the stream's device. The portable forms are in [`cpu`], under the same names.
//!
//! Operations on several columns take a slice of them: one call (on a GPU one launch) serves all.
//! The stream comes last. Results do not depend on the number of threads.

pub mod adamw;
pub mod auroc;
pub mod bce;
pub mod bucketize;
pub mod combine;
pub mod combine_tile;
pub mod copy_column;
pub mod cpu;
pub mod encode_ids;
pub mod feature_cross;
pub mod hash_table;
pub mod initialize;
pub mod linear;
pub mod linear_tile;
pub mod lookup;
pub mod merge_gradients;
pub mod merge_offsets;
pub mod modulo;
pub mod multi_hash;
pub mod partition_ids;
pub mod ragged_dense;
pub mod relu;
pub mod rows;
pub mod scale;
pub mod sigmoid;
pub mod sparse_adamw;
pub mod string_hash;
pub mod truncate;

use crate::device::{Buffer, Device};
use crate::error::ensure;

/// Checks that `offsets` ascend from 0 and end at or before `values`.
pub(crate) fn check_offsets(op: &'static str, offsets: &Buffer<i32>, values: usize) -> crate::Result<()> {
    match offsets.device() {
        Device::Cpu => {
            let offsets = offsets.host();
            ensure(offsets.first() == Some(&0) && offsets.is_sorted(), op, || {
                "offsets do not ascend from 0".into()
            })?;
            let last = offsets.last().copied().unwrap_or_default();
            ensure(last as usize <= values, op, || {
                format!("offsets end at {last}, but there are {values} values")
            })
        }
    }
}
