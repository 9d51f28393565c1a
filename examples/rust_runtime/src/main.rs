//! A training runtime of somebody's own that takes four things from recis: string hashing, the hash
//! table, the mean combiner and the sparse optimizer. Bags of words are embedded, and moved towards 1.
//!
//! It runs on the first CUDA device, with `--features simt` on the kernels' test bed, else on the CPU.

mod plain;

use recis::Result;
use recis::device::{Buffer, Device, Stream};
use recis::ops::combine::{self, Combined, CombinedGradient, Denominator, EmbeddingGradients, Lookup};
use recis::ops::hash_table::HashTable;
use recis::ops::initialize::{Initializer, Sources};
use recis::ops::merge_gradients::Gradients;
use recis::ops::partition_ids::{self, Column};
use recis::ops::rows::{self, Rows};
use recis::ops::sparse_adamw::{self, Coefficients, Decay};
use recis::ops::string_hash::{self, HashType};

const DIM: usize = 8;
const SEED: u64 = 42;
const INITIALIZER: Initializer = Initializer::Uniform { a: -0.1, b: 0.1 };

type Bags<'a> = &'a [&'a [&'a str]];

/// What the runtime keeps: which row an id has, the rows, and how far the optimizer is.
struct Embedding {
    table: HashTable,
    rows: Rows,
    initial: Sources,
    powers: [f32; 2],
}

impl Embedding {
    fn new(stream: &Stream) -> Result<Self> {
        Ok(Self {
            table: HashTable::create(1, stream)?,
            rows: Rows::new(DIM, 3, stream)?, // embedding, exp_avg, exp_avg_sq
            initial: Sources::new(&INITIALIZER, SEED, &["words".into()], stream)?,
            powers: [1.0; 2],
        })
    }

    /// One step: the mean embedding of each bag, and an update towards 1. Returns the means.
    fn step(&mut self, bags: Bags<'_>, stream: &Stream) -> Result<Vec<f32>> {
        // Words to ids.
        let words: Vec<&str> = bags.concat();
        let bytes = words.concat().bytes().map(|byte| byte as i8).collect();
        let bytes = Buffer::from_vec(bytes, stream)?;
        let ends = Buffer::from_vec(offsets(words.iter().map(|word| word.len())), stream)?;
        let mut ids = Buffer::unset(words.len(), stream)?;
        let (hash_type, out) = (HashType::Farm, &mut ids);
        let column = string_hash::Column { bytes: &bytes, offsets: &ends, hash_type, modulus: None, out };
        string_hash::forward(&mut [column], stream)?;

        // Ids to rows: each distinct id once; new ones get a row and its initial values.
        let segments = Buffer::from_vec(offsets(bags.iter().map(|bag| bag.len())), stream)?;
        let column = Column { table: 0, ids: &ids, offsets: Some(&segments), listed: true };
        let unique = partition_ids::forward(&[column], 1, stream)?;
        let mut found = Buffer::unset(unique.ids.len(), stream)?;
        let new = self.table.find_or_insert(&unique.ids, &unique.table_offsets, &mut found, stream)?;
        self.rows.reserve(self.table.row_bound())?;
        let (ids, starts) = (&unique.ids, &unique.table_offsets);
        rows::initialize(&mut self.rows, &self.initial, ids, starts, &found, &new, stream)?;

        // Rows to means.
        let mut embeddings = Buffer::zeros(found.len() * DIM, stream)?;
        rows::gather(&self.rows, 0, &found, Some(&unique.count), &mut embeddings, stream)?;
        let lookup = Lookup {
            embeddings: &embeddings,
            inverse: &unique.inverse,
            first_id: 0,
            offsets: &segments,
            ids: words.len(),
            dim: DIM,
            occurrences: unique.occurrences(0),
            range: None,
        };
        let mut means = Buffer::unset(bags.len() * DIM, stream)?;
        let bags_of = Combined { lookup, weights: None, denominator: Denominator::Count, first_column: 0 };
        combine::forward(&[bags_of], &mut means, DIM, stream)?;

        // The rest of the model, here on the host: half the squared distance to 1.
        let means = means.to_vec(stream)?;
        let d_means = Buffer::from_vec(means.iter().map(|mean| mean - 1.0).collect(), stream)?;

        // Back again, and an update of the rows that were looked up.
        let mut values = Buffer::zeros(embeddings.len(), stream)?;
        let gradients = vec![CombinedGradient { feature: bags_of, d_out: &d_means, stride: DIM }];
        combine::backward(&mut [EmbeddingGradients { gradients, d_embeddings: &mut values }], stream)?;
        let gradients = Gradients { rows: found, values, count: Some(unique.count) };
        let [power1, power2] = &mut self.powers;
        let coefficients = coefficients([power1, power2]);
        sparse_adamw::step(&mut self.rows, &gradients, &coefficients, stream)?;
        Ok(means)
    }
}

fn coefficients(powers: [&mut f32; 2]) -> Coefficients {
    Coefficients::advance(powers, 0.05, [0.9, 0.999], 1e-8, Decay::WithoutLr(0.01))
}

/// Prefix sums of lengths.
fn offsets(lengths: impl Iterator<Item = usize>) -> Vec<i32> {
    let sums = lengths.scan(0, |sum, length| {
        *sum += length as i32;
        Some(*sum)
    });
    std::iter::once(0).chain(sums).collect()
}

fn main() -> Result<()> {
    #[cfg(feature = "simt")]
    let device = Device::Simt;
    #[cfg(not(feature = "simt"))]
    let (device, _) = Device::choose("auto")?;
    let stream = Stream::new(device)?;
    let mut embedding = Embedding::new(&stream)?;
    let (mut plain, mut powers) = (plain::Rows::new(), [1.0; 2]);
    let batches: [Bags<'_>; 3] = [
        &[&["red", "shoes", "red"], &[], &["blue", "hat"]],
        &[&["hat"], &["green", "shoes", "and", "a", "green", "hat"]],
        &[&["red"], &["red", "hat"], &["shoes", "shoes", "socks"]],
    ];
    for (step, bags) in batches.into_iter().enumerate() {
        let means = embedding.step(bags, &stream)?;
        let [power1, power2] = &mut powers;
        let expected = plain::step(&mut plain, bags, coefficients([power1, power2]));
        let error = means.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let ids = embedding.table.sizes(&stream)?[0];
        println!("step {step} on {device}: {ids} words, off plain loops by at most {error:.1e}");
        assert!(means.len() == expected.len() && error < 1e-6 && ids == plain.len());
    }
    Ok(())
}
