//! The small layers behind a network's first one, with the loss: one operation after the other.

use super::{bce, linear, relu, sigmoid};
use crate::ops::linear::{Precision, Size};

/// A fully connected layer.
pub struct Layer<'a> {
    /// [outputs, inputs].
    pub weight: &'a [f32],
    /// `[outputs]`.
    pub bias: &'a [f32],
    /// The gradient of the weight.
    pub d_weight: &'a mut [f32],
    /// The gradient of the bias.
    pub d_bias: &'a mut [f32],
    /// Values a row before the layer.
    pub inputs: usize,
    /// Values a row after the layer.
    pub outputs: usize,
}

/// The mean loss; predictions and gradients are written, those of parameters added with `accumulate`.
pub fn train(
    layers: &mut [Layer<'_>],
    x: &[f32],
    label: &[f32],
    prediction: &mut [f32],
    d_x: &mut [f32],
    accumulate: bool,
) -> f32 {
    let rows = label.len();
    // Each layer's input behind its activation; behind the last layer, the sums that the sigmoid is of.
    let mut inputs = vec![vec![0.0; x.len()]];
    relu::forward(x, &mut inputs[0]);
    let mut z = Vec::new();
    for (l, layer) in layers.iter().enumerate() {
        z = vec![0.0; rows * layer.outputs];
        linear::forward(&inputs[l], layer.weight, layer.bias, &mut z, layer.size(rows));
        if l + 1 < layers.len() {
            let mut y = vec![0.0; z.len()];
            relu::forward(&z, &mut y);
            inputs.push(y);
        }
    }
    sigmoid::forward(&z, prediction);
    let mut d_prediction = vec![0.0; rows];
    let loss = bce::forward(prediction, label, Some(&mut d_prediction));

    let mut d_z = z;
    sigmoid::backward(prediction, &d_prediction, &mut d_z);
    for (layer, input) in layers.iter_mut().zip(&inputs).rev() {
        let size = layer.size(rows);
        linear::backward_weight(input, &d_z, layer.d_weight, layer.d_bias, size, accumulate);
        let mut d_input = vec![0.0; input.len()];
        linear::backward_input(&d_z, layer.weight, &mut d_input, size);
        d_z.resize(input.len(), 0.0);
        relu::backward(input, &d_input, &mut d_z);
    }
    d_x.copy_from_slice(&d_z);
    loss
}

impl Layer<'_> {
    fn size(&self, rows: usize) -> Size {
        Size { rows, inputs: self.inputs, outputs: self.outputs, precision: Precision::Fp32 }
    }
}
