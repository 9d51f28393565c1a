//! From columns to ids: modulo, bucketize, string_hash, truncate, feature_cross.

mod common;

use common::{Bench, Work, data, run};
use rand::Rng;
use recis::Result;
use recis::device::{Buffer, Stream};
use recis::ops::string_hash::HashType;
use recis::ops::{bucketize, feature_cross, modulo, string_hash, truncate};

/// Values of a column.
const COUNT: usize = 1_000_000;
/// Bytes of the document's strings.
const STRING_LEN: usize = 10;

fn main() {
    run(&[
        ("modulo", modulo),
        ("bucketize", bucketize),
        ("string_hash", string_hash),
        ("truncate", truncate),
        ("feature_cross", feature_cross),
    ]);
}

fn modulo(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let values = Buffer::from_vec(data::any_ids(COUNT, 1), &stream)?;
    let mut out = Buffer::unset(COUNT, &stream)?;
    bench.measure("modulo/forward/1M", Work::moving(16 * COUNT), |stream| {
        modulo::forward(&mut [modulo::Column { values: &values, modulus: 10_000, out: &mut out }], stream)
    })
}

fn bucketize(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let values = data::floats(COUNT, &stream)?;
    let boundaries = Buffer::from_vec(vec![0.0, 0.5, 1.0], &stream)?;
    let mut out = Buffer::unset(COUNT, &stream)?;
    bench.measure("bucketize/forward/1M", Work::moving(12 * COUNT), |stream| {
        let column = bucketize::Column { values: &values, boundaries: &boundaries, out: &mut out };
        bucketize::forward(&mut [column], stream)
    })
}

fn string_hash(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let mut random = data::random(1);
    let bytes = (0..COUNT * STRING_LEN).map(|_| random.random_range(b'a'..=b'z') as i8).collect();
    let bytes = Buffer::from_vec(bytes, &stream)?;
    let offsets = Buffer::from_vec((0..=COUNT).map(|i| (i * STRING_LEN) as i32).collect(), &stream)?;
    let mut out = Buffer::unset(COUNT, &stream)?;
    for (name, hash_type) in [("farm", HashType::Farm), ("murmur", HashType::Murmur)] {
        let work = Work::moving(COUNT * (STRING_LEN + 4 + 8));
        bench.measure(&format!("string_hash/{name}/1Mx{STRING_LEN}"), work, |stream| {
            let column = string_hash::Column {
                bytes: &bytes,
                offsets: &offsets,
                hash_type,
                modulus: None,
                out: &mut out,
            };
            string_hash::forward(&mut [column], stream)
        })?;
    }
    Ok(())
}

/// Both sequences of the document's batch.
fn truncate(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let offsets = data::offsets(data::ROWS, usize::MAX);
    let kept: usize = offsets.windows(2).map(|ends| ((ends[1] - ends[0]) as usize).min(data::TILE_LEN)).sum();
    let values = Buffer::from_vec(data::any_ids(offsets[data::ROWS] as usize, 1), &stream)?;
    let offsets = Buffer::from_vec(offsets, &stream)?;
    let column = || truncate::Column {
        values: &values,
        offsets: &offsets,
        weights: None,
        keep: data::TILE_LEN,
        side: truncate::Side::Right,
        modulus: None,
    };
    let work = Work::moving(2 * (2 * 8 * kept + 2 * 4 * offsets.len()));
    bench.measure("truncate/forward/2x1024x1000", work, |stream| {
        truncate::forward(&[column(), column()], stream)
    })
}

fn feature_cross(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    for len in [1, 20] {
        let [x, y] = [1, 2].map(|seed| Side::new(len, seed, &stream));
        let (x, y) = (x?, y?);
        let pairs = data::ROWS * len * len;
        let work = Work::moving(2 * 8 * data::ROWS * len + 12 * pairs + 3 * 4 * data::ROWS);
        bench.measure(&format!("feature_cross/forward/1024x{len}x{len}"), work, |stream| {
            feature_cross::forward(x.side(), y.side(), stream)
        })?;
    }
    Ok(())
}

/// A column of rows of the same length.
struct Side {
    values: Buffer<i64>,
    offsets: Buffer<i32>,
    len: usize,
}

impl Side {
    fn new(len: usize, seed: u64, stream: &Stream) -> Result<Self> {
        let values = Buffer::from_vec(data::any_ids(data::ROWS * len, seed), stream)?;
        let offsets = Buffer::from_vec((0..=data::ROWS).map(|row| (row * len) as i32).collect(), stream)?;
        Ok(Self { values, offsets, len })
    }

    fn side(&self) -> feature_cross::Side<'_> {
        let Self { values, offsets, len } = self;
        feature_cross::Side { values, offsets, weights: None, longest: Some(*len) }
    }
}
