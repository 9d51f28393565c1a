//! The dense network: its layers, parameters and activations.

use std::fmt;
use std::ops::Range;

use crate::device::{Buffer, Stream};
use crate::dist::Communicator;
use crate::nn::Parameter;
use crate::nn::embedding::EmbeddingEngine;
use crate::nn::layer::{Backward, Layer, Sequential};
use crate::ops::linear;
use crate::ops::linear_tile::{self, Precision, Prepared, Reduction, Size};
use crate::{Error, Result};

use super::inputs::Inputs;
use super::tail;

pub(super) struct Network {
    pub nodes: Vec<Node>,
    pub parameters: Vec<Parameter>,
    precision: Precision,
    /// How the gradients of tiles are summed.
    pub reduction: Reduction,
    /// Whether the layers behind the first are trained in one operation with the loss.
    tail_fused: bool,
    /// What a first layer that gathers its input shares between the passes over a batch.
    prepared: Prepared,
}

/// A layer and what it works on.
pub(super) struct Node {
    pub layer: Box<dyn Layer>,
    pub parameters: Range<usize>,
    pub inputs: usize,
    pub outputs: usize,
    pub y: Buffer<f32>,
    pub d_y: Buffer<f32>,
}

impl Network {
    pub fn new(
        dense: Sequential,
        inputs: usize,
        precision: Precision,
        seed: u64,
        stream: &Stream,
    ) -> Result<Self> {
        let (mut nodes, mut parameters) = (Vec::new(), Vec::new());
        let mut width = inputs;
        for (i, mut layer) in dense.layers.into_iter().enumerate() {
            layer.set_precision(precision);
            let outputs = layer.outputs(width)?;
            let first = parameters.len();
            for spec in layer.parameters() {
                let name = format!("{}.{i}.{}", dense.name, spec.name);
                parameters.push(Parameter::new(name, &spec, seed, stream)?);
            }
            let empty = || Buffer::zeros(0, stream);
            let range = first..parameters.len();
            nodes.push(Node { layer, parameters: range, inputs: width, outputs, y: empty()?, d_y: empty()? });
            width = outputs;
        }
        if nodes.is_empty() || width != 1 {
            return Err(Error::Model(format!("the network ends in {width} values a row; it must end in 1")));
        }
        let prepared = Prepared::nothing(stream)?;
        Ok(Self {
            nodes,
            parameters,
            precision,
            reduction: Reduction::default(),
            tail_fused: false,
            prepared,
        })
    }

    /// From now on trains the layers behind the first in one operation with the loss, [`BceLoss`], if they
    /// are such layers: by [`Network::train_tail`] between forward and backward.
    ///
    /// [`BceLoss`]: crate::nn::BceLoss
    pub fn fuse_tail(&mut self) {
        self.tail_fused = tail::fits(&self.nodes);
    }

