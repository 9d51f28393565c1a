//! One gradient for each row out of several lists (SPEC 5.3): gradient accumulation, and tables that
//! several features of a step use.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Result, ops::cpu};

/// The rows of all `lists` (rows, gradients [rows, dim]), ascending, and for each the sum of its
/// gradients divided by `steps`. [`crate::ops::hash_table::NO_ROW`] is passed over.
pub fn forward(
    lists: &[(Buffer<u32>, Buffer<f32>)],
    dim: usize,
    steps: usize,
    stream: &Stream,
) -> Result<(Buffer<u32>, Buffer<f32>)> {
    ensure(steps > 0 && dim > 0, "merge_gradients", || format!("{steps} steps of dim {dim}"))?;
    for (rows, gradients) in lists {
        ensure(gradients.len() == rows.len() * dim, "merge_gradients", || {
            format!("{} gradient values for {} rows of {dim}", gradients.len(), rows.len())
        })?;
    }
    match stream.device() {
        Device::Cpu => {
            let lists: Vec<_> = lists.iter().map(|(rows, values)| (rows.host(), values.host())).collect();
            let (rows, gradients) = cpu::merge_gradients::forward(&lists, dim, steps);
            Ok((rows.into(), gradients.into()))
        }
    }
}
