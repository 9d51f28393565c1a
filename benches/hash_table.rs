//! From ids to rows, and what random access to the device's memory can give at best.

mod common;

use common::{Bench, Unit, Work, data, run};
use rand::Rng;
use recis::Result;
use recis::device::{Buffer, Stream};
use recis::ops::hash_table::HashTable;
use recis::ops::rows;

/// What the device fetches at least from a random address.
const SECTOR: usize = 32;
/// Values of the embeddings that are gathered.
const DIM: usize = 16;

fn main() {
    run(&[
        ("rows/gather of sectors", sectors),
        ("hash_table/insert", insert),
        ("hash_table/find_or_insert", find_or_insert),
        ("hash_table/find", find),
    ]);
}

/// The yardstick: rows of one sector, at random addresses of 4 GiB.
fn sectors(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let (bytes, count) = (bench.size(4 << 30, 128 << 20), bench.size(8_000_000, 1_000_000));
    let bound = bytes / SECTOR;
    let storage = data::storage(SECTOR / 4, 1, bound, &stream)?;
    let mut random = data::random(1);
    let places = (0..count).map(|_| random.random_range(0..bound as u32)).collect();
    let places = Buffer::from_vec(places, &stream)?;
    let mut out = Buffer::unset(count * SECTOR / 4, &stream)?;
    let work = Work::moving(count * (4 + 2 * SECTOR)).counting(count, Unit::Sectors);
    bench.measure(&format!("rows/gather/random{SECTOR}B"), work, |stream| {
        rows::gather(&storage, 0, &places, None, &mut out, stream)
    })
}

/// New ids into a table that has room for none.
fn insert(bench: &mut Bench<'_>) -> Result<()> {
    let count = bench.size(1_000_000, 250_000);
    let keys = Keys::new(data::any_ids(count, 1), &bench.stream())?;
    let mut places = Buffer::unset(count, &bench.stream())?;
    // In: ids and a sector each, which is written too. Out: rows and where the new ones are.
    let work = Work::moving(count * (8 + 2 * SECTOR + 4 + 4)).counting(count, Unit::Keys);
    bench.measure_fresh(
        &format!("hash_table/insert/{}", data::short(count)),
        work,
        |stream| HashTable::create(1, stream),
        |table, stream| table.find_or_insert(&keys.ids, &keys.offsets, &mut places, stream),
    )
}

/// Ids that are all there, and their embeddings.
fn find_or_insert(bench: &mut Bench<'_>) -> Result<()> {
    for present in [bench.size(1_000_000, 250_000), bench.size(10_000_000, 1_000_000)] {
        let stream = bench.stream();
        let count = bench.size(1_000_000, 250_000);
        let (mut table, ids) = filled(present, &stream)?;
        let keys = Keys::new(some_of(&ids, count), &stream)?;
        let storage = data::storage(DIM, 3, present, &stream)?;
        let mut places = Buffer::unset(count, &stream)?;
        let mut out = Buffer::unset(count * DIM, &stream)?;
        let size = format!("{}of{}", data::short(count), data::short(present));
        let lookup = count * (8 + SECTOR + 4);
        let work = Work::moving(lookup).counting(count, Unit::Keys);
        bench.measure(&format!("hash_table/find_or_insert/{size}"), work, |stream| {
            table.find_or_insert(&keys.ids, &keys.offsets, &mut places, stream)
        })?;
        let work = Work::moving(lookup + count * (4 + 2 * 4 * DIM)).counting(count, Unit::Keys);
        bench.measure(&format!("hash_table/find_or_insert_gather/{size}x{DIM}"), work, |stream| {
            table.find_or_insert(&keys.ids, &keys.offsets, &mut places, stream)?;
            rows::gather(&storage, 0, &places, None, &mut out, stream)
        })?;
    }
    Ok(())
}

fn find(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let count = bench.size(10_000_000, 1_000_000);
    let (table, ids) = filled(count, &stream)?;
    let keys = Keys::new(some_of(&ids, count), &stream)?;
    let mut places = Buffer::unset(count, &stream)?;
    let work = Work::moving(count * (8 + SECTOR + 4)).counting(count, Unit::Keys);
    bench.measure(&format!("hash_table/find/{0}of{0}", data::short(count)), work, |stream| {
        table.find(&keys.ids, &keys.offsets, &mut places, stream)
    })
}

/// Ids of the one table.
struct Keys {
    ids: Buffer<i64>,
    offsets: Buffer<u32>,
}

impl Keys {
    fn new(ids: Vec<i64>, stream: &Stream) -> Result<Self> {
        let offsets = Buffer::from_vec(vec![0, ids.len() as u32], stream)?;
        Ok(Self { offsets, ids: Buffer::from_vec(ids, stream)? })
    }
}

/// A table of so many ids, and they.
fn filled(count: usize, stream: &Stream) -> Result<(HashTable, Vec<i64>)> {
    let ids = data::any_ids(count, 2);
    let mut table = HashTable::create(1, stream)?;
    for ids in ids.chunks(1_000_000) {
        let keys = Keys::new(ids.to_vec(), stream)?;
        let mut places = Buffer::unset(ids.len(), stream)?;
        table.find_or_insert(&keys.ids, &keys.offsets, &mut places, stream)?;
    }
    Ok((table, ids))
}

/// Some of the ids, each once, in no order.
fn some_of(ids: &[i64], count: usize) -> Vec<i64> {
    data::distinct_rows(count, ids.len()).into_iter().map(|place| ids[place as usize]).collect()
}