    pub fn tail_is_fused(&self) -> bool {
        self.tail_fused
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    /// The last layer's output, one value a row.
    pub fn prediction(&self) -> &Buffer<f32> {
        &self.nodes[self.nodes.len() - 1].y
    }

    /// What a first layer that gathers its input can do before forward, ahead of the embeddings' values: with `anew`, not
    /// in the memory that passes over the batch before may still read, lest `stream` waits for them.
    pub fn prepare(
        &mut self,
        inputs: &Inputs,
        embeddings: &EmbeddingEngine,
        rows: usize,
        anew: bool,
        stream: &Stream,
    ) -> Result<()> {
        if !inputs.is_fused() {
            return Ok(());
        }
        if anew {
            self.prepared = Prepared::nothing(stream)?;
        }
        let first = &self.nodes[0];
        let (weight, size) =
            (&self.parameters[first.parameters.start].value, first.size(rows, self.precision));
        self.prepared.prepare(&inputs.dense(), &inputs.tiles(embeddings)?, weight, size, stream)
    }

    /// Behind [`Network::prepare`], from the input to the prediction; to train a fused tail, only to the first
    /// layer's output.
    pub fn forward(
        &mut self,
        inputs: &Inputs,
        embeddings: &EmbeddingEngine,
        rows: usize,
        train: bool,
        stream: &Stream,
    ) -> Result<()> {
        self.order_by(stream)?;
        let (first, rest) = self.nodes.split_at_mut(1);
        let first = &mut first[0];
        first.y.resize(rows * first.outputs, stream)?;
        let parameters = &self.parameters[first.parameters.clone()];
        let dense = inputs.dense();
        if inputs.is_fused() {
            let (weight, bias) = (&parameters[0].value, &parameters[1].value);
            let (tiles, size) = (inputs.tiles(embeddings)?, first.size(rows, self.precision));
            let prepared = &mut self.prepared;
            prepared.add_inputs(&dense, &tiles, size, stream)?;
            linear_tile::forward(&dense, &tiles, weight, bias, &mut first.y, size, prepared, stream)?;
        } else {
            first.layer.forward(parameters, dense[0].x, &mut first.y, rows, stream)?;
        }
        if train && self.tail_fused {
            return Ok(());
        }
        let mut x = &first.y;
        for node in rest {
            node.y.resize(rows * node.outputs, stream)?;
            let parameters = &self.parameters[node.parameters.clone()];
            node.layer.forward(parameters, x, &mut node.y, rows, stream)?;
            x = &node.y;
        }
        Ok(())
    }

    /// From the gradient of the prediction to that of the first layer's output, which is the latter already
    /// behind a fused tail; and to the gradients of the parameters on the way.
    pub fn backward(
        &mut self,
        d_prediction: &Buffer<f32>,
        rows: usize,
        accumulate: bool,
        stream: &Stream,
    ) -> Result<()> {
        let last = if self.tail_fused { 0 } else { self.nodes.len() - 1 };
        for i in (1..=last).rev() {
            let (before, after) = self.nodes.split_at_mut(i);
            let (previous, node) = (&mut before[i - 1], &after[0]);
            previous.d_y.resize(rows * previous.outputs, stream)?;
            let d_y = if after.len() == 1 { d_prediction } else { &node.d_y };
            let (x, d_x) = (&previous.y, Some(&mut previous.d_y));
            let pass = Backward { x, y: &node.y, d_y, d_x, rows, accumulate };
            node.layer.backward(&mut self.parameters[node.parameters.clone()], pass, stream)?;
        }
        Ok(())
    }

    /// From the gradient of the first layer's output to those of the runs of `inputs`; if it does not gather
    /// its input, to those of its parameters too.
    pub fn backward_runs(
        &mut self,
        inputs: &mut Inputs,
        d_prediction: &Buffer<f32>,
        rows: usize,
        accumulate: bool,
        stream: &Stream,
    ) -> Result<()> {
        let first = &self.nodes[0];
        let d_y = if self.nodes.len() == 1 { d_prediction } else { &first.d_y };
        let parameters = &mut self.parameters[first.parameters.clone()];
        if inputs.is_fused() {
            let (weight, size) = (&parameters[0].value, first.size(rows, self.precision));
            return inputs.each_gradient(rows, stream, |d_x, width, first_column| {
                linear_tile::backward_dense(d_y, weight, d_x, width, first_column, size, stream)
            });
        }
        let Some((x, mut d_x)) = inputs.whole() else {
            return Err(Error::Model("the first layer's input is in parts".into()));
        };
        if let Some(d_x) = &mut d_x {
            d_x.resize(rows * first.inputs, stream)?;
        }
        let pass = Backward { x, y: &first.y, d_y, d_x, rows, accumulate };
        first.layer.backward(parameters, pass, stream)
    }

    /// The gradient of the bias of a first layer that gathers its input.
    pub fn backward_bias(
        &mut self,
        inputs: &Inputs,
        d_prediction: &Buffer<f32>,
        rows: usize,
        accumulate: bool,
        stream: &Stream,
    ) -> Result<()> {
        if !inputs.is_fused() {
            return Ok(());
        }
        let first = &self.nodes[0];
        let d_y = if self.nodes.len() == 1 { d_prediction } else { &first.d_y };
        let d_bias = &mut self.parameters[first.parameters.clone()][1].grad;
        linear::backward_bias(d_y, d_bias, first.size(rows, self.precision), accumulate, stream)
    }

    /// The gradient of its weight.
    pub fn backward_weight(
        &mut self,
        inputs: &Inputs,
        embeddings: &EmbeddingEngine,
        d_prediction: &Buffer<f32>,
        rows: usize,
        accumulate: bool,
        stream: &Stream,
    ) -> Result<()> {
        if !inputs.is_fused() {
            return Ok(());
        }
        let first = &self.nodes[0];
        let d_y = if self.nodes.len() == 1 { d_prediction } else { &first.d_y };
        let d_weight = &mut self.parameters[first.parameters.start].grad;
        let (dense, tiles) = (inputs.dense(), inputs.tiles(embeddings)?);
        let (size, prepared) = (first.size(rows, self.precision), &mut self.prepared);
        prepared.add_gradient(d_y, size, stream)?;
        linear_tile::backward_weight(&dense, &tiles, d_y, d_weight, size, accumulate, prepared, stream)
    }

    /// Behind [`Network::backward_weight`], the gradients of the embeddings that the first layer gathers.
    pub fn backward_tiles(
        &mut self,
        inputs: &Inputs,
        embeddings: &mut EmbeddingEngine,
        d_prediction: &Buffer<f32>,
        rows: usize,
        stream: &Stream,
        beside: &Stream,
    ) -> Result<()> {
        let (first, weight) = (&self.nodes[0], &self.parameters[self.nodes[0].parameters.start].value);
        let d_y = if self.nodes.len() == 1 { d_prediction } else { &first.d_y };
        let (size, reduction) = (first.size(rows, self.precision), self.reduction);
        let prepared = &mut self.prepared;
        let gathered: Vec<_> = inputs.gathered().collect();
        embeddings.tiles_backward(&gathered, stream, |tiles, d_embeddings| {
            linear_tile::backward_tiles(
                tiles,
                d_y,
                weight,
                d_embeddings,
                size,
                reduction,
                prepared,
                stream,
                beside,
            )
        })
    }

    /// From now on `stream` orders the work on the parameters and their gradients.
    pub fn order_by(&self, stream: &Stream) -> Result<()> {
        stream.write_all(self.parameters.iter().flat_map(|p| [p.value.order(), p.grad.order()]))
    }

    /// Gradients of no batch.
    pub fn clear_gradients(&mut self, stream: &Stream) -> Result<()> {
        self.parameters.iter_mut().try_for_each(|parameter| parameter.grad.fill_bytes(0, stream))
    }

    /// Gives all ranks the parameters of rank 0.
    pub fn broadcast(&mut self, communicator: &dyn Communicator, stream: &Stream) -> Result<()> {
        let mut parameters = self.parameters.iter_mut();
        parameters.try_for_each(|parameter| communicator.broadcast((&mut parameter.value).into(), 0, stream))
    }

    /// Begins to add up the gradients over the ranks.
    pub fn begin_sums(&mut self, communicator: &dyn Communicator, stream: &Stream) -> Result<()> {
        let gradients = self.parameters.iter_mut().map(|parameter| (&mut parameter.grad).into());
        communicator.begin_sums(gradients.collect(), stream)
    }
}

impl Node {
    fn size(&self, rows: usize, precision: Precision) -> Size {
        Size { rows, inputs: self.inputs, outputs: self.outputs, precision }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes.iter().enumerate() {
            let how = if self.tail_fused && i > 0 { ", trained in one with the loss" } else { "" };
            writeln!(f, "  {}{how}", node.layer.describe())?;
        }
        let values: usize = self.parameters.iter().map(|p| p.value.len()).sum();
        write!(f, "  {values} parameters")
    }
}
