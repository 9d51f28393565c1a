//! Several threads, each with a stream of its own.

use std::sync::{Barrier, Mutex};

use recis::device::{Buffer, Device, Stream};
use recis::ops::hash_table::HashTable;
use recis::ops::initialize::{Initializer, Source, Sources};
use recis::ops::rows::{self, Rows};

use crate::common::{each, many_or_few, on, read};

const DIM: usize = 4;
const INITIALIZER: Initializer = Initializer::Uniform { a: -1.0, b: 1.0 };

/// A table of one logical table, and its rows.
struct Embeddings {
    table: HashTable,
    rows: Rows,
}

impl Embeddings {
    fn new(stream: &Stream) -> Self {
        Self { table: HashTable::create(1, stream).unwrap(), rows: Rows::new(DIM, 1, stream).unwrap() }
    }

    /// The embeddings of ids; those of new ones are made.
    fn lookup(&mut self, ids: &[i64], stream: &Stream) -> Buffer<f32> {
        let sources = Sources::new(&INITIALIZER, 7, &["t".to_string()], stream).unwrap();
        let (count, ids) = (ids.len(), on(ids, stream));
        let (offsets, mut found) = (on([0, count as u32], stream), on(vec![0u32; count], stream));
        let new = self.table.find_or_insert(&ids, &offsets, &mut found, stream).unwrap();
        self.rows.reserve(self.table.row_bound()).unwrap();
        rows::initialize(&mut self.rows, &sources, &ids, &offsets, &found, &new, stream).unwrap();
        let mut out = Buffer::unset(count * DIM, stream).unwrap();
        rows::gather(&self.rows, 0, &found, None, &mut out, stream).unwrap();
        out
    }
}

fn expected(ids: &[i64]) -> Vec<f32> {
    let source = Source::new(&INITIALIZER, 7, "t");
    let mut out = vec![0.0; ids.len() * DIM];
    out.chunks_mut(DIM).zip(ids).for_each(|(row, &id)| source.fill(id, row));
    out
}

/// Ids of a round that differ from those of the other thread, but for every seventh.
fn ids(thread: i64, round: i64, count: usize) -> Vec<i64> {
    let id = |i| if i % 7 == 0 { i } else { 1_000_000 * (thread + 1) + 10_000 * round + i };
    (0..count as i64).map(id).collect()
}

#[test]
fn what_may_go_to_other_threads() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    sent::<HashTable>();
    shared::<Rows>();
    shared::<Buffer<f32>>();
    shared::<Stream>();
    shared::<Sources>();
}

#[test]
fn two_threads_use_two_tables_at_once() {
    each(|stream| {
        let (device, count, start) = (stream.device(), many_or_few(1500, 100, stream), Barrier::new(2));
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let start = &start;
                scope.spawn(move || {
                    let stream = Stream::new(device).unwrap();
                    let mut embeddings = Embeddings::new(&stream);
                    start.wait();
                    for round in 0..8 {
                        let ids = ids(thread, round, count);
                        assert_eq!(read(&embeddings.lookup(&ids, &stream), &stream), expected(&ids));
                    }
                });
            }
        });
    });
}

#[test]
fn two_threads_use_one_table_in_turn() {
    each(|stream| {
        let (device, count) = (stream.device(), many_or_few(1500, 100, stream));
        let embeddings = Mutex::new(Embeddings::new(stream));
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let embeddings = &embeddings;
                scope.spawn(move || {
                    let stream = Stream::new(device).unwrap();
                    for round in 0..8 {
                        let ids = ids(thread, round, count);
                        // Nothing waits for the device while the table is held.
                        let out = embeddings.lock().unwrap().lookup(&ids, &stream);
                        assert_eq!(read(&out, &stream), expected(&ids));
                    }
                });
            }
        });
        let mut embeddings = embeddings.into_inner().unwrap();
        let shared = count.div_ceil(7);
        let sizes = embeddings.table.sizes(stream).unwrap();
        assert_eq!(sizes, [shared + 2 * 8 * (count - shared)]);
        for (thread, round) in [(0, 0), (1, 7)] {
            let ids = ids(thread, round, count);
            assert_eq!(read(&embeddings.lookup(&ids, stream), stream), expected(&ids));
        }
        assert_eq!(embeddings.table.sizes(stream).unwrap(), sizes);
    });
}

#[test]
fn buffers_go_from_thread_to_thread() {
    each(|stream| {
        if stream.device() == Device::Simt {
            return; // its streams do nothing
        }
        let device = stream.device();
        let mut buffer = on(vec![1.0f32; 1 << 20], stream);
        for _ in 0..4 {
            let work = move || {
                let stream = Stream::new(device).unwrap();
                recis::ops::scale::forward(&mut buffer, 2.0, &stream).unwrap();
                buffer
            };
            buffer = std::thread::spawn(work).join().unwrap();
        }
        assert!(read(&buffer, stream).iter().all(|&value| value == 16.0));
    });
}
