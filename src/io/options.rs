use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::ops::string_hash::HashType;
use crate::{Batch, Error, Result};

/// A function applied to each batch.
pub(super) type MapFn = Arc<dyn Fn(Batch) -> Result<Batch> + Send + Sync>;

/// How an [`OrcDataset`](super::OrcDataset) reads. Only `batch_size` has to be given:
/// `OrcDatasetOptions { batch_size: 1024, ..Default::default() }`.
pub struct OrcDatasetOptions {
    /// Rows in each batch; at least 1.
    pub batch_size: usize,
    /// Which of the workers that share the files this one is.
    pub worker_idx: usize,
    /// How many workers share the files: file `i` is read by worker `i % worker_num`.
    pub worker_num: usize,
    /// How many files are read in turn, at most 1024 rows of each at a time. The order of the rows
    /// depends on this number, and on nothing else but the files.
    pub read_threads_num: usize,
    /// Threads that decode and pack; as many as there are CPUs if not given. Results do not depend
    /// on it.
    pub pack_threads_num: Option<usize>,
    /// Finished batches that a background thread keeps ready; with 0 there is no such thread, and
    /// who asks for batches cuts them and runs the functions on them.
    pub prefetch: usize,
    /// Leave out the last batch if it has fewer than `batch_size` rows.
    pub drop_remainder: bool,
    /// Shuffle the list of this worker's files, in the same way each time.
    pub shuffle: bool,
    /// What floating-point columns are cast to.
    pub dtype: Dtype,
    /// Where batches are left. Those for a CUDA device are packed into pinned memory and copied on a
    /// stream of their own, while the device works on others.
    pub device: Device,
    /// Applied to each batch in order, after the functions of [`map`](super::OrcDataset::map).
    pub transform_fn: Vec<Box<dyn Fn(Batch) -> Result<Batch> + Send + Sync>>,
}

impl Default for OrcDatasetOptions {
    fn default() -> Self {
        Self {
            batch_size: 0,
            worker_idx: 0,
            worker_num: 1,
            read_threads_num: 4,
            pack_threads_num: None,
            prefetch: 1,
            drop_remainder: false,
            shuffle: false,
            dtype: Dtype::F32,
            device: Device::Cpu,
            transform_fn: Vec::new(),
        }
    }
}

impl OrcDatasetOptions {
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |option: &str, what: String| Err(Error::Option { option: option.into(), what });
        if self.batch_size == 0 {
            return refuse("batch_size", "has to be given, and at least 1".into());
        }
        if self.worker_num == 0 {
            return refuse("worker_num", "0 workers; at least 1".into());
        }
        if self.worker_idx >= self.worker_num {
            let what = format!("{} of {} workers; they are counted from 0", self.worker_idx, self.worker_num);
            return refuse("worker_idx", what);
        }
        if self.read_threads_num == 0 {
            return refuse("read_threads_num", "0 files at a time; at least 1".into());
        }
        if self.pack_threads_num == Some(0) {
            return refuse("pack_threads_num", "0 threads; at least 1, or None for one per CPU".into());
        }
        Ok(())
    }
}

/// The type of floating-point columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits; values are rounded to nearest.
    #[default]
    F32,
    /// 64 bits.
    F64,
}

/// How a column of rows of different lengths is read. The default is for numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Varlen {
    /// Turn each string into an id with this hash.
    pub hash_type: Option<HashType>,
    /// What becomes of a 64-bit hash: 0 keeps its lower 63 bits, a positive number takes the
    /// remainder of the division by it, a negative number keeps all bits. Note that with 0 ids
    /// differ from those of [`ops::string_hash`](crate::ops::string_hash), which keeps all bits.
    pub hash_bucket: i64,
    /// Keep the bytes of strings, one more level of offsets saying where each begins.
    pub trans_int8: bool,
}

impl Varlen {
    pub(super) fn check(&self, column: &str) -> Result<()> {
        let refuse = |what: &str| {
            Err(Error::Option { option: format!("varlen_feature '{column}'"), what: what.into() })
        };
        if self.hash_type.is_some() && self.trans_int8 {
            return refuse("hash_type makes ids of strings, trans_int8 keeps their bytes: give one of them");
        }
        if self.hash_type.is_none() && self.hash_bucket != 0 {
            return refuse("a hash_bucket without a hash_type");
        }
        Ok(())
    }
}
