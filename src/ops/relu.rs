//! Rectification: `y = max(x, 0)`, elementwise, f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Result, ops::cpu};

/// `y = max(x, 0)`.
pub fn forward(x: &Buffer<f32>, y: &mut Buffer<f32>, stream: &Stream) -> Result<()> {
    ensure(x.len() == y.len(), "relu", || format!("{} values but room for {}", x.len(), y.len()))?;
    match stream.device() {
        Device::Cpu => cpu::relu::forward(x.host(), y.host_mut()),
    }
    Ok(())
}

/// `d_x = d_y` where the output `y` is positive, else 0.
pub fn backward(y: &Buffer<f32>, d_y: &Buffer<f32>, d_x: &mut Buffer<f32>, stream: &Stream) -> Result<()> {
    ensure(y.len() == d_y.len() && y.len() == d_x.len(), "relu", || {
        format!("{} outputs, {} gradients, room for {}", y.len(), d_y.len(), d_x.len())
    })?;
    match stream.device() {
        Device::Cpu => cpu::relu::backward(y.host(), d_y.host(), d_x.host_mut()),
    }
    Ok(())
}
