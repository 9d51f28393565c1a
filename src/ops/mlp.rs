//! The small layers behind a network's first one, with the loss: `relu`, then `linear` layers with `relu`
//! between them, `sigmoid` and `bce`, forward and backward of a batch in one. f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::recis_mlp_layer;
use crate::ops::bce;
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::ops::unfit::Word;
use crate::{Result, ops::cpu};

/// A fully connected layer.
pub struct Layer<'a> {
    /// [outputs, inputs].
    pub weight: &'a Buffer<f32>,
    /// `[outputs]`.
    pub bias: &'a Buffer<f32>,
    /// The gradient of the weight.
    pub d_weight: &'a mut Buffer<f32>,
    /// The gradient of the bias.
    pub d_bias: &'a mut Buffer<f32>,
    /// Values a row before the layer.
    pub inputs: usize,
    /// Values a row after the layer.
    pub outputs: usize,
}

/// A batch of as many rows as there are labels.
pub struct Batch<'a> {
    /// The first layer's input before its `relu`, [rows, inputs].
    pub x: &'a Buffer<f32>,
    /// A label a row.
    pub label: &'a Buffer<f32>,
    /// A prediction a row.
    pub prediction: &'a mut Buffer<f32>,
    /// The mean loss, one element.
    pub loss: &'a mut Buffer<f32>,
    /// The gradient of `x`.
    pub d_x: &'a mut Buffer<f32>,
    /// Remembers the first prediction that is outside [0, 1] or NaN.
    pub unfit: Word<'a>,
}

/// Whether layers of these widths can run as one: values a row before the first and after each. There are 1
/// to 4, of at most 256 values a row, ending in 1, and they fit into 99 KiB of a device's shared memory as
/// `recis.h` counts it.
pub fn fits(widths: &[usize]) -> bool {
    let within = (2..=5).contains(&widths.len()) && widths.iter().all(|width| (1..=256).contains(width));
    let parameters: usize = widths.windows(2).map(|pair| pair[1] * ((pair[0] + 1) | 1)).sum();
    within && widths.last() == Some(&1) && {
        8192 + 32 * widths.iter().sum::<usize>() + 4 * parameters <= 99 << 10
    }
}

/// Writes predictions, their loss as [`bce::forward`] has it, and the gradients of `x` and of the
/// parameters; the latter are added with `accumulate`. The loss and the parameters' gradients are added up `beside`:
/// `stream` does not wait for them.
///
/// # Errors
/// Sizes that differ or that do not fit ([`fits`]), and no rows.
pub fn train(
    layers: &mut [Layer<'_>],
    batch: Batch<'_>,
    accumulate: bool,
    stream: &Stream,
    beside: &Stream,
) -> Result<()> {
    check(layers, &batch)?;
    stream.read("the stream beside", beside.device(), None)?;
    let Batch { x, label, prediction, loss, d_x, mut unfit } = batch;
    match stream.device() {
        Device::Cpu => {
            let mut layers = layers.iter_mut().map(Layer::host).collect::<Result<Vec<_>>>()?;
            loss.on_cpu_mut()?[0] = cpu::mlp::train(
                &mut layers,
                x.on_cpu()?,
                label.on_cpu()?,
                prediction.on_cpu_mut()?,
                d_x.on_cpu_mut()?,
                accumulate,
            );
            bce::note_unfit(prediction.on_cpu()?, &mut unfit)
        }
        _ => {
            let raw = layers.iter_mut().map(|layer| layer.raw(stream, beside)).collect::<Result<Vec<_>>>()?;
            let (raw, count, rows) = (raw.as_ptr(), raw.len() as i64, label.len() as i64);
            let mut scratch = workspace!(stream, recis_mlp_workspace_size(raw, count, rows))?;
            let (x, label, prediction) = (x.on(stream)?, label.on(stream)?, prediction.on_mut(stream)?);
            let (d_x, unfit) = (d_x.on_mut(stream)?, unfit.on_mut(stream)?);
            let (memory, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_mlp_train(x, label, raw, count, rows, prediction, d_x, unfit, memory, bytes)
            )?;
            let (loss, accumulate) = (loss.on_mut(beside)?, i32::from(accumulate));
            let (memory, bytes) = scratch_on(&mut scratch, beside)?;
            launch!(beside, recis_mlp_finish(raw, count, rows, loss, accumulate, memory, bytes))
        }
    }
}

impl Layer<'_> {
    fn host(&mut self) -> Result<cpu::mlp::Layer<'_>> {
        Ok(cpu::mlp::Layer {
            weight: self.weight.on_cpu()?,
            bias: self.bias.on_cpu()?,
            d_weight: self.d_weight.on_cpu_mut()?,
            d_bias: self.d_bias.on_cpu_mut()?,
            inputs: self.inputs,
            outputs: self.outputs,
        })
    }

    /// Its parameters for `stream`, and their gradients to be written `beside`.
    fn raw(&mut self, stream: &Stream, beside: &Stream) -> Result<recis_mlp_layer> {
        Ok(recis_mlp_layer {
            weight: self.weight.on(stream)?,
            bias: self.bias.on(stream)?,
            d_weight: self.d_weight.on_mut(beside)?,
            d_bias: self.d_bias.on_mut(beside)?,
            inputs: self.inputs as i64,
            outputs: self.outputs as i64,
        })
    }
}

fn check(layers: &[Layer<'_>], batch: &Batch<'_>) -> Result<()> {
    let first = layers.first().map(|layer| layer.inputs);
    let widths: Vec<_> = first.into_iter().chain(layers.iter().map(|layer| layer.outputs)).collect();
    let follows = layers.iter().zip(&widths).all(|(layer, &width)| layer.inputs == width);
    ensure(follows && fits(&widths), "mlp", || {
        let sizes: Vec<_> =
            layers.iter().map(|layer| format!("{} -> {}", layer.inputs, layer.outputs)).collect();
        format!("layers {} cannot run as one", sizes.join(", "))
    })?;
    for Layer { weight, bias, d_weight, d_bias, inputs, outputs } in layers {
        let lengths = [weight.len(), bias.len(), d_weight.len(), d_bias.len()];
        let expected = [outputs * inputs, *outputs, outputs * inputs, *outputs];
        ensure(lengths == expected, "mlp", || {
            format!(
                "a layer {inputs} -> {outputs} needs (weight, bias, d_weight, d_bias) of {expected:?} \
                 elements, got {lengths:?}"
            )
        })?;
    }
    let rows = batch.label.len();
    let lengths = [batch.x.len(), batch.prediction.len(), batch.loss.len(), batch.d_x.len()];
    // A size that no buffer has is unequal to any.
    let values = rows.saturating_mul(widths[0]);
    ensure(rows > 0 && lengths == [values, rows, 1, values], "mlp", || {
        format!("{rows} rows of {} values, but (x, prediction, loss, d_x) of {lengths:?} elements", widths[0])
    })
}
