//! Embeddings out of a table's storage.

mod common;

use common::{Bench, Work, data, run};
use recis::Result;
use recis::device::Buffer;
use recis::ops::rows::gather;

fn main() {
    run(&[
        ("rows/gather in order", in_order),
        ("rows/gather at random, dim 8", |bench| at_random(bench, 8)),
        ("rows/gather at random, dim 16", |bench| at_random(bench, 16)),
        ("rows/gather at random, dim 64", |bench| at_random(bench, 64)),
    ]);
}

fn in_order(bench: &mut Bench<'_>) -> Result<()> {
    for millions in [1, 10] {
        let count = bench.size(millions * 1_000_000, millions * 125_000);
        let places = (0..count as u32).collect();
        measure(bench, &format!("rows/gather/{}x16", data::short(count)), 16, count, places)?;
    }
    Ok(())
}

fn at_random(bench: &mut Bench<'_>, dim: usize) -> Result<()> {
    let (count, bound) = (bench.size(1_000_000, 125_000), bench.size(10_000_000, 1_250_000));
    let id = format!("rows/gather/{}of{}x{dim}", data::short(count), data::short(bound));
    measure(bench, &id, dim, bound, data::distinct_rows(count, bound))
}

fn measure(bench: &mut Bench<'_>, id: &str, dim: usize, bound: usize, places: Vec<u32>) -> Result<()> {
    let stream = bench.stream();
    let storage = data::storage(dim, 3, bound, &stream)?;
    let places = Buffer::from_vec(places, &stream)?;
    let mut out = Buffer::unset(places.len() * dim, &stream)?;
    let work = Work::moving(places.len() * (4 + 2 * 4 * dim));
    bench.measure(id, work, |stream| gather(&storage, 0, &places, None, &mut out, stream))
}
