//! Data of the shapes that the benches need; what it holds is random, and the same every time.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recis::Result;
use recis::device::{Buffer, Device, Stream};
use recis::ops::linear::Precision;
use recis::ops::lookup::Lookup;
use recis::ops::partition_ids::{self, Partition};
use recis::ops::rows::{self, Rows};

/// Rows of the document's batch.
pub const ROWS: usize = 1024;
/// The document's sequences hold 1 to 1999 ids, and are cut to this.
pub const TILE_LEN: usize = 1000;
/// Rows that are touched at a time when storage is made.
const TOUCHED: usize = 1 << 20;

/// A count as the benches' ids name it: 125k, 4.1M.
pub fn short(count: usize) -> String {
    let (scale, unit) = if count < 1_000_000 { (1e3, "k") } else { (1e6, "M") };
    format!("{}{unit}", (count as f64 / scale * 100.0).round() / 100.0)
}

/// How the benches' ids name a precision.
pub fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "fp32",
        Precision::Tf32 => "tf32",
        Precision::Bf16 => "bf16",
    }
}

/// What an id ends in for a precision: fp32 is not said.
pub fn precision_suffix(precision: Precision) -> String {
    if precision == Precision::Fp32 { String::new() } else { format!("/{}", precision_name(precision)) }
}

/// The precisions of large products: a host computes all in f32.
pub fn precisions(device: Device) -> &'static [Precision] {
    match device {
        Device::Cpu => &[Precision::Fp32],
        _ => &[Precision::Fp32, Precision::Tf32, Precision::Bf16],
    }
}

/// A source of random numbers; another seed for other numbers.
pub fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Numbers between -0.5 and 0.5.
pub fn floats(count: usize, stream: &Stream) -> Result<Buffer<f32>> {
    let mut random = random(1);
    Buffer::from_vec((0..count).map(|_| random.random::<f32>() - 0.5).collect(), stream)
}

/// Numbers between 0 and 1, and labels.
pub fn predictions(count: usize, stream: &Stream) -> Result<[Buffer<f32>; 2]> {
    let mut random = random(2);
    let predictions = (0..count).map(|_| random.random()).collect();
    let labels = (0..count).map(|_| f32::from(u8::from(random.random_bool(0.1)))).collect();
    Ok([Buffer::from_vec(predictions, stream)?, Buffer::from_vec(labels, stream)?])
}

/// Ids of any 64 bits: as good as distinct.
pub fn any_ids(count: usize, seed: u64) -> Vec<i64> {
    let mut random = random(seed);
    (0..count).map(|_| random.random()).collect()
}

/// Ids from 0 to below `distinct`; `hot` is the share that is all the same one.
pub fn ids(count: usize, distinct: i64, hot: f64) -> Vec<i64> {
    let mut random = random(3);
    (0..count).map(|_| if random.random_bool(hot) { 7 } else { random.random_range(0..distinct) }).collect()
}

/// Different numbers below `bound`, in no order.
pub fn distinct_rows(count: usize, bound: usize) -> Vec<u32> {
    use rand::seq::SliceRandom;
    let mut all: Vec<u32> = (0..bound as u32).collect();
    let (chosen, _) = all.partial_shuffle(&mut random(4), count);
    chosen.to_vec()
}

/// Where the rows of a batch begin and end: 1 to 1999 values a row, at most `longest`.
pub fn offsets(rows: usize, longest: usize) -> Vec<i32> {
    let mut random = random(5);
    let mut offsets = vec![0];
    let mut end = 0;
    for _ in 0..rows {
        end += random.random_range(1..2 * TILE_LEN).min(longest) as i32;
        offsets.push(end);
    }
    offsets
}

/// Storage with memory behind every row.
pub fn storage(dim: usize, slots: usize, count: usize, stream: &Stream) -> Result<Rows> {
    let mut storage = Rows::new(dim, slots, stream)?;
    storage.reserve(count)?;
    // A host puts memory behind what has been written only.
    if stream.device() == Device::Cpu {
        for first in (0..count).step_by(TOUCHED) {
            let touched: Buffer<u32> =
                (first as u32..(first + TOUCHED).min(count) as u32).collect::<Vec<_>>().into();
            let values = floats(touched.len() * dim, stream)?;
            for slot in 0..slots {
                rows::scatter(&mut storage, slot, &touched, &values, stream)?;
            }
        }
    }
    Ok(storage)
}

/// A feature of a batch after its lookup.
pub struct Feature {
    pub offsets: Buffer<i32>,
    pub partition: Partition,
    pub embeddings: Buffer<f32>,
    /// Of ids.
    pub count: usize,
    /// Of distinct ids.
    pub unique: usize,
    pub dim: usize,
}

impl Feature {
    /// The feature of these ids, in segments.
    pub fn new(ids: Vec<i64>, offsets: Vec<i32>, dim: usize, stream: &Stream) -> Result<Self> {
        let count = ids.len();
        let (ids, offsets) = (Buffer::from_vec(ids, stream)?, Buffer::from_vec(offsets, stream)?);
        let column = partition_ids::Column { table: 0, ids: &ids, offsets: Some(&offsets), listed: true };
        let partition = partition_ids::forward(&[column], 1, stream)?;
        let unique = partition.count.to_vec(stream)?[0] as usize;
        Ok(Self { offsets, partition, embeddings: floats(unique * dim, stream)?, count, unique, dim })
    }

    /// A sequence of the document's batch, over a table of so many rows.
    pub fn sequence(rows: i64, hot: f64, stream: &Stream) -> Result<Self> {
        let offsets = offsets(ROWS, TILE_LEN);
        Self::new(ids(offsets[ROWS] as usize, rows, hot), offsets, 16, stream)
    }

    pub fn lookup(&self) -> Lookup<'_> {
        Lookup {
            embeddings: &self.embeddings,
            inverse: &self.partition.inverse,
            first_id: 0,
            offsets: &self.offsets,
            ids: self.count,
            dim: self.dim,
            occurrences: self.partition.occurrences(0),
            range: Some(self.partition.range(0)),
        }
    }

    /// Bytes of the embeddings.
    pub fn embedding_bytes(&self) -> usize {
        4 * self.unique * self.dim
    }
}
