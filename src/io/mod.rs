//! Where batches come from: [`Dataset`], and [`OrcDataset`], which reads ORC files.
//!
//! The way of the rows: a schedule says which rows come when; a decoder runs ahead of it on a pool
//! of threads, a column of a stripe at a time; batches are cut from the parts it hands out in
//! order, each column on the pool; and a thread of its own keeps some of them ready.

mod batches;
mod column;
mod dataset;
mod decoder;
mod feature;
mod inspect;
mod options;
mod orc;
mod pack;
mod paths;
mod pool;
mod schedule;

pub use crate::ops::string_hash::HashType;
pub use dataset::OrcDataset;
pub use inspect::{OrcColumn, OrcStripe, OrcSummary};
pub use options::{Dtype, OrcDatasetOptions, Varlen};

use options::MapFn;

use crate::{Batch, Position, Result};

/// The batches of one pass, in order. After an error there are none. Dropping it stops what works
/// for it in the background.
pub type BatchIter = Box<dyn Iterator<Item = Result<Batch>> + Send>;

/// A source of batches.
pub trait Dataset: Send {
    /// One pass over this worker's data, or what of it comes after the rows that `after` counts:
    /// exactly the next row is the first, whatever the batches were when the position was stored.
    ///
    /// Errors: the data cannot be opened, or is not what `after` was stored with.
    fn iterate(&self, after: Option<&Position>) -> Result<BatchIter>;
}
