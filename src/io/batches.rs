//! Cuts a worker's stream of rows into batches, and keeps some of them ready.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::decoder::{Decoded, Decoder};
use super::feature::Feature;
use super::pack::pack;
use super::pool::{Pool, Stopper};
use super::schedule::file_name;
use super::{BatchIter, MapFn};
use crate::device::Stream;
use crate::{Batch, Error, Position, Result, Source};

/// The batches of one pass.
pub struct Batches {
    pub decoder: Decoder,
    pub pool: Arc<Pool>,
    pub features: Arc<[Feature]>,
    pub batch_size: usize,
    pub drop_remainder: bool,
    pub functions: Arc<[MapFn]>,
    /// Rows of the worker's stream consumed before.
    pub consumed: u64,
    /// Decoded and not yet packed; of the first, the rows up to `skip` are.
    pub pending: VecDeque<Decoded>,
    /// Copies batches to where they are wanted.
    pub stream: Stream,
    /// Nothing comes after the end or an error.
    pub ended: bool,
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.ended {
            return None;
        }
        let batch = self.next_batch().transpose();
        self.ended = !matches!(batch, Some(Ok(_)));
        batch
    }
}

impl Batches {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut rows: usize = self.pending.iter().map(|decoded| decoded.rows - decoded.skip).sum();
        while rows < self.batch_size {
            match self.decoder.next().transpose()? {
                Some(decoded) => {
                    rows += decoded.rows - decoded.skip;
                    self.pending.push_back(decoded);
                }
                None if rows == 0 || self.drop_remainder => return Ok(None),
                None => break,
            }
        }
        let batch = self.pack(rows.min(self.batch_size))?;
        let end = batch.end.clone();
        let mut batch = self.functions.iter().try_fold(batch, |batch, function| function(batch))?;
        // A function may have built a new batch, which does not know where it ends.
        batch.end = end;
        Ok(Some(batch.copy_to(&self.stream)?))
    }

    /// Joins the next `rows` rows, which are pending, into a batch.
    fn pack(&mut self, rows: usize) -> Result<Batch> {
        let mut batch = Batch::new(rows);
        let mut pieces = vec![Vec::new(); self.features.len()];
        let mut missing = rows;
        while missing > 0 {
            let Some(decoded) = self.pending.front_mut() else { break };
            let taken = decoded.skip..decoded.rows.min(decoded.skip + missing);
            missing -= taken.len();
            decoded.skip = taken.end;
            let first_row = decoded.first_row + taken.start as u64;
            add_source(
                &mut batch.sources,
                Source { file: decoded.file.clone(), first_row, rows: taken.len() },
            );
            for (pieces, part) in pieces.iter_mut().zip(&decoded.parts) {
                pieces.push((part.clone(), taken.clone()));
            }
            if decoded.skip == decoded.rows {
                self.pending.pop_front();
            }
        }
        self.consumed += rows as u64;
        if let Some(last) = batch.sources.last() {
            let row = last.first_row + last.rows as u64 - 1;
            batch.end = Some(Position { rows: self.consumed, file: file_name(&last.file), row });
        }

        let submit = |pieces: Vec<_>| {
            let stream = self.stream.clone();
            self.pool.submit_first(move || pack(&pieces, &stream))
        };
        let tensors: Vec<_> = pieces.into_iter().map(submit).collect();
        for (feature, tensor) in self.features.iter().zip(tensors) {
            let tensor = tensor.recv().unwrap_or_else(|_| Err("its packing was stopped".into()));
            let tensor = tensor.map_err(|what| {
                let place =
                    format!("column '{}', batch of {rows} rows from {}", feature.name, batch.place(0));
                Error::Data { place, what }
            })?;
            batch.insert(&feature.name, tensor);
        }
        Ok(batch)
    }
}

/// Adds a run of rows, joined with the last run if it continues that.
fn add_source(sources: &mut Vec<Source>, next: Source) {
    match sources.last_mut() {
        Some(last) if last.file == next.file && last.first_row + last.rows as u64 == next.first_row => {
            last.rows += next.rows;
        }
        _ => sources.push(next),
    }
}

/// Batches that a thread of its own keeps ready.
pub struct Prefetch {
    /// Taken away to tell the thread that nobody listens any more.
    ready: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
    stopper: Stopper,
}

impl Prefetch {
    /// Runs `batches` ahead by `ready` batches; none with 0.
    pub fn start(batches: Batches, ready: usize) -> Result<BatchIter> {
        let Some(buffered) = ready.checked_sub(1) else { return Ok(Box::new(batches)) };
        let stopper = batches.pool.stopper();
        // One batch more waits in the thread's hands until there is room.
        let (sender, receiver) = sync_channel(buffered);
        let thread = std::thread::Builder::new().name("recis-prefetch".into());
        let thread = thread.spawn(move || {
            for batch in batches {
                if sender.send(batch).is_err() {
                    break;
                }
            }
        });
        let thread = thread.map_err(|e| Error::Option {
            option: "prefetch".into(),
            what: format!("its thread could not be started: {e}; use 0"),
        })?;
        Ok(Box::new(Self { ready: Some(receiver), thread: Some(thread), stopper }))
    }

    /// Waits for the thread, and takes over its panic, which can only come from the user's functions.
    fn join(&mut self) {
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Iterator for Prefetch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let batch = self.ready.as_ref()?.recv().ok();
        if batch.is_none() {
            self.join();
        }
        batch
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.ready = None;
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // Who drops the iterator wants neither batches nor errors.
            _ = thread.join();
        }
    }
}
