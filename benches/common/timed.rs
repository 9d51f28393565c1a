//! A communicator that notes what it is asked for, and when the device begins and ends it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use recis::Result;
use recis::device::{Buffer, Event, Stream};
use recis::dist::{Array, ArrayMut, Communicator, Reduce, Sent};

/// What ranks exchange in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// How many ids go where.
    Counts,
    /// Ids whose rows are asked for.
    Ids,
    /// Their rows.
    Rows,
    /// The rows' gradients.
    Gradients,
    /// Dense gradients, of which it counts what the step waits for.
    Sums,
    /// The loss, and counts of metrics.
    Metrics,
}

/// What one operation moves.
#[derive(Clone, Debug)]
enum Moved {
    /// Elements for each rank, elements from each rank, and bytes an element.
    Exchange(Vec<usize>, Vec<usize>, usize),
    /// Bytes of an array that is summed.
    Sum(usize),
    /// Of which only the time counts.
    Nothing,
}

struct Call {
    kind: Kind,
    moved: Moved,
    begin: Event,
    end: Event,
}

/// A kind's share of a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// The time in which the step's stream does nothing else.
    pub seconds: f64,
    /// Bytes handed over; of an exchange, those for other ranks.
    pub bytes: f64,
    /// What of an exchange stays is also counted here.
    pub with_own: f64,
}

/// Another communicator, and notes of what it does.
#[derive(Debug)]
pub struct Timed {
    inner: Arc<dyn Communicator>,
    noting: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

impl Timed {
    pub fn new(inner: Arc<dyn Communicator>) -> Self {
        Self { inner, noting: AtomicBool::new(false), calls: Mutex::default() }
    }

    /// Begins to take notes anew, or ends.
    pub fn note(&self, noting: bool) {
        if noting {
            self.calls().clear();
        }
        self.noting.store(noting, Ordering::Relaxed);
    }

    /// What a step, one of `steps` that were noted, spends on each kind. The device has finished.
    pub fn shares(&self, steps: usize) -> Result<BTreeMap<Kind, Share>> {
        let mut shares: BTreeMap<Kind, Share> = BTreeMap::new();
        for Call { kind, moved, begin, end } in self.calls().iter() {
            let share = shares.entry(*kind).or_default();
            share.seconds += end.seconds_since(begin)? / steps as f64;
            let (bytes, with_own) = match moved {
                Moved::Exchange(send, _, width) => {
                    let all = send.iter().sum::<usize>();
                    ((all - send[self.rank()]) * width, all * width)
                }
                Moved::Sum(bytes) => (*bytes, *bytes),
                Moved::Nothing => (0, 0),
            };
            share.bytes += bytes as f64 / steps as f64;
            share.with_own += with_own as f64 / steps as f64;
        }
        Ok(shares)
    }

    /// Seconds that the last noted step's operations of a kind take with nothing else to do, behind each
    /// other `loops` times. All ranks call this together.
    pub fn alone(&self, kind: Kind, loops: usize, stream: &Stream) -> Result<f64> {
        let mut operations = Vec::new();
        for moved in self.last_step(kind) {
            let (send, come) = match moved {
                Moved::Exchange(send, come, width) => (times(&send, width / 4), times(&come, width / 4)),
                Moved::Sum(bytes) => (vec![bytes / 4], Vec::new()),
                Moved::Nothing => continue,
            };
            let zeros = |counts: &[usize]| Buffer::<f32>::zeros(counts.iter().sum(), stream);
            operations.push((zeros(&send)?, zeros(&come)?, send, come));
        }
        let mut repeat = |count: usize| -> Result<Event> {
            for _ in 0..count {
                for (values, out, send, come) in &mut operations {
                    if come.is_empty() {
                        self.inner.all_reduce(values.into(), Reduce::Sum, stream)?;
                    } else {
                        self.inner.all_to_all((&*values).into(), send, out.into(), come, stream)?;
                    }
                }
            }
            stream.record()
        };
        repeat(2)?;
        self.barrier()?;
        let begin = repeat(1)?;
        let end = repeat(loops)?;
        end.synchronize()?;
        Ok(end.seconds_since(&begin)? / loops as f64)
    }

