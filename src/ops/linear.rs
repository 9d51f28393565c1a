//! A fully connected layer: `y = x Wᵀ + b` (torch's `nn.Linear`), forward and backward, f32.

use std::str::FromStr;

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::{recis_linear_size, recis_precision};
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::{Error, Result, ops::cpu};

/// A layer: `rows` × `inputs` → `rows` × `outputs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows of the batch.
    pub rows: usize,
    /// Values a row before the layer.
    pub inputs: usize,
    /// Values a row after the layer.
    pub outputs: usize,
    /// How exactly large products are computed.
    pub precision: Precision,
}

/// How exactly a device computes large products of matrices; what is stored, and sums, are f32, but what an operation
/// keeps between two products or sums may be as coarse as its factors. Small products, and all on the CPU, are
/// computed in f32 whatever this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As exactly as f32, also where tensor cores are used; there an infinity may become NaN.
    #[default]
    Fp32,
    /// Factors are rounded to TF32, 10 bits of fraction.
    Tf32,
    /// Factors are rounded to bfloat16, 7 bits of fraction.
    Bf16,
}

impl Precision {
    fn raw(self) -> recis_precision {
        match self {
            Self::Fp32 => recis_precision::RECIS_FP32,
            Self::Tf32 => recis_precision::RECIS_TF32,
            Self::Bf16 => recis_precision::RECIS_BF16,
        }
    }
}

/// Reads `fp32`, `tf32` or `bf16`.
impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "fp32" => Ok(Self::Fp32),
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            _ => {
                let what = format!("'{name}' is unknown; one of fp32, tf32, bf16");
                Err(Error::Option { option: "precision".into(), what })
            }
        }
    }
}

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

/// The part of [`backward_weight`] that is `d_bias`, for whoever has `d_weight` from elsewhere.
pub fn backward_bias(
    d_y: &Buffer<f32>,
    d_bias: &mut Buffer<f32>,
    size: Size,
    accumulate: bool,
    stream: &Stream,
) -> Result<()> {
    let Size { rows, inputs, outputs, .. } = size;
    check(size, rows.saturating_mul(inputs), d_y.len(), outputs.saturating_mul(inputs), d_bias.len())?;
    match stream.device() {
        Device::Cpu => {
            cpu::linear::backward_bias(d_y.on_cpu()?, d_bias.on_cpu_mut()?, accumulate);
            Ok(())
        }
        _ => {
            let (d_y, d_bias) = (d_y.on(stream)?, d_bias.on_mut(stream)?);
            launch!(stream, recis_linear_backward_bias(d_y, d_bias, &size.raw(), i32::from(accumulate)))
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
        let Self { rows, inputs, outputs, precision } = self;
        let [rows, inputs, outputs] = [rows, inputs, outputs].map(|size| size as i64);
        recis_linear_size { rows, inputs, outputs, precision: precision.raw() }
    }
}

fn check(size: Size, x: usize, y: usize, weight: usize, bias: usize) -> Result<()> {
    let Size { rows, inputs, outputs, .. } = size;
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
