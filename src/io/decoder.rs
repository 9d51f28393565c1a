//! Decodes the chunks of a schedule ahead of need, column by column, and hands them out in order.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::column::Part;
use super::feature::Feature;
use super::pool::{Pool, Stopper};
use super::schedule::{CHUNK, Chunk, OpenStripe, Schedule};
use crate::{Error, Result};

/// Decoding runs ahead of need until the stripes that have been begun have this many bytes as
/// stored, which is about twice as much when decoded: enough for the files that are open, and a
/// stripe's large column for each thread. The stripe that is needed now is decoded whatever its size.
fn ahead_bytes(threads: usize) -> u64 {
    (64 << 20) + (32 << 20) * threads.min(32) as u64
}

/// How many stripes may be begun: each can keep a file open.
const AHEAD_STRIPES: usize = 128;
/// How far ahead stripes are looked for.
const AHEAD_CHUNKS: usize = 4096;

/// The decoded chunks of a [`Schedule`], in its order.
pub struct Decoder {
    schedule: Schedule,
    features: Arc<[Feature]>,
    pool: Arc<Pool>,
    stopper: Stopper,
    /// Chunks not yet handed out.
    ahead: VecDeque<Result<Chunk>>,
    /// Where the parts of each stripe that has been begun arrive, one channel a column.
    stripes: HashMap<u64, Vec<Receiver<Result<Part>>>>,
    /// The stored bytes of those stripes.
    bytes: u64,
    ahead_bytes: u64,
}

/// Some rows of a file.
pub struct Decoded {
    pub file: Arc<Path>,
    /// Counted within the file.
    pub first_row: u64,
    pub rows: usize,
    /// How many of the rows have been consumed before.
    pub skip: usize,
    /// One part of these rows for each feature.
    pub parts: Vec<Arc<Part>>,
}

impl Decoder {
    /// Decodes what `schedule` says, after the rows of `first` that remain.
    pub fn new(schedule: Schedule, first: Option<Chunk>, features: Arc<[Feature]>, pool: Arc<Pool>) -> Self {
        let mut decoder = Self {
            schedule,
            features,
            stopper: pool.stopper(),
            ahead_bytes: ahead_bytes(pool.threads()),
            pool,
            ahead: VecDeque::new(),
            stripes: HashMap::new(),
            bytes: 0,
        };
        if let Some(first) = first {
            decoder.enqueue(Ok(first));
        }
        decoder
    }

    /// Queues a chunk, and the decoding of its stripe if that has not been begun.
    fn enqueue(&mut self, chunk: Result<Chunk>) {
        if let Ok(chunk) = &chunk
            && !self.stripes.contains_key(&chunk.stripe.number)
        {
            let receivers = (0..self.features.len()).map(|column| self.begin(chunk, column)).collect();
            self.stripes.insert(chunk.stripe.number, receivers);
            self.bytes += stored_bytes(&chunk.stripe);
        }
        self.ahead.push_back(chunk);
    }

    /// Queues the decoding of one column of the stripe, from this chunk on.
    fn begin(&self, chunk: &Chunk, column: usize) -> Receiver<Result<Part>> {
        let (sender, receiver) = channel();
        let (features, stripe, stopper) = (self.features.clone(), chunk.stripe.clone(), self.stopper.clone());
        let (mut first, wanted) = (0, chunk.first);
        self.pool.submit(move || {
            let feature = &features[column];
            let result = stripe.stripe.decode(stripe.columns[column], CHUNK, |array| {
                let rows = array.len() as u64;
                if first >= wanted {
                    let part = Part::new(feature, &array);
                    let part =
                        part.map_err(|bad| bad_row(&stripe, feature, first + bad.row as u64, bad.what))?;
                    if sender.send(Ok(part)).is_err() {
                        return Ok(false);
                    }
                }
                first += rows;
                Ok(!stopper.stopped())
            });
            if let Err(e) = result {
                // Nobody waits for this column any more: nobody wants to know.
                _ = sender.send(Err(e));
            }
        });
        receiver
    }

    fn look_ahead(&mut self) {
        while self.ahead.is_empty()
            || (self.bytes < self.ahead_bytes
                && self.stripes.len() < AHEAD_STRIPES
                && self.ahead.len() < AHEAD_CHUNKS)
        {
            match self.schedule.next() {
                Some(chunk) => self.enqueue(chunk),
                None => break,
            }
        }
    }

    /// Waits for the parts of a chunk.
    fn receive(&mut self, chunk: Chunk) -> Result<Decoded> {
        let number = chunk.stripe.number;
        let mut parts = Vec::with_capacity(self.features.len());
        for (receiver, feature) in self.stripes[&number].iter().zip(&self.features[..]) {
            let part = receiver.recv().map_err(|_| cut_short(&chunk.stripe, feature))??;
            if part.rows != chunk.rows {
                return Err(cut_short(&chunk.stripe, feature));
            }
            parts.push(Arc::new(part));
        }
        if chunk.is_last() {
            self.stripes.remove(&number);
            self.bytes -= stored_bytes(&chunk.stripe);
        }
        let (first_row, file) = (chunk.first_row(), chunk.stripe.stripe.file().path().clone());
        Ok(Decoded { file, first_row, rows: chunk.rows, skip: chunk.skip, parts })
    }
}

impl Iterator for Decoder {
    type Item = Result<Decoded>;

    fn next(&mut self) -> Option<Result<Decoded>> {
        self.look_ahead();
        Some(self.ahead.pop_front()?.and_then(|chunk| self.receive(chunk)))
    }
}

fn stored_bytes(stripe: &OpenStripe) -> u64 {
    stripe.stripe.extent().data_length
}

fn bad_row(stripe: &OpenStripe, feature: &Feature, row: u64, what: String) -> Error {
    let (path, row) = (stripe.stripe.file().path().display(), stripe.stripe.extent().first_row + row);
    Error::Data { place: format!("{path}, column '{}', row {row}", feature.name), what }
}

/// A column that ended, without an error, before its stripe did.
fn cut_short(stripe: &OpenStripe, feature: &Feature) -> Error {
    let place = format!("{}, column '{}'", stripe.stripe.file().path().display(), feature.name);
    Error::Data { place, what: "damaged ORC file: the column is shorter than its stripe".into() }
}