    fn last_step(&self, kind: Kind) -> Vec<Moved> {
        let calls = self.calls();
        let begin = calls.iter().rposition(|call| call.kind == Kind::Counts).unwrap_or(0);
        calls[begin..].iter().filter(|call| call.kind == kind).map(|call| call.moved.clone()).collect()
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time<T>(
        &self,
        kind: Kind,
        moved: Moved,
        stream: &Stream,
        operation: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !self.noting.load(Ordering::Relaxed) {
            return operation();
        }
        let begin = stream.record()?;
        let result = operation()?;
        let end = stream.record()?;
        self.calls().push(Call { kind, moved, begin, end });
        Ok(result)
    }
}

impl Communicator for Timed {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn world_size(&self) -> usize {
        self.inner.world_size()
    }

    fn set_step(&self, step: u64) {
        self.inner.set_step(step);
    }

    fn sent(&self) -> Sent {
        self.inner.sent()
    }

    fn all_reduce(&self, values: ArrayMut<'_>, reduce: Reduce, stream: &Stream) -> Result<()> {
        let moved = Moved::Sum(bytes(&values));
        self.time(Kind::Metrics, moved, stream, || self.inner.all_reduce(values, reduce, stream))
    }

    fn begin_sums(&self, arrays: Vec<ArrayMut<'_>>, stream: &Stream) -> Result<()> {
        let moved = Moved::Sum(arrays.iter().map(bytes).sum());
        self.time(Kind::Sums, moved, stream, || self.inner.begin_sums(arrays, stream))
    }

    fn join_sums(&self, stream: &Stream) -> Result<()> {
        self.time(Kind::Sums, Moved::Nothing, stream, || self.inner.join_sums(stream))
    }

    fn all_gather(&self, values: Array<'_>, out: ArrayMut<'_>, stream: &Stream) -> Result<()> {
        self.inner.all_gather(values, out, stream)
    }

    fn broadcast(&self, values: ArrayMut<'_>, root: usize, stream: &Stream) -> Result<()> {
        self.inner.broadcast(values, root, stream)
    }

    fn all_to_all(
        &self,
        values: Array<'_>,
        send_counts: &[usize],
        out: ArrayMut<'_>,
        out_counts: &[usize],
        stream: &Stream,
    ) -> Result<()> {
        // Gradients begin to travel when the dense ones do.
        let (kind, width) = match values {
            Array::I64(_) | Array::U64(_) => (Kind::Ids, 8),
            Array::F32(_) if self.calls().last().is_some_and(|call| call.kind < Kind::Gradients) => {
                (Kind::Rows, 4)
            }
            Array::F32(_) => (Kind::Gradients, 4),
        };
        let moved = Moved::Exchange(send_counts.to_vec(), out_counts.to_vec(), width);
        self.time(kind, moved, stream, || self.inner.all_to_all(values, send_counts, out, out_counts, stream))
    }

    fn exchange_counts(&self, counts: &[u64], stream: &Stream) -> Result<Vec<u64>> {
        self.time(Kind::Counts, Moved::Nothing, stream, || self.inner.exchange_counts(counts, stream))
    }

    fn barrier(&self) -> Result<()> {
        self.inner.barrier()
    }
}

fn bytes(array: &ArrayMut<'_>) -> usize {
    match array {
        ArrayMut::F32(values) => 4 * values.len(),
        ArrayMut::I64(values) => 8 * values.len(),
        ArrayMut::U64(values) => 8 * values.len(),
    }
}

fn times(counts: &[usize], factor: usize) -> Vec<usize> {
    counts.iter().map(|count| count * factor).collect()
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}
