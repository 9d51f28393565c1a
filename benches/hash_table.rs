//! From ids to rows, and what random access to the device's memory can give at best.
//!
//! Lookups come in batches of a million keys. The tables are filled on the device in batches of 16
//! million; those of `lookups` have as many slots as if they had grown by steps of a million.

mod common;
#[path = "common/random_cas.rs"]
mod random_cas;

use std::cell::RefCell;

use common::{Baseline, Bench, Memory, Unit, Work, data, run};
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use recis::Result;
use recis::device::{Buffer, Device, Stream};
use recis::ops::hash_table::HashTable;
use recis::ops::rows::{self, Rows};

/// What the device fetches at least from a random address.
const SECTOR: usize = 32;
/// Values of the embeddings that are gathered.
const DIM: usize = 16;
/// Keys of a call that fills a table.
const FILLED: usize = 16 << 20;
/// What a lookup moves a key: the id, a sector, the row.
const LOOKUP: usize = 8 + SECTOR + 4;

fn main() {
    run(&[
        ("rows/gather of sectors", sectors),
        ("hash_table/insert", insert),
        ("hash_table/lookups, 1 M", |bench| lookups(bench, 1_000_000, 1_000_000, 3)),
        ("hash_table/lookups, 10 M", |bench| lookups(bench, 10_000_000, 16_000_000, 3)),
        ("hash_table/find", find),
        // Tables of 5 and 20 GB. Of the largest, rows are weights alone, another 32 GB.
        ("hash_table/lookups, 100 M", |bench| lookups(bench, 100_000_000, 128_000_000, 3)),
        ("hash_table/lookups, 500 M", |bench| lookups(bench, 500_000_000, 512_000_000, 1)),
        ("hash_table at a load of 0.5", |bench| at_load(bench, 0.5)),
        ("hash_table at a load of 0.64", |bench| at_load(bench, 0.64)),
        ("hash_table at a load of 0.75", |bench| at_load(bench, 0.75)),
        ("hash_table at a load of 0.9", |bench| at_load(bench, 0.9)),
        ("hash_table/growth, 22 M", |bench| growth(bench, 25)),
        ("hash_table/growth, 179 M", |bench| growth(bench, 28)),
    ]);
}

/// Keys of a batch.
fn batch(bench: &Bench<'_>) -> usize {
    bench.size(1_000_000, 250_000)
}

