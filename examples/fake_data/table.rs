//! The rows of a file.

use std::ops::Range;

use super::orc_writer::{Column, Type};
use super::random::Random;

/// Names and types of the columns, in the order of the document.
pub const COLUMNS: [(&str, Type); 8] = [
    ("label", Type::F64),
    ("dense1", Type::F64),
    ("dense2", Type::F64),
    ("sparse1", Type::I64),
    ("sparse2", Type::I64),
    ("sparse3", Type::I64),
    ("sparse4", Type::I64),
    ("sparse5", Type::Str),
];
const DENSE1: usize = 8;
const SPARSE4_IDS: usize = 1_000_000;
const STRINGS: usize = 1000;
const STRING_LEN: usize = 10;

/// What all files of a seed have in common: the strings, and what a learnable label depends on.
pub struct Population {
    seed: u64,
    strings: Vec<String>,
    weights: [f64; DENSE1],
}

/// How the label comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    CoinFlips,
    Rule,
}

/// The rows of one file.
pub struct Table<'a> {
    label: Ragged<f64>,
    dense1: Ragged<f64>,
    dense2: Ragged<f64>,
    /// sparse1, sparse2 and sparse3 are the same: the row's index.
    index: Ragged<i64>,
    sparse4: Ragged<i64>,
    sparse5: Ragged<&'a str>,
}

impl Population {
    pub fn new(seed: u64) -> Self {
        const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let mut random = Random::new(seed, u64::MAX); // the files are streams 0, 1, 2 ...
        let mut string = || (0..STRING_LEN).map(|_| ALPHABET[random.below(ALPHABET.len())] as char).collect();
        let strings = (0..STRINGS).map(|_| string()).collect();
        let weights = std::array::from_fn(|i| (0.5 + random.unit()) * if i % 2 == 0 { 1.0 } else { -1.0 });
        let norm = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        Self { seed, strings, weights: weights.map(|w| w / norm) }
    }

    /// The rows of file number `file`; sequences hold 1 to `max_len - 1` values.
    pub fn table(&self, file: usize, rows: usize, max_len: usize, labels: Labels) -> Table<'_> {
        let mut random = Random::new(self.seed, file as u64);
        let mut table = Table {
            label: Ragged::new(),
            dense1: Ragged::new(),
            dense2: Ragged::new(),
            index: Ragged::new(),
            sparse4: Ragged::new(),
            sparse5: Ragged::new(),
        };
        for row in 0..rows {
            let dense1: [f64; DENSE1] = std::array::from_fn(|_| random.unit());
            table.dense1.push(dense1);
            table.dense2.push([random.unit()]);
            table.index.push([row as i64]);
            let ids: Vec<usize> = sequence(&mut random, max_len, SPARSE4_IDS);
            let words: Vec<usize> = sequence(&mut random, max_len, STRINGS);
            table.sparse4.push(ids.iter().map(|&id| id as i64));
            table.sparse5.push(words.iter().map(|&i| self.strings[i].as_str()));
            let probability = match labels {
                Labels::CoinFlips => 0.5,
                Labels::Rule => self.click_probability(&dense1, &ids, &words),
            };
            table.label.push([f64::from(u8::from(random.unit() < probability))]);
        }
        table
    }

    /// Mostly a linear rule over dense1, and a little the ids and strings that a row holds: the
    /// best possible AUC is about 0.97.
    fn click_probability(&self, dense1: &[f64; DENSE1], ids: &[usize], words: &[usize]) -> f64 {
        let linear: f64 = self.weights.iter().zip(dense1).map(|(w, x)| w * (x - 0.5)).sum();
        let z = 20.0 * linear + leaning(ids) + leaning(words);
        1.0 / (1.0 + (-z).exp())
    }
}

/// One value in ten speaks for a click and one in ten against it. Divided by the root of the
/// length, so that long and short rows lean equally far.
fn leaning(values: &[usize]) -> f64 {
    let sum: i32 = values.iter().map(|v| i32::from(v % 10 == 0) - i32::from(v % 10 == 1)).sum();
    f64::from(sum) / (values.len() as f64).sqrt()
}

fn sequence(random: &mut Random, max_len: usize, below: usize) -> Vec<usize> {
    let len = 1 + random.below(max_len - 1);
    (0..len).map(|_| random.below(below)).collect()
}

impl Table<'_> {
    pub fn rows(&self) -> usize {
        self.label.lengths.len()
    }

    /// Some of the rows, as the columns of a stripe.
    pub fn columns(&self, rows: Range<usize>) -> [Column<'_>; COLUMNS.len()] {
        let index = || self.index.rows(&rows, |lengths, values| Column::I64 { lengths, values });
        [
            self.label.rows(&rows, |lengths, values| Column::F64 { lengths, values }),
            self.dense1.rows(&rows, |lengths, values| Column::F64 { lengths, values }),
            self.dense2.rows(&rows, |lengths, values| Column::F64 { lengths, values }),
            index(),
            index(),
            index(),
            self.sparse4.rows(&rows, |lengths, values| Column::I64 { lengths, values }),
            self.sparse5.rows(&rows, |lengths, values| Column::Str { lengths, values }),
        ]
    }
}

/// Rows of different lengths: row `r` is `values[offsets[r]..][..lengths[r]]`.
struct Ragged<T> {
    lengths: Vec<usize>,
    offsets: Vec<usize>,
    values: Vec<T>,
}

impl<T> Ragged<T> {
    fn new() -> Self {
        Self { lengths: vec![], offsets: vec![0], values: vec![] }
    }

    fn push(&mut self, row: impl IntoIterator<Item = T>) {
        let start = self.values.len();
        self.values.extend(row);
        self.lengths.push(self.values.len() - start);
        self.offsets.push(self.values.len());
    }

    /// What `column` makes of the lengths and values of some of the rows.
    fn rows<'a>(&'a self, rows: &Range<usize>, column: fn(&'a [usize], &'a [T]) -> Column<'a>) -> Column<'a> {
        column(&self.lengths[rows.clone()], &self.values[self.offsets[rows.start]..self.offsets[rows.end]])
    }
}
