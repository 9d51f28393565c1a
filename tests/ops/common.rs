//! The devices that tests run on, seeded numbers, and ids after their lookup.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recis::device::{Buffer, Device, Element, Stream};
use recis::ops::lookup::Lookup;
use recis::ops::partition_ids::{self, Column, Partition};

use crate::devices::devices;

/// Says which device a test has failed on.
struct Running(Device);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was on {}", self.0);
        }
    }
}

/// A stream on each device.
pub fn streams() -> Vec<Stream> {
    devices().into_iter().map(|device| Stream::new(device).unwrap()).collect()
}

/// Runs a test on every device.
pub fn each(test: impl Fn(&Stream)) {
    for stream in &streams() {
        let _running = Running(stream.device());
        test(stream);
    }
}

/// Runs a test on every device that has kernels.
pub fn each_with_kernels(test: impl Fn(&Stream)) {
    each(|stream| {
        if stream.device() != Device::Cpu {
            test(stream);
        }
    });
}

/// `many`, or `few` where every thread of a kernel costs time.
pub fn many_or_few(many: usize, few: usize, stream: &Stream) -> usize {
    if stream.device() == Device::Simt { few } else { many }
}

/// Values in the memory of the stream's device.
pub fn on<T: Element>(values: impl Into<Vec<T>>, stream: &Stream) -> Buffer<T> {
    Buffer::from_vec(values.into(), stream).unwrap()
}

/// What a buffer holds.
pub fn read<T: Element>(buffer: &Buffer<T>, stream: &Stream) -> Vec<T> {
    buffer.to_vec(stream).unwrap()
}

/// The values of a ragged result: those behind the last offset are room.
pub fn ragged<T: Element>(values: &Buffer<T>, offsets: &Buffer<i32>, stream: &Stream) -> Vec<T> {
    let mut values = read(values, stream);
    values.truncate(*read(offsets, stream).last().unwrap() as usize);
    values
}

/// Offsets that lead nowhere, for as many rows.
pub fn hostile_offsets(rows: usize) -> Vec<i32> {
    [5, -3, i32::MAX, 0, i32::MIN, 1, 2, -1].into_iter().cycle().take(rows + 1).collect()
}

pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub fn floats(rng: &mut StdRng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random::<f32>() - 0.5).collect()
}

/// The largest error of `values` against an f64 reference, in units of f32's precision at the
/// magnitude `scale`.
pub fn ulps(values: &[f32], reference: &[f64], scale: f64) -> f64 {
    assert_eq!(values.len(), reference.len());
    let error = values.iter().zip(reference).map(|(&v, r)| (f64::from(v) - r).abs());
    error.fold(0.0, f64::max) / (f64::from(f32::EPSILON) * scale)
}

/// The ids of one feature. Those behind the last offset are room that nothing may look at.
pub struct Feature {
    pub table: usize,
    pub ids: Vec<i64>,
    pub offsets: Vec<i32>,
}

impl Feature {
    /// Segments of random lengths up to `max_len`, ids below `bound`, and room for three more ids.
    pub fn random(rng: &mut StdRng, table: usize, segments: usize, max_len: usize, bound: i64) -> Self {
        let mut offsets = vec![0];
        for _ in 0..segments {
            offsets.push(offsets[offsets.len() - 1] + rng.random_range(0..=max_len) as i32);
        }
        let mut ids: Vec<i64> = (0..offsets[segments]).map(|_| rng.random_range(0..bound)).collect();
        ids.extend([i64::MIN; 3]);
        Self { table, ids, offsets }
    }

    /// Where a segment's ids are.
    pub fn range(&self, segment: usize) -> std::ops::Range<usize> {
        self.offsets[segment] as usize..self.offsets[segment + 1] as usize
    }
}

/// Features after the lookup of their ids in tables where the embedding of an id is [`embedding`].
pub struct LookedUp {
    pub features: Vec<Feature>,
    pub dim: usize,
    /// The table and the id of each place.
    pub keys: Vec<(usize, i64)>,
    pub embeddings: Buffer<f32>,
    offsets: Vec<Buffer<i32>>,
    partition: Partition,
}

/// A value of an embedding, between -0.5 and 0.5.
pub fn embedding((table, id): (usize, i64), column: usize) -> f32 {
    let mixed = (id as u64).wrapping_mul(31).wrapping_add(table as u64 * 7 + column as u64 * 1001);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32 - 0.5
}

impl LookedUp {
    pub fn new(features: Vec<Feature>, tables: usize, dim: usize, stream: &Stream) -> Self {
        let ids: Vec<_> = features.iter().map(|f| on(f.ids.clone(), stream)).collect();
        let offsets: Vec<_> = features.iter().map(|f| on(f.offsets.clone(), stream)).collect();
        let columns: Vec<_> = (features.iter().zip(&ids).zip(&offsets))
            .map(|((f, ids), offsets)| Column { table: f.table, ids, offsets: Some(offsets), listed: true })
            .collect();
        let partition = partition_ids::forward(&columns, tables, stream).unwrap();
        let keys = keys(&partition, stream);
        let mut embeddings: Vec<f32> =
            keys.iter().flat_map(|&key| (0..dim).map(move |column| embedding(key, column))).collect();
        // What is behind them must not be used.
        embeddings.resize(partition.ids.len() * dim, f32::NAN);
        Self { features, dim, keys, embeddings: on(embeddings, stream), offsets, partition }
    }

    /// A feature's ids after the lookup.
    pub fn lookup(&self, feature: usize) -> Lookup<'_> {
        Lookup {
            embeddings: &self.embeddings,
            inverse: &self.partition.inverse,
            first_id: self.partition.first_ids[feature],
            offsets: &self.offsets[feature],
            ids: self.features[feature].ids.len(),
            dim: self.dim,
            occurrences: self.partition.occurrences(self.features[feature].table),
            range: Some(self.partition.range(self.features[feature].table)),
        }
    }

    /// What an array shaped like the embeddings holds for each key. Behind the keys it must hold
    /// what it did at first.
    pub fn by_key(
        &self,
        values: &Buffer<f32>,
        at_first: f32,
        stream: &Stream,
    ) -> BTreeMap<(usize, i64), Vec<f32>> {
        let values = read(values, stream);
        let (values, behind) = values.split_at(self.keys.len() * self.dim);
        assert!(behind.iter().all(|&value| value == at_first), "gradients of places that hold no id");
        let rows = values.chunks(self.dim).map(<[f32]>::to_vec);
        self.keys.iter().copied().zip(rows).collect()
    }
}

/// The table and the id of each place of a partition.
pub fn keys(partition: &Partition, stream: &Stream) -> Vec<(usize, i64)> {
    let (ids, ends) = (read(&partition.ids, stream), read(&partition.table_offsets, stream));
    assert_eq!(read(&partition.count, stream), ends[ends.len() - 1..]);
    let places = ends.windows(2).map(|ends| ends[0] as usize..ends[1] as usize).enumerate();
    places.flat_map(|(table, places)| ids[places].iter().map(move |&id| (table, id))).collect()
}
