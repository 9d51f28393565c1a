//! Adam over dense parameters: as many as the document's model has, and more than any cache holds.

mod common;

use common::{Bench, Work, data, run};
use recis::Result;
use recis::device::Buffer;
use recis::ops::adamw::{Options, Parameter, step};

fn main() {
    run(&[
        ("adamw", |bench| adamw(bench, "", &[128 * 32_064])),
        ("adamw of a network", |bench| {
            let counts = [128 * 32_064, 128, 64 * 128, 64, 32 * 64, 32, 32, 1];
            adamw(bench, "network/", &counts)
        }),
        ("adamw of many", |bench| {
            let count = bench.size(64_000_000, 16_000_000);
            adamw(bench, "", &[count])
        }),
    ]);
}

fn adamw(bench: &mut Bench<'_>, case: &str, counts: &[usize]) -> Result<()> {
    let stream = bench.stream();
    let mut arrays = Vec::new();
    for &count in counts {
        let zeros = || Buffer::zeros(count, &stream);
        arrays.push((zeros()?, zeros()?, zeros()?, data::floats(count, &stream)?));
    }
    let parameters = arrays.iter_mut().map(|(value, exp_avg, exp_avg_sq, gradient)| Parameter {
        value,
        exp_avg,
        exp_avg_sq,
        gradient,
    });
    let mut parameters: Vec<_> = parameters.collect();
    let count = counts.iter().sum();
    let options =
        Options { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, step: 10, batches: 1 };
    // All four in, all but the gradient out.
    let name = format!("adamw/step/{case}{}", data::short(count));
    bench.measure(&name, Work::moving(7 * 4 * count), |stream| step(&mut parameters, &options, stream))
}
