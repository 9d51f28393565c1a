//! Multiplication by a number, f32.

use crate::Result;
use crate::device::{Buffer, Device, Stream};
use crate::ops::cpu;
use crate::ops::launch::launch;

/// `values *= factor`.
pub fn forward(values: &mut Buffer<f32>, factor: f32, stream: &Stream) -> Result<()> {
    match stream.device() {
        Device::Cpu => {
            cpu::scale::forward(values.on_cpu_mut()?, factor);
            Ok(())
        }
        _ => {
            let count = values.len() as i64;
            launch!(stream, recis_scale_forward(values.on_mut(stream)?, count, factor))
        }
    }
}
