//! The ids of a batch: encode_ids and partition_ids.
//!
//! What partition_ids is to be held against is a radix sort of as many 64-bit keys (CUB's
//! `DeviceRadixSort`), which nothing in the C ABI reaches.

mod common;

use common::{Bench, Unit, Work, data, run};
use recis::Result;
use recis::device::Buffer;
use recis::ops::{encode_ids, partition_ids};

/// Ids of a batch.
const COUNT: usize = 1_000_000;

fn main() {
    run(&[("encode_ids", encode_ids), ("partition_ids", partition_ids)]);
}

fn encode_ids(bench: &mut Bench<'_>) -> Result<()> {
    let ids = Buffer::from_vec(data::ids(COUNT, 1 << 50, 0.0), &bench.stream())?;
    let column = encode_ids::Column { table: 3, ids: &ids };
    bench.measure("encode_ids/forward/1M", Work::moving(16 * COUNT), |stream| {
        encode_ids::forward(&[column], encode_ids::Overflow::Cut, stream)
    })
}

fn partition_ids(bench: &mut Bench<'_>) -> Result<()> {
    // The same in the bits that are sorted by first, so that all others are needed too.
    let mut tied: Vec<i64> = data::ids(COUNT - 2, 1 << 33, 0.0).iter().map(|id| id << 16).collect();
    tied.extend([0, -1]);
    let cases = [
        ("1Mof10k", data::ids(COUNT, 10_000, 0.0)),
        ("1Mof1M", data::ids(COUNT, i64::MAX, 0.0)),
        ("1Mtied", tied),
    ];
    for (name, ids) in cases {
        let stream = bench.stream();
        let ids = Buffer::from_vec(ids, &stream)?;
        let column = partition_ids::Column { table: 0, ids: &ids, offsets: None, listed: true };
        let unique = partition_ids::forward(&[column], 1, &stream)?.count.to_vec(&stream)?[0] as usize;
        // In: ids. Out: inverse and positions; distinct ids and where their positions begin.
        let bytes = (8 + 4 + 4) * COUNT + (8 + 4) * unique;
        let work = Work::moving(bytes).counting(COUNT, Unit::Keys);
        bench.measure(&format!("partition_ids/forward/{name}"), work, |stream| {
            partition_ids::forward(&[column], 1, stream)
        })?;
    }
    Ok(())
}
