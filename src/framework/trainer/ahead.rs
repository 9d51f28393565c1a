//! Batches that are read and prepared ahead of training, by a thread of their own.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use crate::io::BatchIter;
use crate::nn::{PreparedBatch, Preparer};
use crate::{Error, Position, Result};

/// So many wait to be trained on, beside the one that is being prepared.
const WAITING: usize = 1;

/// A pass over the data, as far as training has not come yet.
pub(super) struct BatchesAhead {
    /// Gone when nobody wants any more.
    come: Option<Receiver<Result<NextBatch>>>,
    thread: Option<JoinHandle<()>>,
}

/// A batch, and what is said of it.
pub(super) struct NextBatch {
    /// Where it begins, for messages.
    pub place: String,
    /// Where its last row is.
    pub end: Option<Position>,
    pub prepared: Result<PreparedBatch>,
}

impl BatchesAhead {
    pub fn new(batches: BatchIter, preparer: Preparer) -> Result<Self> {
        let (give, come) = sync_channel(WAITING);
        let run = move || {
            for batch in batches {
                let next = batch.map(|batch| NextBatch {
                    place: batch.place(0),
                    end: batch.end.clone(),
                    prepared: preparer.prepare(&batch),
                });
                let is_last = next.is_err();
                if give.send(next).is_err() || is_last {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("batches".into()).spawn(run);
        let thread =
            thread.map_err(|error| Error::Model(format!("no thread that reads batches: {error}")))?;
        Ok(Self { come: Some(come), thread: Some(thread) })
    }

    /// The next one, when it is there; none behind the last.
    ///
    /// # Panics
    /// What has made the thread panic.
    pub fn next(&mut self) -> Result<Option<NextBatch>> {
        match self.come.as_ref().map(Receiver::recv) {
            Some(Ok(next)) => next.map(Some),
            _ => {
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    std::panic::resume_unwind(panic);
                }
                Ok(None)
            }
        }
    }
}

impl Drop for BatchesAhead {
    fn drop(&mut self) {
        self.come = None;
        // It may have a batch to finish. What it has still to say, nobody wants to know.
        _ = self.thread.take().map(JoinHandle::join);
    }
}
