//! Several ranks: processes, or threads, that train one model together.
//!
//! A [`Communicator`] is what a rank says to the others. There are three:
//!
//! | | between | for |
//! |---|---|---|
//! | [`nccl`] | GPUs, of one machine or many | training |
//! | [`process`] | processes on CPUs | CPU ranks of one machine, tests |
//! | [`local`] | threads of one process | tests, in a fixed order |
//!
//! All three give sums in an order that does not depend on who comes first. The two without NCCL
//! pass everything through one place, rank 0: that needs no library and no installation, and its cost,
//! the sum of all that is sent, is one that a machine's memory bears. It is no algorithm for a network;
//! between machines use NCCL. MPI, the other engine for CPUs, would need its compiler wrapper and
//! libclang to build, and a launcher to run, for what a loopback socket does as well on one machine.
//!
//! [`launch`] finds out which rank this process is, and starts ranks.

mod array;
mod host;
pub mod launch;
pub mod local;
mod meter;
pub mod nccl;
pub mod process;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use array::{Array, ArrayMut};
pub use meter::Sent;

use crate::Result;
use crate::device::{Buffer, Device, Stream};
use launch::World;

/// How values of several ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Their sum, in the order of the ranks.
    Sum,
    /// The greatest.
    Max,
}

/// One rank among several. Every rank calls the same operations in the same order; each waits, at
/// the latest when its result is used, until all have called it.
///
/// # Errors
/// [`crate::Error::Rank`], naming the rank that is gone or late, the operation and the step. After
/// it nothing more can be exchanged.
pub trait Communicator: Send + Sync + fmt::Debug {
    /// This rank, below [`Communicator::world_size`].
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;

    /// The step that messages name from now on.
    fn set_step(&self, step: u64);

    /// What this rank has handed over so far.
    fn sent(&self) -> Sent;

    /// Replaces `values`, as long on every rank, by their sum or maximum over the ranks.
    fn all_reduce(&self, values: ArrayMut<'_>, reduce: Reduce, stream: &Stream) -> Result<()>;

    /// Begins to replace arrays, as long on every rank, by their sums over the ranks. What is enqueued on
    /// `stream` later may run beside it, and nothing may use the arrays before
    /// [`Communicator::join_sums`].
    fn begin_sums(&self, arrays: Vec<ArrayMut<'_>>, stream: &Stream) -> Result<()> {
        arrays.into_iter().try_for_each(|values| self.all_reduce(values, Reduce::Sum, stream))
    }

    /// Has `stream` wait for the sums that have been begun.
    fn join_sums(&self, _stream: &Stream) -> Result<()> {
        Ok(())
    }

    /// Writes the `values` of all ranks, as long on each, one after the other to `out`, which gets as
    /// long.
    fn all_gather(&self, values: Array<'_>, out: ArrayMut<'_>, stream: &Stream) -> Result<()>;

    /// Replaces `values` by those of rank `root`, as long as they.
    fn broadcast(&self, values: ArrayMut<'_>, root: usize, stream: &Stream) -> Result<()>;

    /// Sends the first `send_counts[0]` of `values` to rank 0, the next `send_counts[1]` to rank 1 and
    /// so on; `out` gets what comes, `out_counts[r]` values from rank `r`, in the order of the ranks.
    /// [`Communicator::exchange_counts`] tells these.
    fn all_to_all(
        &self,
        values: Array<'_>,
        send_counts: &[usize],
        out: ArrayMut<'_>,
        out_counts: &[usize],
        stream: &Stream,
    ) -> Result<()>;

    /// Sends an equal part of `counts` to each rank; the parts that come, in the order of the ranks.
    /// Waits for them.
    fn exchange_counts(&self, counts: &[u64], stream: &Stream) -> Result<Vec<u64>>;

    /// Waits until all ranks have come here.
    fn barrier(&self) -> Result<()>;
}

/// Gives every rank the bytes of all, in the order of the ranks. For little: a byte travels as a word.
pub fn gather_bytes(communicator: &dyn Communicator, bytes: &[u8], stream: &Stream) -> Result<Vec<Vec<u8>>> {
    let ranks = communicator.world_size();
    let lengths = communicator.exchange_counts(&vec![bytes.len() as u64; ranks], stream)?;
    let lengths: Vec<usize> = lengths.iter().map(|&length| length as usize).collect();
    let own = bytes.iter().map(|&byte| u64::from(byte)).collect::<Vec<_>>().repeat(ranks);
    let (own, mut all) = (Buffer::from_vec(own, stream)?, Buffer::<u64>::zeros(0, stream)?);
    let sent = vec![bytes.len(); ranks];
    communicator.all_to_all((&own).into(), &sent, (&mut all).into(), &lengths, stream)?;
    let all = all.to_vec(stream)?;
    let mut rest = all.as_slice();
    let parts = lengths.iter().map(|&length| {
        let (part, others) = rest.split_at(length);
        rest = others;
        part.iter().map(|&word| word as u8).collect()
    });
    Ok(parts.collect())
}

/// How long a rank waits for the others before it gives up (300 s), unless
/// `RECIS_COLLECTIVE_TIMEOUT` says another number of seconds.
///
/// # Errors
/// It says something else.
pub fn timeout() -> Result<Duration> {
    match std::env::var("RECIS_COLLECTIVE_TIMEOUT") {
        Err(_) => Ok(Duration::from_secs(300)),
        Ok(text) => match text.parse() {
            Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
            _ => Err(crate::Error::option(
                "RECIS_COLLECTIVE_TIMEOUT",
                format!("'{text}' is not a number of seconds above 0"),
            )),
        },
    }
}

/// Meets the other ranks of `world`: through NCCL if they compute on CUDA devices, else between
/// processes.
///
/// # Errors
/// The others do not come, or NCCL cannot be used.
pub fn connect(world: &World, device: Device) -> Result<Arc<dyn Communicator>> {
    let timeout = timeout()?;
    let processes = process::connect(world, timeout)?;
    match device {
        Device::Cuda(_) => Ok(Arc::new(nccl::Nccl::connect(processes, &Stream::new(device)?, timeout)?)),
        _ => Ok(Arc::new(processes)),
    }
}
