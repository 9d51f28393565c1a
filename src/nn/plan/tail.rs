//! The layers behind the first one, trained in one operation with the loss.

use crate::Result;
use crate::device::{Buffer, Stream};
use crate::nn::layer::Activation;
use crate::ops::mlp;
use crate::ops::unfit::Word;

use super::Plan;
use super::network::{Network, Node};

/// Whether layers are what `ops::mlp` runs: a linear one, and behind it relu and linear layers by turns,
/// ending in one value a row and its sigmoid.
pub(super) fn fits(nodes: &[Node]) -> bool {
    let [first, pairs @ .., sigmoid] = nodes else { return false };
    let (pairs, rest) = pairs.as_chunks::<2>();
    let widths: Vec<_> = pairs.iter().flat_map(|[relu, _]| [relu.inputs]).chain([sigmoid.outputs]).collect();
    let is = |node: &Node, activation| node.layer.activation() == Some(activation);
    first.layer.is_linear()
        && rest.is_empty()
        && pairs.iter().all(|[relu, linear]| is(relu, Activation::Relu) && linear.layer.is_linear())
        && is(sigmoid, Activation::Sigmoid)
        && mlp::fits(&widths)
}

impl Plan {
    /// The loss of a batch behind the network's forward pass, and what its backward pass begins with.
    pub(super) fn train_loss(&mut self, rows: usize) -> Result<()> {
        let (label, loss) = (&self.label, &mut self.loss_value);
        let unfit = self.unfit.word(self.inputs.finite().len());
        if self.network.tail_is_fused() {
            let accumulate = self.pending_batches > 0;
            let target = Target { label, loss, unfit };
            // Else memory stays with one stream.
            let beside = if self.is_recorded { &self.spare } else { &self.stream };
            return self.network.train_tail(target, rows, accumulate, &self.stream, beside);
        }
        self.d_prediction.resize(rows, &self.stream)?;
        let (prediction, d_prediction) = (self.network.prediction(), Some(&mut self.d_prediction));
        self.loss.forward(prediction, label, loss, d_prediction, unfit, &self.stream)
    }
}

/// What a batch is trained towards, and what comes of it.
struct Target<'a> {
    label: &'a Buffer<f32>,
    loss: &'a mut Buffer<f32>,
    unfit: Word<'a>,
}

impl Network {
    /// From the first layer's output to the prediction, its loss, and back to the gradient of that output
    /// and of the parameters; the loss and the latter are added up `beside`.
    fn train_tail(
        &mut self,
        target: Target<'_>,
        rows: usize,
        accumulate: bool,
        stream: &Stream,
        beside: &Stream,
    ) -> Result<()> {
        let [first, rest @ .., last] = self.nodes.as_mut_slice() else { return Ok(()) };
        first.d_y.resize(rows * first.outputs, stream)?;
        last.y.resize(rows, stream)?;
        let linear = rest.iter().filter(|node| node.layer.is_linear());
        let parameters = &mut self.parameters[first.parameters.end..];
        let mut layers: Vec<_> = (linear.zip(parameters.as_chunks_mut::<2>().0))
            .map(|(node, [weight, bias])| mlp::Layer {
                weight: &weight.value,
                bias: &bias.value,
                d_weight: &mut weight.grad,
                d_bias: &mut bias.grad,
                inputs: node.inputs,
                outputs: node.outputs,
            })
            .collect();
        let Target { label, loss, unfit } = target;
        let (x, prediction, d_x) = (&first.y, &mut last.y, &mut first.d_y);
        let batch = mlp::Batch { x, label, prediction, loss, d_x, unfit };
        mlp::train(&mut layers, batch, accumulate, stream, beside)
    }
}
