//! Adam over the rows of a table that a step has touched.

mod common;

use common::{Bench, Work, data, run};
use recis::Result;
use recis::device::Buffer;
use recis::ops::merge_gradients::Gradients;
use recis::ops::sparse_adamw::{Coefficients, Decay, step};

fn main() {
    run(&[
        ("sparse_adamw in order", in_order),
        ("sparse_adamw at random, dim 8", |bench| at_random(bench, 8)),
        ("sparse_adamw at random, dim 16", |bench| at_random(bench, 16)),
        ("sparse_adamw at random, dim 64", |bench| at_random(bench, 64)),
    ]);
}

fn in_order(bench: &mut Bench<'_>) -> Result<()> {
    for millions in [1, 10] {
        let count = bench.size(millions * 1_000_000, millions * 125_000);
        let places = (0..count as u32).collect();
        measure(bench, &format!("sparse_adamw/step/{}x16", data::short(count)), 16, count, places)?;
    }
    Ok(())
}

fn at_random(bench: &mut Bench<'_>, dim: usize) -> Result<()> {
    let (count, bound) = (bench.size(1_000_000, 125_000), bench.size(10_000_000, 1_250_000));
    let id = format!("sparse_adamw/step/{}of{}x{dim}", data::short(count), data::short(bound));
    measure(bench, &id, dim, bound, data::distinct_rows(count, bound))
}

fn measure(bench: &mut Bench<'_>, id: &str, dim: usize, bound: usize, places: Vec<u32>) -> Result<()> {
    let stream = bench.stream();
    let mut storage = data::storage(dim, 3, bound, &stream)?;
    let values = data::floats(places.len() * dim, &stream)?;
    let gradients = Gradients { rows: Buffer::from_vec(places, &stream)?, values, count: None };
    let mut powers = [1.0, 1.0];
    let [power1, power2] = &mut powers;
    let coefficients =
        Coefficients::advance([power1, power2], 1e-3, [0.9, 0.999], 1e-8, Decay::WithoutLr(0.01));
    // A row and its gradient in, the row with both moments out.
    let work = Work::moving(gradients.rows.len() * (4 + 4 * dim + 2 * 3 * 4 * dim));
    bench.measure(id, work, |stream| step(&mut storage, &gradients, &coefficients, stream))
}
