//! What the tests share: the columns of the test files, and batches as rows that can be compared.

use std::path::{Path, PathBuf};

use recis::io::{Dataset, Dtype, OrcDataset, OrcDatasetOptions, Varlen};
use recis::{Batch, Result};
use serde_json::Value;

use crate::json_rows::json_rows;
use crate::root::root;

/// Columns that every file of `tests/data/orc` has, and which kind of tensor tests read them as.
pub const LONGS: [&str; 4] = ["sparse1", "sparse2", "sparse3", "sparse4"];
pub const FLOATS: [&str; 3] = ["dense1", "dense2", "label"];
pub const STRINGS: &str = "sparse5";
pub const BYTES: Varlen = Varlen { hash_type: None, hash_bucket: 0, trans_int8: true };

pub fn data(name: &str) -> PathBuf {
    root().join("tests/data/orc").join(name)
}

/// Options that decode in the simplest way: one file at a time, one thread, nothing in advance.
pub fn plain(batch_size: usize) -> OrcDatasetOptions {
    OrcDatasetOptions {
        batch_size,
        read_threads_num: 1,
        pack_threads_num: Some(1),
        prefetch: 0,
        dtype: Dtype::F64,
        ..Default::default()
    }
}

/// A dataset of one path with all columns of the test files, each as rows of any length.
pub fn dataset(path: impl AsRef<Path>, options: OrcDatasetOptions) -> OrcDataset {
    let mut dataset = OrcDataset::new(options).unwrap();
    dataset.add_path(path).unwrap();
    for column in LONGS.into_iter().chain(FLOATS) {
        dataset.varlen_feature(column, Varlen::default()).unwrap();
    }
    dataset.varlen_feature(STRINGS, BYTES).unwrap();
    dataset
}

pub fn batches(dataset: &OrcDataset) -> Result<Vec<Batch>> {
    dataset.iterate(None)?.collect()
}

/// The rows of one column as JSON.
pub fn rows(batch: &Batch, column: &str) -> Vec<Value> {
    json_rows(batch.get(column).unwrap())
}
