//! Which interval between boundaries a value lies in (SPEC 2.1).

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::{Result, ops::cpu};

/// One column to put into buckets.
pub struct Column<'a> {
    /// The values, f32.
    pub values: &'a Buffer<f32>,
    /// Ascending, without NaN; checked on the CPU, unspecified results elsewhere.
    pub boundaries: &'a Buffer<f32>,
    /// As many elements as `values`.
    pub out: &'a mut Buffer<i64>,
}

/// `out` = the number of boundaries that are at or below the value: a value on a boundary belongs
/// to the bucket above it. NaN goes to the last bucket.
pub fn forward(columns: &mut [Column<'_>], stream: &Stream) -> Result<()> {
    for c in columns.iter() {
        ensure(c.values.len() == c.out.len(), "bucketize", || {
            format!("{} values but room for {}", c.values.len(), c.out.len())
        })?;
    }
    columns.iter_mut().try_for_each(|c| match stream.device() {
        Device::Cpu => {
            let boundaries = c.boundaries.on_cpu()?;
            let ascend = boundaries.is_sorted() && !boundaries.iter().any(|b| b.is_nan());
            ensure(ascend, "bucketize", || format!("boundaries {boundaries:?} do not ascend"))?;
            cpu::bucketize::forward(c.values.on_cpu()?, boundaries, c.out.on_cpu_mut()?);
            Ok(())
        }
        _ => {
            let (values, count) = (c.values.on(stream)?, c.values.len() as i64);
            let (boundaries, out) = (c.boundaries.on(stream)?, c.out.on_mut(stream)?);
            let boundary_count = c.boundaries.len() as i64;
            launch!(stream, recis_bucketize_forward(values, count, boundaries, boundary_count, out))
        }
    })
}
