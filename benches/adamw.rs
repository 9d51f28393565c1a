//! Adam over dense parameters: as many as the document's model has, and more than any cache holds.

mod common;

use common::{Bench, Work, data, run};
use recis::Result;
use recis::device::Buffer;
use recis::ops::adamw::{Options, step};

fn main() {
    run(&[
        ("adamw", |bench| adamw(bench, 128 * 32_064)),
        ("adamw of many", |bench| {
            let count = bench.size(64_000_000, 16_000_000);
            adamw(bench, count)
        }),
    ]);
}

fn adamw(bench: &mut Bench<'_>, count: usize) -> Result<()> {
    let stream = bench.stream();
    let gradient = data::floats(count, &stream)?;
    let [mut parameter, mut exp_avg, mut exp_avg_sq] =
        [Buffer::zeros(count, &stream)?, Buffer::zeros(count, &stream)?, Buffer::zeros(count, &stream)?];
    let options = Options { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, step: 10 };
    // All four in, all but the gradient out.
    bench.measure(&format!("adamw/step/{}", data::short(count)), Work::moving(7 * 4 * count), |stream| {
        step(&mut parameter, &mut exp_avg, &mut exp_avg_sq, &gradient, &options, stream)
    })
}
