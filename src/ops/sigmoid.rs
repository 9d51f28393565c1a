//! The logistic function: `y = 1 / (1 + exp(-x))`, elementwise, f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::{Result, ops::cpu};

/// `y = 1 / (1 + exp(-x))`.
pub fn forward(x: &Buffer<f32>, y: &mut Buffer<f32>, stream: &Stream) -> Result<()> {
    ensure(x.len() == y.len(), "sigmoid", || format!("{} values but room for {}", x.len(), y.len()))?;
    match stream.device() {
        Device::Cpu => {
            cpu::sigmoid::forward(x.on_cpu()?, y.on_cpu_mut()?);
            Ok(())
        }
        _ => launch!(stream, recis_sigmoid_forward(x.on(stream)?, x.len() as i64, y.on_mut(stream)?)),
    }
}

/// `d_x = d_y y (1 - y)`, from the output `y`.
pub fn backward(y: &Buffer<f32>, d_y: &Buffer<f32>, d_x: &mut Buffer<f32>, stream: &Stream) -> Result<()> {
    ensure(y.len() == d_y.len() && y.len() == d_x.len(), "sigmoid", || {
        format!("{} outputs, {} gradients, room for {}", y.len(), d_y.len(), d_x.len())
    })?;
    match stream.device() {
        Device::Cpu => {
            cpu::sigmoid::backward(y.on_cpu()?, d_y.on_cpu()?, d_x.on_cpu_mut()?);
            Ok(())
        }
        _ => {
            let (y, d_y, count) = (y.on(stream)?, d_y.on(stream)?, y.len() as i64);
            launch!(stream, recis_sigmoid_backward(y, d_y, count, d_x.on_mut(stream)?))
        }
    }
}
