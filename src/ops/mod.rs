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
pub mod fill;
pub mod hash_table;
pub mod initialize;
mod launch;
pub mod linear;
pub mod linear_tile;
pub mod lookup;
pub mod merge_gradients;
pub mod merge_offsets;
pub mod mlp;
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
pub mod unfit;

use crate::device::{Buffer, Device};
use crate::error::ensure;

/// Checks that `offsets` ascend from 0 and end at or before `values`. On a device only that there are
/// any: looking at them would wait for it, and its kernels keep to their arrays whatever they hold.
pub(crate) fn check_offsets(op: &'static str, offsets: &Buffer<i32>, values: usize) -> crate::Result<()> {
    if offsets.device() != Device::Cpu {
        return ensure(!offsets.is_empty(), op, || "there are no offsets".into());
    }
    let offsets = offsets.on_cpu()?;
    ensure(offsets.first() == Some(&0) && offsets.is_sorted(), op, || "offsets do not ascend from 0".into())?;
    let last = offsets.last().copied().unwrap_or_default();
    ensure(last as usize <= values, op, || format!("offsets end at {last}, but there are {values} values"))
}

/// How many of `capacity` elements there are: what `count` (one element) says, or all.
pub(crate) fn host_count(
    op: &'static str,
    count: Option<&Buffer<u32>>,
    capacity: usize,
) -> crate::Result<usize> {
    let Some(count) = count else { return Ok(capacity) };
    let count = count.on_cpu()?;
    let known = count.first().map(|&count| count as usize).filter(|&count| count <= capacity);
    known.ok_or_else(|| crate::Error::shape(op, format!("a count of {count:?} for {capacity} elements")))
}

/// A count for a kernel; null stands for all.
pub(crate) fn count_on(
    count: Option<&Buffer<u32>>,
    stream: &crate::device::Stream,
) -> crate::Result<*const u32> {
    count.map_or(Ok(std::ptr::null()), |count| count.on(stream))
}
