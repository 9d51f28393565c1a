//! A fully connected layer: `y = x Wᵀ + b` (torch's `nn.Linear`), forward and backward, f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::recis_linear_size;
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::{Result, ops::cpu};

pub use cpu::linear::Size;

/// `y = x Wᵀ + b`: `x` [rows, inputs], `weight` [outputs, inputs], `bias` `[outputs]`,
/// `y` [rows, outputs].
pub fn forward(
    x: &Buffer<f32>,
    weight: &Buffer<f32>,
    bias: &Buffer<f32>,
    y: &mut Buffer<f32>,
    size: Size,
    stream: &Stream,
) -> Result<()> {
    check(size, x.len(), y.len(), weight.len(), bias.len())?;
    match stream.device() {
        Device::Cpu => {
            cpu::linear::forward(x.on_cpu()?, weight.on_cpu()?, bias.on_cpu()?, y.on_cpu_mut()?, size);
            Ok(())
        }
        _ => {
            let mut scratch = workspace!(stream, recis_linear_workspace_size(&size.raw()))?;
            let (x, weight, bias) = (x.on(stream)?, weight.on(stream)?, bias.on(stream)?);
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            let y = y.on_mut(stream)?;
            launch!(stream, recis_linear_forward(x, weight, bias, y, &size.raw(), scratch, bytes))
        }
    }
}

/// The gradients of the parameters, written or (with `accumulate`) added: `d_y` [rows, outputs],
/// `d_weight` and `d_bias` shaped like their parameters.
pub fn backward_weight(
    x: &Buffer<f32>,
    d_y: &Buffer<f32>,
    d_weight: &mut Buffer<f32>,
    d_bias: &mut Buffer<f32>,
    size: Size,
    accumulate: bool,
    stream: &Stream,
) -> Result<()> {
    check(size, x.len(), d_y.len(), d_weight.len(), d_bias.len())?;
    match stream.device() {
        Device::Cpu => {
            let (d_weight, d_bias) = (d_weight.on_cpu_mut()?, d_bias.on_cpu_mut()?);
            cpu::linear::backward_weight(x.on_cpu()?, d_y.on_cpu()?, d_weight, d_bias, size, accumulate);
            Ok(())
        }
        _ => {
            let mut scratch = workspace!(stream, recis_linear_workspace_size(&size.raw()))?;
            let (x, d_y, size, accumulate) =
                (x.on(stream)?, d_y.on(stream)?, size.raw(), i32::from(accumulate));
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            let (d_weight, d_bias) = (d_weight.on_mut(stream)?, d_bias.on_mut(stream)?);
            launch!(
                stream,
                recis_linear_backward_weight(x, d_y, d_weight, d_bias, &size, accumulate, scratch, bytes)
            )
        }
    }
}

/// The gradient of the input: `d_x = d_y W`, [rows, inputs].
pub fn backward_input(
    d_y: &Buffer<f32>,
    weight: &Buffer<f32>,
    d_x: &mut Buffer<f32>,
    size: Size,
    stream: &Stream,
) -> Result<()> {
    check(size, d_x.len(), d_y.len(), weight.len(), size.outputs)?;
    match stream.device() {
        Device::Cpu => {
            cpu::linear::backward_input(d_y.on_cpu()?, weight.on_cpu()?, d_x.on_cpu_mut()?, size);
            Ok(())
        }
        _ => {
            let mut scratch = workspace!(stream, recis_linear_workspace_size(&size.raw()))?;
            let (d_y, weight, d_x) = (d_y.on(stream)?, weight.on(stream)?, d_x.on_mut(stream)?);
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(stream, recis_linear_backward_input(d_y, weight, d_x, &size.raw(), scratch, bytes))
        }
    }
}

impl Size {
    /// The size as kernels take it.
    pub(crate) fn raw(self) -> recis_linear_size {
        let Self { rows, inputs, outputs } = self;
        recis_linear_size { rows: rows as i64, inputs: inputs as i64, outputs: outputs as i64 }
    }
}

fn check(size: Size, x: usize, y: usize, weight: usize, bias: usize) -> Result<()> {
    let Size { rows, inputs, outputs } = size;
    ensure(inputs > 0 && outputs > 0, "linear", || format!("a layer {inputs} -> {outputs} has no weights"))?;
    // Sizes that no buffer has are unequal to any.
    let [x_len, y_len] = [inputs, outputs].map(|columns| rows.saturating_mul(columns));
    let expected = (x_len, y_len, outputs.saturating_mul(inputs), outputs);
    ensure((x, y, weight, bias) == expected, "linear", || {
        format!(
            "{rows} rows of {inputs} -> {outputs} need (x, y, weight, bias) of {expected:?} elements, got {:?}",
            (x, y, weight, bias)
        )
    })
}
