//! A communicator out of anything that brings all ranks' bytes to one place. Arrays of a device are
//! copied to the host and back.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::array::Dtype;
use super::meter::Meter;
use super::{Array, ArrayMut, Communicator, Reduce, Sent};
use crate::device::{Buffer, Stream};
use crate::error::ensure;
use crate::{Error, Result};

/// What all ranks must be doing at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    AllReduce(Dtype, Reduce),
    AllGather(Dtype),
    Broadcast(Dtype, usize),
    AllToAll(Dtype),
    ExchangeCounts,
    Barrier,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::AllReduce(..) => "all_reduce",
            Self::AllGather(_) => "all_gather",
            Self::Broadcast(..) => "broadcast",
            Self::AllToAll(_) => "all_to_all",
            Self::ExchangeCounts => "exchange_counts",
            Self::Barrier => "barrier",
        }
    }
}

/// A rank's part of an operation.
#[derive(Debug)]
pub struct Request {
    pub operation: Operation,
    pub step: u64,
    /// Of an exchange: the bytes for each rank.
    pub parts: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// Brings what every rank asks for to one place, and each its answer.
pub trait Transport: Send + Sync {
    /// This rank.
    fn rank(&self) -> usize;
    /// How many ranks there are.
    fn world_size(&self) -> usize;
    /// Waits for the answer.
    fn call(&self, request: Request) -> Result<Vec<u8>>;
}

/// What each rank gets, given what each brought; or what does not fit together.
pub(super) fn answer(requests: Vec<Request>) -> Result<Vec<Vec<u8>>, String> {
    let ranks = requests.len();
    let first = requests[0].operation;
    if let Some((rank, other)) = requests.iter().enumerate().find(|(_, r)| r.operation != first) {
        return Err(format!("rank 0 calls {first:?}, rank {rank} {:?}", other.operation));
    }
    let same_length = || {
        let length = requests[0].bytes.len();
        match requests.iter().position(|r| r.bytes.len() != length) {
            Some(rank) => {
                Err(format!("rank 0 brings {length} bytes, rank {rank} {}", requests[rank].bytes.len()))
            }
            None => Ok(()),
        }
    };
    match first {
        Operation::Barrier => Ok(vec![Vec::new(); ranks]),
        Operation::AllReduce(dtype, reduce) => {
            same_length()?;
            let arrays: Vec<&[u8]> = requests.iter().map(|r| r.bytes.as_slice()).collect();
            let bytes = match (dtype, reduce) {
                (Dtype::F32, Reduce::Sum) => fold(&arrays, |a: f32, b| a + b),
                (Dtype::F32, Reduce::Max) => fold(&arrays, f32::max),
                (Dtype::I64, Reduce::Sum) => fold(&arrays, i64::wrapping_add),
                (Dtype::I64, Reduce::Max) => fold(&arrays, |a: i64, b| a.max(b)),
                (Dtype::U64, Reduce::Sum) => fold(&arrays, u64::wrapping_add),
                (Dtype::U64, Reduce::Max) => fold(&arrays, |a: u64, b| a.max(b)),
            };
            Ok(vec![bytes; ranks])
        }
        Operation::AllGather(_) => {
            same_length()?;
            let all: Vec<u8> = requests.iter().flat_map(|r| r.bytes.iter().copied()).collect();
            Ok(vec![all; ranks])
        }
        Operation::Broadcast(_, root) => {
            same_length()?;
            let root = requests.get(root).ok_or_else(|| format!("no rank {root} to broadcast"))?;
            Ok(vec![root.bytes.clone(); ranks])
        }
        Operation::AllToAll(_) | Operation::ExchangeCounts => exchange(&requests),
    }
}

/// The fold of arrays, element by element, in order.
fn fold<T: bytemuck::Pod>(arrays: &[&[u8]], fold: impl Fn(T, T) -> T) -> Vec<u8> {
    let mut all = arrays[0].to_vec();
    for array in &arrays[1..] {
        for (to, from) in all.chunks_exact_mut(size_of::<T>()).zip(array.chunks_exact(size_of::<T>())) {
            let folded = fold(bytemuck::pod_read_unaligned(to), bytemuck::pod_read_unaligned(from));
            to.copy_from_slice(bytemuck::bytes_of(&folded));
        }
    }
    all
}

fn exchange(requests: &[Request]) -> Result<Vec<Vec<u8>>, String> {
    let mut answers = vec![Vec::new(); requests.len()];
    for (rank, request) in requests.iter().enumerate() {
        let mut rest = request.bytes.as_slice();
        if request.parts.len() != requests.len() {
            return Err(format!("rank {rank} has parts for {} of {}", request.parts.len(), requests.len()));
        }
        for (answer, &part) in answers.iter_mut().zip(&request.parts) {
            let Some((part, others)) = rest.split_at_checked(part as usize) else {
                return Err(format!("rank {rank} brings fewer bytes than its parts have"));
            };
            answer.extend_from_slice(part);
            rest = others;
        }
    }
    Ok(answers)
}

/// A [`Communicator`] whose data passes through the host.
pub struct Host<T> {
    transport: T,
    meter: Meter,
    step: AtomicU64,
}

impl<T: Transport> Host<T> {
    pub(super) fn new(transport: T) -> Self {
        Self { transport, meter: Meter::default(), step: AtomicU64::new(0) }
    }