/// The yardsticks: rows of one sector, at random addresses of 4 GiB, copied; and a value of each, which is
/// the traffic of a lookup.
fn sectors(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let (bytes, count) = (bench.size(4 << 30, 128 << 20), bench.size(8_000_000, 1_000_000));
    let bound = bytes / SECTOR;
    let storage = data::storage(SECTOR / 4, 1, bound, &stream)?;
    let places = random_places(count, bound, &stream)?;
    let mut out = Buffer::unset(count * SECTOR / 4, &stream)?;
    let work = Work::moving(count * (4 + 2 * SECTOR)).counting(count, Unit::Sectors);
    bench.measure(&format!("rows/gather/random{SECTOR}B"), work, |stream| {
        rows::gather(&storage, 0, &places, None, &mut out, stream)
    })?;
    drop((storage, out));
    let count = batch(bench);
    let mut probe = Probe::new(count, bench)?;
    let work = Work::moving(count * (4 + SECTOR + 4)).counting(count, Unit::Sectors);
    let id = format!("rows/gather/random/{}of{}x1of8", data::short(count), data::short(probe.bound));
    bench.measure(&id, work, |stream| probe.read(stream))
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

/// Ids that are all there, and their embeddings, in a table of `present` ids that has grown to hold `room`;
/// a row has `slots` times the embedding's values. Tables that are too large for the host are left out there.
fn lookups(bench: &mut Bench<'_>, present: usize, room: usize, slots: usize) -> Result<()> {
    if bench.is_cpu() && present > 10_000_000 {
        return Ok(());
    }
    let stream = bench.stream();
    let count = batch(bench);
    let present = bench.size(present, count.max(present / 10));
    let room = bench.size(room, present);
    let sectors = Probe::new(count, bench)?.baseline(bench)?;
    let mut table = filled(present, room, &stream)?;
    let keys = Keys::new(some_of(0, present, count), &stream)?;
    let mut places = Buffer::unset(count, &stream)?;
    let size = format!("{}of{}", data::short(count), data::short(present));
    let load = present as f64 / slots_for(room) as f64;
    let work = Work::moving(count * LOOKUP).counting(count, Unit::Keys).against(Some(sectors));
    bench.measure(&format!("hash_table/find/{size}"), work.saying("load", load), |stream| {
        table.find(&keys.ids, &keys.offsets, &mut places, stream)
    })?;
    // From here on the table may be larger: calls under way count as if all their ids were new.
    bench.measure(&format!("hash_table/find_or_insert/{size}"), work, |stream| {
        table.find_or_insert(&keys.ids, &keys.offsets, &mut places, stream)
    })?;
    // What has filled the table is given back before its rows take as much.
    Memory::now(&stream);
    let storage = data::storage(DIM, slots, present, &stream)?;
    let mut out = Buffer::unset(count * DIM, &stream)?;
    let work = Work::moving(count * (LOOKUP + 4 + 2 * 4 * DIM)).counting(count, Unit::Keys);
    let slots = if slots == 3 { String::new() } else { format!("/{slots}slot") };
    bench.measure(&format!("hash_table/find_or_insert_gather/{size}x{DIM}{slots}"), work, |stream| {
        table.find_or_insert(&keys.ids, &keys.offsets, &mut places, stream)?;
        rows::gather(&storage, 0, &places, None, &mut out, stream)
    })
}

/// As many lookups as there are ids.
fn find(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let (count, room) = (bench.size(10_000_000, 1_000_000), bench.size(16_000_000, 1_000_000));
    let sectors = Probe::new(count, bench)?.baseline(bench)?;
    let table = filled(count, room, &stream)?;
    let keys = Keys::new(some_of(0, count, count), &stream)?;
    let mut places = Buffer::unset(count, &stream)?;
    let work = Work::moving(count * LOOKUP).counting(count, Unit::Keys).against(Some(sectors));
    bench.measure(&format!("hash_table/find/{0}of{0}", data::short(count)), work, |stream| {
        table.find(&keys.ids, &keys.offsets, &mut places, stream)
    })
}

/// So many keys as are a share of 2^26 slots. A table grows at 2/3: beyond, it has twice as many slots, and
/// its row says at which load it really is.
fn at_load(bench: &mut Bench<'_>, asked: f64) -> Result<()> {
    let stream = bench.stream();
    let asked_slots = bench.size(1 << 26, 1 << 20);
    let count = batch(bench);
    let keys = (asked * asked_slots as f64) as usize;
    let slots = slots_for(keys);
    let room = capacity_of(slots);
    let load = keys as f64 / slots as f64;
    let grown = if slots == asked_slots { String::new() } else { format!("-grown-to-{load:.2}") };
    let size = |count| format!("{}of{}/load{asked}{grown}", data::short(count), data::short(keys));
    let sectors = Probe::new(count, bench)?.baseline(bench)?;
    let mut places = Buffer::unset(count, &stream)?;
    let work = Work::moving(count * LOOKUP).counting(count, Unit::Keys);
    let work = work.against(Some(sectors)).saying("load", load);

    let table = filled(keys, room, &stream)?;
    for (name, misses) in [("find", 0), ("find_half_misses", count / 2)] {
        let asked_for = Keys::new(with_new(keys, count, misses), &stream)?;
        bench.measure(&format!("hash_table/{name}/{}", size(count)), work, |stream| {
            table.find(&asked_for.ids, &asked_for.offsets, &mut places, stream)
        })?;
    }

    // The new ones are erased again between calls: a fresh table would have its pages walked first.
    let asked_for = Keys::new(with_new(keys, count, count / 10), &stream)?;
    let (new, table) = (Keys::new(ids(keys, keys + count / 10), &stream)?, RefCell::new(table));
    bench.measure_fresh(
        &format!("hash_table/find_or_insert_tenth_new/{}", size(count)),
        work,
        |stream| {
            table.borrow_mut().erase(&new.ids, &new.offsets, stream)?;
            stream.synchronize()
        },
        |(), stream| {
            table.borrow_mut().find_or_insert(&asked_for.ids, &asked_for.offsets, &mut places, stream)
        },
    )?;
    drop(table);

    let fill = Fill::new(keys, batch(bench), &stream)?;
    // A sector is written too, and where the new ones are.
    let claims = random_cas::baseline(bench, slots, keys, batch(bench))?;
    let work = Work::moving(keys * (LOOKUP + SECTOR + 4)).counting(keys, Unit::Keys);
    bench.measure_fresh(
        &format!("hash_table/insert/{}", size(keys)),
        work.against(claims).saying("load", load),
        |stream| presized(room, stream),
        |table, stream| fill.insert_into(table, stream),
    )
}

/// A full table of 2^`exponent` slots, on the CPU of 2^12 times fewer, moves to one of twice as many.
fn growth(bench: &mut Bench<'_>, exponent: u32) -> Result<()> {
    let stream = bench.stream();
    let slots = bench.size(1 << exponent, 1 << (exponent - 12));
    let keys = capacity_of(slots);
    let fill = Fill::new(keys, FILLED, &stream)?;
    let one_more = Keys::new(vec![id(keys)], &stream)?;
    let mut place = Buffer::unset(1, &stream)?;
    // Of slots: those there are, and each key's sector in the new ones, which are all cleared too.
    let work = Work::moving(slots * 16 + 2 * slots * 16 + keys * 2 * SECTOR).counting(keys, Unit::MovedKeys);
    bench.measure_fresh(
        &format!("hash_table/growth/{}", data::short(keys)),
        work,
        |stream| fill.table(keys, stream),
        |table, stream| table.find_or_insert(&one_more.ids, &one_more.offsets, &mut place, stream),
    )
}

/// Reads of one value at a random place, a sector each, out of 4 GiB: what a lookup does at best.
struct Probe {
    storage: Rows,
    bound: usize,
    places: Buffer<u32>,
    out: Buffer<f32>,
}

impl Probe {
    fn new(count: usize, bench: &Bench<'_>) -> Result<Self> {
        let stream = bench.stream();
        let bound = bench.size(4 << 30, 128 << 20) / SECTOR;
        // Values of a slot each: a gather reads one of a row.
        let storage = data::storage(1, SECTOR / 4, bound, &stream)?;
        let places = random_places(count, bound, &stream)?;
        Ok(Self { storage, bound, places, out: Buffer::unset(count, &stream)? })
    }

    fn read(&mut self, stream: &Stream) -> Result<()> {
        rows::gather(&self.storage, 0, &self.places, None, &mut self.out, stream)
    }

    fn baseline(mut self, bench: &mut Bench<'_>) -> Result<Baseline> {
        bench.baseline("random 32-byte sectors", |stream| self.read(stream))
    }
}

fn random_places(count: usize, bound: usize, stream: &Stream) -> Result<Buffer<u32>> {
    let mut random = data::random(1);
    Buffer::from_vec((0..count).map(|_| random.random_range(0..bound as u32)).collect(), stream)
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

    fn insert_into(&self, table: &mut HashTable, stream: &Stream) -> Result<()> {
        let mut places = Buffer::unset(self.ids.len(), stream)?;
        table.find_or_insert(&self.ids, &self.offsets, &mut places, stream).map(drop)
    }
}

/// The ids of a table in batches, on the device.
struct Fill(Vec<Keys>);

impl Fill {
    fn new(count: usize, batch: usize, stream: &Stream) -> Result<Self> {
        let firsts = (0..count).step_by(batch);
        let keys = firsts.map(|first| Keys::new(ids(first, (first + batch).min(count)), stream));
        keys.collect::<Result<_>>().map(Self)
    }

    fn insert_into(&self, table: &mut HashTable, stream: &Stream) -> Result<()> {
        self.0.iter().try_for_each(|keys| keys.insert_into(table, stream))
    }

    /// A table that holds them and has slots for `room`.
    fn table(&self, room: usize, stream: &Stream) -> Result<HashTable> {
        let mut table = presized(room, stream)?;
        self.insert_into(&mut table, stream)?;
        stream.synchronize()?;
        Ok(table)
    }
}

/// A table of `count` ids that has slots for `room`.
fn filled(count: usize, room: usize, stream: &Stream) -> Result<HashTable> {
    let mut table = presized(room, stream)?;
    for first in (0..count).step_by(FILLED) {
        Keys::new(ids(first, (first + FILLED).min(count)), stream)?.insert_into(&mut table, stream)?;
    }
    stream.synchronize()?;
    Ok(table)
}

/// An empty table that has slots for so many ids: those of a batch that ends before its first id.
fn presized(room: usize, stream: &Stream) -> Result<HashTable> {
    let mut table = HashTable::create(1, stream)?;
    if stream.device() != Device::Cpu {
        let none = Keys { ids: Buffer::unset(room, stream)?, offsets: Buffer::from_vec(vec![0, 0], stream)? };
        none.insert_into(&mut table, stream)?;
        // Else the next call reckons with ids that are not there.
        stream.synchronize()?;
    }
    Ok(table)
}

/// How many ids a table of so many slots holds before it grows.
fn capacity_of(slots: usize) -> usize {
    slots * 2 / 3
}

/// Slots of a table that has got room for so many ids.
fn slots_for(room: usize) -> usize {
    let slots = room.next_power_of_two();
    if capacity_of(slots) < room { 2 * slots } else { slots }
}

/// The ids from the `first`-th to before the `end`-th.
fn ids(first: usize, end: usize) -> Vec<i64> {
    (first..end).into_par_iter().map(id).collect()
}

/// The `i`-th id: no two are the same, and they look like any 64 bits.
fn id(i: usize) -> i64 {
    let x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x ^ x >> 32) as i64
}

/// `count` of the ids from the `first`-th to before the `end`-th, each once, in no order.
fn some_of(first: usize, end: usize, count: usize) -> Vec<i64> {
    let mut random = data::random(4);
    let begin = |k: usize| first + k * (end - first) / count;
    let mut some: Vec<_> = (0..count).map(|k| id(random.random_range(begin(k)..begin(k + 1)))).collect();
    some.shuffle(&mut random);
    some
}

/// `count` ids, in no order, of which `new` are not among the first `present`.
fn with_new(present: usize, count: usize, new: usize) -> Vec<i64> {
    let mut all = some_of(0, present, count - new);
    all.extend((present..present + new).map(id));
    all.shuffle(&mut data::random(6));
    all
}
