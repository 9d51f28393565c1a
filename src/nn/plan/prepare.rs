//! What of a step depends on its batch alone: features and distinct ids. It may be done ahead of the steps before, by
//! another thread.

use std::fmt;
use std::sync::Arc;

use crate::device::{Event, Stream};
use crate::features::FeatureEngine;
use crate::nn::embedding::{BatchIds, Partitioner};
use crate::tensor::Batch;
use crate::{Error, Result};

/// Prepares batches for a plan: [`Plan::preparer`](super::Plan::preparer). On a device it only enqueues work, and
/// enqueueing is what small steps take longest for: a thread may prepare the next batch while another trains on this
/// one.
#[derive(Clone)]
pub struct Preparer(pub(super) Arc<Ahead>);

/// What preparing takes.
pub(super) struct Ahead {
    pub features: FeatureEngine,
    pub partitioner: Arc<Partitioner>,
    pub stream: Stream,
}

/// A batch that is prepared: for [`Plan::train_prepared`](super::Plan::train_prepared) of the plan whose preparer has
/// done it.
#[derive(Debug)]
pub struct PreparedBatch {
    pub(super) by: Preparer,
    /// Where it came from, without its columns.
    pub(super) about: Batch,
    /// What the features have made of it, and their ids; none if it has no rows.
    pub(super) content: Option<(Batch, BatchIds)>,
    /// Behind all that the content is made by.
    pub(super) done: Event,
}

impl Preparer {
    /// Prepares a batch, which may be in any memory.
    ///
    /// # Errors
    /// A batch that does not fit the features.
    pub fn prepare(&self, batch: &Batch) -> Result<PreparedBatch> {
        if let Some((name, tensor)) = batch.columns().find(|(_, tensor)| tensor.rows() != batch.rows) {
            let what = format!("{} rows in a batch of {}", tensor.rows(), batch.rows);
            return Err(Error::Data { place: format!("column '{name}'"), what });
        }
        let (by, about) = (self.clone(), batch.without_columns());
        let Ahead { features, partitioner, stream } = self.0.as_ref();
        let mut content = None;
        if batch.rows > 0 {
            let columns = features.forward(&batch.copy_to(stream)?, stream)?;
            let ids = partitioner.partition(&columns, stream)?;
            // Columns that no feature has touched, too.
            stream.read_all(columns.columns().flat_map(|(_, column)| column.orders()))?;
            stream.join(self.streams().filter(|other| !std::ptr::eq(*other, stream)))?;
            content = Some((columns, ids));
        }
        Ok(PreparedBatch { by, about, content, done: stream.mark()? })
    }

    /// The streams that batches are prepared on.
    pub(super) fn streams(&self) -> impl Iterator<Item = &Stream> {
        let Ahead { features, partitioner, stream } = self.0.as_ref();
        [stream].into_iter().chain(features.streams()).chain(partitioner.streams())
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Preparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Preparer on {}", self.0.stream.device())
    }
}
