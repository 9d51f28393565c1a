//! The yardstick and its like: copy, fill and scale.

mod common;

use common::{Bench, Work, data, run};
use recis::Result;
use recis::device::Buffer;
use recis::ops::{fill, scale};

fn main() {
    run(&[("copy", copy), ("fill", fill), ("scale", scale)]);
}

fn copy(bench: &mut Bench<'_>) -> Result<()> {
    for mebibytes in [4, 64, 256] {
        let stream = bench.stream();
        let from = Buffer::<u8>::zeros(mebibytes << 20, &stream)?;
        let mut to = Buffer::<u8>::zeros(mebibytes << 20, &stream)?;
        let work = Work::moving(2 * from.len());
        bench.measure(&format!("copy/device/{mebibytes}MiB"), work, |stream| to.copy_from(&from, stream))?;
    }
    Ok(())
}

fn fill(bench: &mut Bench<'_>) -> Result<()> {
    let mut values = Buffer::zeros(16_000_000, &bench.stream())?;
    let work = Work::moving(4 * values.len());
    bench.measure("fill/forward/16M", work, |stream| fill::forward(&mut values, 16, None, 1.0, stream))
}

fn scale(bench: &mut Bench<'_>) -> Result<()> {
    let mut values = data::floats(16_000_000, &bench.stream())?;
    let work = Work::moving(8 * values.len());
    bench.measure("scale/forward/16M", work, |stream| scale::forward(&mut values, 0.5, stream))
}
