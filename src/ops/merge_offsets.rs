//! The offsets of several ragged columns as those of one (SPEC 3.4).

use crate::Result;
use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::{check_offsets, cpu, launch::only_cpu};

/// The offsets of the columns one after the other, as if their values were: `columns` are (offsets,
/// number of values).
pub fn forward(columns: &[(&Buffer<i32>, usize)], stream: &Stream) -> Result<Buffer<i32>> {
    for (offsets, values) in columns {
        check_offsets("merge_offsets", offsets, *values)?;
    }
    let total: usize = columns.iter().map(|(_, values)| values).sum();
    ensure(i32::try_from(total).is_ok(), "merge_offsets", || format!("{total} values, above 2^31 - 1"))?;
    match stream.device() {
        Device::Cpu => {
            let host = columns.iter().map(|(offsets, values)| Ok((offsets.on_cpu()?, *values)));
            let columns = host.collect::<Result<Vec<_>>>()?;
            Ok(cpu::merge_offsets::forward(&columns).into())
        }
        device => Err(only_cpu("merge_offsets", device)),
    }
}
