//! The document's layers behind the first one with sigmoid and loss, forward and backward: in one operation,
//! and one operation after the other.

mod common;

use common::data::{self, ROWS};
use common::{Bench, Unit, Work, run};
use recis::Result;
use recis::device::{Buffer, Stream};
use recis::nn::{Backward, BceLoss, Layer, Linear, Loss, Parameter, Relu, Sigmoid};
use recis::ops::mlp;
use recis::ops::unfit::Unfit;

const WIDTHS: [usize; 4] = [128, 64, 32, 1];

fn main() {
    run(&[("mlp", in_one), ("mlp, layer by layer", layer_by_layer)]);
}

/// What both do: `x`, labels and parameters in; predictions and gradients out.
fn work() -> Work {
    let weights: usize = WIDTHS.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let biases: usize = WIDTHS[1..].iter().sum();
    // Each weight takes part in three products.
    let flop = 3 * 2 * ROWS * weights;
    Work::moving(4 * (2 * (ROWS * WIDTHS[0] + weights + biases) + 2 * ROWS)).counting(flop, Unit::Flop)
}

fn parameters(stream: &Stream) -> Result<Vec<Vec<Parameter>>> {
    let layers = WIDTHS.windows(2).enumerate().map(|(l, pair)| {
        let specs = Linear::new(pair[0], pair[1]).parameters();
        specs.iter().map(|spec| Parameter::new(format!("{l}.{}", spec.name), spec, 42, stream)).collect()
    });
    layers.collect()
}

fn in_one(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let mut parameters = parameters(&stream)?;
    let [_, label] = data::predictions(ROWS, &stream)?;
    let x = data::floats(ROWS * WIDTHS[0], &stream)?;
    let (mut prediction, mut d_x) = (label.clone(), x.clone());
    let (mut loss, mut unfit) = (Buffer::zeros(1, &stream)?, Unfit::new(1, &stream)?);
    bench.measure("mlp/train/1024x128x64x32x1", work(), |stream| {
        let mut layers = Vec::new();
        for (parameters, pair) in parameters.iter_mut().zip(WIDTHS.windows(2)) {
            let [weight, bias] = parameters.as_mut_slice() else { continue };
            layers.push(mlp::Layer {
                weight: &weight.value,
                bias: &bias.value,
                d_weight: &mut weight.grad,
                d_bias: &mut bias.grad,
                inputs: pair[0],
                outputs: pair[1],
            });
        }
        let (prediction, loss, d_x, unfit) = (&mut prediction, &mut loss, &mut d_x, unfit.word(0));
        let batch = mlp::Batch { x: &x, label: &label, prediction, loss, d_x, unfit };
        mlp::train(&mut layers, batch, false, stream, stream)
    })
}

/// A layer, its parameters, its output and the gradient of that.
struct Node {
    layer: Box<dyn Layer>,
    parameters: Vec<Parameter>,
    y: Buffer<f32>,
    d_y: Buffer<f32>,
}

fn layer_by_layer(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let mut nodes = Vec::new();
    let mut add = |layer: Box<dyn Layer>, parameters, width: usize| -> Result<()> {
        let [y, d_y] = [Buffer::zeros(ROWS * width, &stream)?, Buffer::zeros(ROWS * width, &stream)?];
        nodes.push(Node { layer, parameters, y, d_y });
        Ok(())
    };
    for (parameters, pair) in parameters(&stream)?.into_iter().zip(WIDTHS.windows(2)) {
        add(Box::new(Relu), Vec::new(), pair[0])?;
        add(Box::new(Linear::new(pair[0], pair[1])), parameters, pair[1])?;
    }
    add(Box::new(Sigmoid), Vec::new(), 1)?;
    let [_, label] = data::predictions(ROWS, &stream)?;
    let x = data::floats(ROWS * WIDTHS[0], &stream)?;
    let (mut d_x, mut loss, mut unfit) = (x.clone(), Buffer::zeros(1, &stream)?, Unfit::new(1, &stream)?);
    bench.measure("mlp/layer_by_layer/1024x128x64x32x1", work(), |stream| {
        for i in 0..nodes.len() {
            let (before, node) = nodes.split_at_mut(i);
            let (x, node) = (before.last().map_or(&x, |node| &node.y), &mut node[0]);
            node.layer.forward(&node.parameters, x, &mut node.y, ROWS, stream)?;
        }
        if let Some(Node { y, d_y, .. }) = nodes.last_mut() {
            BceLoss.forward(y, &label, &mut loss, Some(d_y), unfit.word(0), stream)?;
        }
        for i in (0..nodes.len()).rev() {
            let (before, node) = nodes.split_at_mut(i);
            let Node { layer, parameters, y, d_y } = &mut node[0];
            let (x, d_x) = before.last_mut().map_or((&x, &mut d_x), |node| (&node.y, &mut node.d_y));
            let pass = Backward { x, y, d_y, d_x: Some(d_x), rows: ROWS, accumulate: false };
            layer.backward(parameters, pass, stream)?;
        }
        Ok(())
    })
}
