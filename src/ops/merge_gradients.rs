//! One gradient for each row out of several lists (SPEC 5.3): gradient accumulation, and tables that
//! several features of a step use.

use crate::Result;
use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::recis_gradients;
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::ops::{count_on, cpu, host_count};

/// Rows and a gradient for each.
#[derive(Debug, Default)]
pub struct Gradients {
    /// Which rows; they differ. [`crate::ops::hash_table::NO_ROW`] is passed over.
    pub rows: Buffer<u32>,
    /// [rows, dim].
    pub values: Buffer<f32>,
    /// How many of the rows are there, one element; none: all.
    pub count: Option<Buffer<u32>>,
}

/// The rows of all `lists`, ascending, and for each the sum of its gradients (in the order of the
/// lists) divided by `steps`.
pub fn forward(lists: &[Gradients], dim: usize, steps: usize, stream: &Stream) -> Result<Gradients> {
    ensure(steps > 0 && dim > 0, "merge_gradients", || format!("{steps} steps of dim {dim}"))?;
    for Gradients { rows, values, .. } in lists {
        ensure(values.len() == rows.len().saturating_mul(dim), "merge_gradients", || {
            format!("{} gradient values for {} rows of {dim}", values.len(), rows.len())
        })?;
    }
    match stream.device() {
        Device::Cpu => {
            let mut host = Vec::new();
            for Gradients { rows, values, count } in lists {
                let count = host_count("merge_gradients", count.as_ref(), rows.len())?;
                host.push((&rows.on_cpu()?[..count], &values.on_cpu()?[..count * dim]));
            }
            let (rows, values) = cpu::merge_gradients::forward(&host, dim, steps);
            Ok(Gradients { rows: rows.into(), values: values.into(), count: None })
        }
        _ => {
            let list = |list: &Gradients| {
                Ok(recis_gradients {
                    rows: list.rows.on(stream)?,
                    values: list.values.on(stream)?,
                    count: count_on(list.count.as_ref(), stream)?,
                    capacity: list.rows.len() as i64,
                })
            };
            let raw = lists.iter().map(list).collect::<Result<Vec<_>>>()?;
            let total: usize = lists.iter().map(|list| list.rows.len()).sum();
            let mut rows = Buffer::unset(total, stream)?;
            let mut values = Buffer::unset(total * dim, stream)?;
            let mut count = Buffer::unset(1, stream)?;
            let mut scratch = workspace!(stream, recis_merge_gradients_workspace_size(total as i64))?;
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            let (out_rows, out_values) = (rows.on_mut(stream)?, values.on_mut(stream)?);
            let (lists, list_count, dim) = (raw.as_ptr(), raw.len() as i64, dim as i64);
            launch!(
                stream,
                recis_merge_gradients_forward(
                    lists,
                    list_count,
                    dim,
                    steps as f32,
                    out_rows,
                    out_values,
                    count.on_mut(stream)?,
                    scratch,
                    bytes
                )
            )?;
            Ok(Gradients { rows, values, count: Some(count) })
        }
    }
}
