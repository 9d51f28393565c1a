//! Fully connected layers: the document's first one with its input materialised, and the small ones.

mod common;
#[path = "common/cublaslt.rs"]
mod cublaslt;

use common::data::ROWS;
use common::{Bench, Unit, Work, data, run};
use cublaslt::{Product, baseline};
use recis::Result;
use recis::device::Buffer;
use recis::ops::linear::{Precision, Size, backward_input, backward_weight, forward};

fn main() {
    run(&[("linear", |bench| {
        for &precision in data::precisions(bench.stream().device()) {
            layer(bench, Size { rows: ROWS, inputs: 32_064, outputs: 128, precision })?;
        }
        [(128, 64), (64, 32), (32, 1)].into_iter().try_for_each(|(inputs, outputs)| {
            layer(bench, Size { rows: ROWS, inputs, outputs, precision: Precision::Fp32 })
        })
    })]);
}

fn layer(bench: &mut Bench<'_>, size: Size) -> Result<()> {
    let stream = bench.stream();
    let Size { rows, inputs, outputs, precision } = size;
    let x = data::floats(rows * inputs, &stream)?;
    let weight = data::floats(outputs * inputs, &stream)?;
    let bias = data::floats(outputs, &stream)?;
    let mut y = Buffer::zeros(rows * outputs, &stream)?;
    let name = format!("{rows}x{inputs}x{outputs}{}", data::precision_suffix(precision));
    // Each product takes two of the matrices and makes the third.
    let bytes = 4 * (rows * inputs + outputs * inputs + rows * outputs);
    let work = Work::moving(bytes).counting(2 * rows * inputs * outputs, Unit::Flop);

    let against = baseline(bench, Product::Forward, size);
    bench.measure(&format!("linear/forward/{name}"), work.against(against), |stream| {
        forward(&x, &weight, &bias, &mut y, size, stream)
    })?;
    let d_y = data::floats(rows * outputs, &stream)?;
    let mut d_weight = Buffer::zeros(weight.len(), &stream)?;
    let mut d_bias = Buffer::zeros(bias.len(), &stream)?;
    let against = baseline(bench, Product::BackwardWeight, size);
    bench.measure(&format!("linear/backward_weight/{name}"), work.against(against), |stream| {
        backward_weight(&x, &d_y, &mut d_weight, &mut d_bias, size, false, stream)
    })?;
    let mut d_x = Buffer::zeros(x.len(), &stream)?;
    let against = baseline(bench, Product::BackwardInput, size);
    bench.measure(&format!("linear/backward_input/{name}"), work.against(against), |stream| {
        backward_input(&d_y, &weight, &mut d_x, size, stream)
    })
}
