//! One value in every element, f32.

use crate::Result;
use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::ops::{count_on, cpu, host_count};

/// `values[i, j] = value` for `i < count`: `values` is [capacity, width], `count` one element; none
/// means all.
pub fn forward(
    values: &mut Buffer<f32>,
    width: usize,
    count: Option<&Buffer<u32>>,
    value: f32,
    stream: &Stream,
) -> Result<()> {
    ensure(width > 0 && values.len().is_multiple_of(width), "fill", || {
        format!("{} values are not rows of {width}", values.len())
    })?;
    let capacity = values.len() / width;
    match stream.device() {
        Device::Cpu => {
            let count = host_count("fill", count, capacity)?;
            cpu::fill::forward(&mut values.on_cpu_mut()?[..count * width], value);
            Ok(())
        }
        _ => {
            let (count, values) = (count_on(count, stream)?, values.on_mut(stream)?);
            launch!(stream, recis_fill_forward(values, width as i64, capacity as i64, count, value))
        }
    }
}