    pub(super) fn transport(&self) -> &T {
        &self.transport
    }

    fn call(&self, operation: Operation, parts: Vec<u64>, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let step = self.step.load(Ordering::Relaxed);
        self.transport.call(Request { operation, step, parts, bytes })
    }

    /// The bytes of parts that go to other ranks.
    fn leaving(&self, parts: &[u64]) -> usize {
        let own = parts.get(self.transport.rank()).copied().unwrap_or(0);
        (parts.iter().sum::<u64>() - own) as usize
    }
}

impl<T: Transport> Communicator for Host<T> {
    fn rank(&self) -> usize {
        self.transport.rank()
    }

    fn world_size(&self) -> usize {
        self.transport.world_size()
    }

    fn set_step(&self, step: u64) {
        self.step.store(step, Ordering::Relaxed);
    }

    fn sent(&self) -> Sent {
        self.meter.sent()
    }

    fn all_reduce(&self, values: ArrayMut<'_>, reduce: Reduce, stream: &Stream) -> Result<()> {
        let array = values.as_array();
        let bytes = array.to_bytes(array.len(), stream)?;
        self.meter.all_reduce(bytes.len());
        let reduced = self.call(Operation::AllReduce(values.dtype(), reduce), Vec::new(), bytes)?;
        values.set_bytes(&reduced, stream)
    }

    fn all_gather(&self, values: Array<'_>, out: ArrayMut<'_>, stream: &Stream) -> Result<()> {
        let bytes = values.to_bytes(values.len(), stream)?;
        self.meter.other(bytes.len());
        let all = self.call(Operation::AllGather(values.dtype()), Vec::new(), bytes)?;
        out.set_bytes(&all, stream)
    }

    fn broadcast(&self, values: ArrayMut<'_>, root: usize, stream: &Stream) -> Result<()> {
        let array = values.as_array();
        let bytes = array.to_bytes(array.len(), stream)?;
        if root == self.rank() {
            self.meter.other(bytes.len());
        }
        let found = self.call(Operation::Broadcast(values.dtype(), root), Vec::new(), bytes)?;
        values.set_bytes(&found, stream)
    }

    fn all_to_all(
        &self,
        values: Array<'_>,
        send_counts: &[usize],
        out: ArrayMut<'_>,
        out_counts: &[usize],
        stream: &Stream,
    ) -> Result<()> {
        let width = values.dtype().bytes();
        ensure(values.dtype() == out.dtype(), "all_to_all", || "what is sent is not what comes".into())?;
        let bytes = values.to_bytes(send_counts.iter().sum(), stream)?;
        let parts: Vec<u64> = send_counts.iter().map(|count| (count * width) as u64).collect();
        self.meter.all_to_all(self.leaving(&parts));
        let found = self.call(Operation::AllToAll(values.dtype()), parts, bytes)?;
        let expected = out_counts.iter().sum::<usize>() * width;
        if found.len() != expected {
            let what = format!("{} bytes come, {expected} were announced", found.len());
            return Err(Error::shape("all_to_all", what));
        }
        out.set_bytes(&found, stream)
    }

    fn exchange_counts(&self, counts: &[u64], _: &Stream) -> Result<Vec<u64>> {
        let ranks = self.world_size();
        ensure(counts.len().is_multiple_of(ranks), "exchange_counts", || {
            format!("{} counts for {ranks} ranks", counts.len())
        })?;
        let parts = vec![(counts.len() / ranks * size_of::<u64>()) as u64; ranks];
        self.meter.counts(self.leaving(&parts));
        let bytes = bytemuck::cast_slice(counts).to_vec();
        let found = self.call(Operation::ExchangeCounts, parts, bytes)?;
        Ok(found.chunks_exact(size_of::<u64>()).map(bytemuck::pod_read_unaligned).collect())
    }

    fn barrier(&self) -> Result<()> {
        self.call(Operation::Barrier, Vec::new(), Vec::new()).map(drop)
    }
}

impl<T: Transport> Host<T> {
    /// Replaces bytes by those of rank `root`.
    pub(super) fn broadcast_bytes(&self, bytes: &[u8], root: usize) -> Result<Vec<u8>> {
        let stream = Stream::default();
        let words = bytes.iter().map(|&byte| u64::from(byte)).collect::<Vec<_>>();
        let mut words = Buffer::from_vec(words, &stream)?;
        self.broadcast((&mut words).into(), root, &stream)?;
        Ok(words.host().iter().map(|&word| word as u8).collect())
    }
}

impl<T: Transport> fmt::Debug for Host<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.world_size())
    }
}
