//! Ranks on GPUs, through NCCL: found when it is first used, by the names that its files have.
//!
//! Operations are enqueued on the caller's stream and wait for nothing, but for
//! [`Communicator::exchange_counts`] and [`Communicator::barrier`]. [`Communicator::begin_sums`] has a stream
//! of its own; NCCL runs what one communicator is given in the order in which it is given it, whatever
//! the streams, so that all ranks do the same. A watchdog sees what has gone wrong
//! meanwhile: an operation that takes longer than its time, an error of NCCL, or a rank whose process is
//! gone. There is then no way to go on, nor to return from a wait for the device: the watchdog says
//! what happened and ends the process with status 1.

mod library;
mod watchdog;

use std::ffi::{c_int, c_void};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::array::Dtype;
use super::meter::Meter;
use super::process::Process;
use super::{Array, ArrayMut, Communicator, Reduce, Sent};
use crate::device::{Buffer, Stream};
use crate::error::ensure;
use crate::{Error, Result};
use library::{Comm, Library, UniqueId};
use watchdog::Watchdog;

/// A rank on a CUDA device.
pub struct Nccl {
    library: &'static Library,
    comm: Comm,
    rank: usize,
    world_size: usize,
    meter: Meter,
    step: AtomicU64,
    watchdog: Watchdog,
    stream: Stream,
    /// For sums beside the work: its blocks go before those that wait for a multiprocessor.
    beside: Stream,
}

impl Nccl {
    /// Meets the ranks of `processes`, each on the device of its `stream`. The processes' connections
    /// serve to notice when one is gone.
    ///
    /// # Errors
    /// NCCL is not installed or fails.
    pub fn connect(processes: Process, stream: &Stream, timeout: Duration) -> Result<Self> {
        let library = Library::get()?;
        let (rank, world_size) = (processes.rank(), processes.world_size());
        let mut id = UniqueId([0; 128]);
        if rank == 0 {
            // SAFETY: NCCL writes the 128 bytes.
            library.check("begin", unsafe { (library.get_unique_id)(&raw mut id) })?;
        }
        let bytes = processes.broadcast_bytes(bytemuck::cast_slice(&id.0), 0)?;
        id.0.copy_from_slice(bytemuck::cast_slice(&bytes));
        let watchdog = Watchdog::start(library, processes, timeout);
        let begun = watchdog.begin("connect", 0);
        bind(stream)?;
        let mut comm = Comm(std::ptr::null_mut());
        // SAFETY: every rank calls this with the same id, on its own device.
        let status =
            unsafe { (library.comm_init_rank)(&raw mut comm, world_size as c_int, id, rank as c_int) };
        library.check("meet the other ranks", status)?;
        watchdog.watch(comm);
        watchdog.end(begun, stream)?;
        Ok(Self {
            library,
            comm,
            rank,
            world_size,
            meter: Meter::default(),
            step: AtomicU64::new(0),
            watchdog,
            stream: stream.clone(),
            beside: first_in_line(stream)?,
        })
    }

    /// The version of the library that was found, as NCCL writes it: 23203 is 2.32.3.
    pub fn version() -> Result<i32> {
        let library = Library::get()?;
        let mut version = 0;
        // SAFETY: NCCL writes one number.
        library.check("say its version", unsafe { (library.get_version)(&raw mut version) })?;
        Ok(version)
    }

    /// Enqueues an operation that the watchdog knows of until it is finished.
    fn enqueue(
        &self,
        operation: &'static str,
        stream: &Stream,
        enqueue: impl FnOnce(*mut c_void) -> Result<()>,
    ) -> Result<()> {
        let raw = bind(stream)?;
        let begun = self.watchdog.begin(operation, self.step.load(Ordering::Relaxed));
        enqueue(raw)?;
        self.watchdog.end(begun, stream)
    }

    fn exchange(
        &self,
        stream: &Stream,
        (from, to): (*const u8, *mut u8),
        (send_counts, out_counts): (&[usize], &[usize]),
        dtype: Dtype,
    ) -> Result<()> {
        let (library, comm) = (self.library, self.comm);
        let (code, width) = (code(dtype), dtype.bytes());
        self.enqueue("all_to_all", stream, |raw| {
            // SAFETY: the callers' arrays hold as many elements, and live until the stream has passed.
            unsafe {
                library.check("group an exchange", (library.group_start)())?;
                let (mut from, mut to) = (from, to);
                for (peer, (&send, &receive)) in send_counts.iter().zip(out_counts).enumerate() {
                    if send > 0 {
                        let status = (library.send)(from.cast(), send, code, peer as c_int, comm, raw);
                        library.check("send", status)?;
                    }
                    if receive > 0 {
                        let status = (library.recv)(to.cast(), receive, code, peer as c_int, comm, raw);
                        library.check("receive", status)?;
                    }
                    (from, to) = (from.add(send * width), to.add(receive * width));
                }
                library.check("exchange", (library.group_end)())
            }
        })
    }

    fn leaving(&self, counts: &[usize]) -> usize {
        counts.iter().sum::<usize>() - counts.get(self.rank).copied().unwrap_or(0)
    }
}

impl Communicator for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn set_step(&self, step: u64) {
        self.step.store(step, Ordering::Relaxed);
    }

    fn sent(&self) -> Sent {
        self.meter.sent()
    }

    fn all_reduce(&self, values: ArrayMut<'_>, reduce: Reduce, stream: &Stream) -> Result<()> {
        let (len, dtype) = (values.as_array().len(), values.dtype());
        self.meter.all_reduce(len * dtype.bytes());
        let reduce = match reduce {
            Reduce::Sum => 0,
            Reduce::Max => 2,
        };
        let to = pointer_mut(values, stream)?;
        self.enqueue("all_reduce", stream, |raw| {
            let all_reduce = self.library.all_reduce;
            // SAFETY: `len` elements in place, alive until the stream has passed.
            let status = unsafe {
                all_reduce(to.cast_const().cast(), to.cast(), len, code(dtype), reduce, self.comm, raw)
            };
            self.library.check("reduce", status)
        })
    }

    fn begin_sums(&self, arrays: Vec<ArrayMut<'_>>, _: &Stream) -> Result<()> {
        let mut sums = Vec::with_capacity(arrays.len());
        for values in arrays {
            let (len, dtype) = (values.as_array().len(), values.dtype());
            self.meter.all_reduce(len * dtype.bytes());
            // From here on `beside` orders them, behind what their stream has been given.
            sums.push((pointer_mut(values, &self.beside)?, len, code(dtype)));
        }
        let (library, comm) = (self.library, self.comm);
        self.enqueue("all_reduce", &self.beside, |raw| {
            // SAFETY: as many elements in place, alive until the stream has passed.
            unsafe {
                library.check("group sums", (library.group_start)())?;
                for (to, len, code) in sums {
                    let status =
                        (library.all_reduce)(to.cast_const().cast(), to.cast(), len, code, 0, comm, raw);
                    library.check("reduce", status)?;
                }
                library.check("add up", (library.group_end)())
            }
        })
    }

    fn join_sums(&self, stream: &Stream) -> Result<()> {
        let (Some(stream), Some(beside)) = (stream.cuda_stream(), self.beside.cuda_stream()) else {
            return Ok(());
        };
        stream.join(beside).map_err(|e| Error::Cuda(format!("cannot order two streams: {e}")))
    }

    fn all_gather(&self, values: Array<'_>, out: ArrayMut<'_>, stream: &Stream) -> Result<()> {
        let (len, dtype) = (values.len(), values.dtype());
        ensure(dtype == out.dtype(), "all_gather", || "what is sent is not what comes".into())?;
        self.meter.other(len * dtype.bytes());
        let from = pointer(values, stream)?;
        let to = resized(out, len * self.world_size, stream)?;
        self.enqueue("all_gather", stream, |raw| {
            // SAFETY: `len` elements, and room for those of all ranks.
            let status = unsafe {
                (self.library.all_gather)(from.cast(), to.cast(), len, code(dtype), self.comm, raw)
            };
            self.library.check("gather", status)
        })
    }

    fn broadcast(&self, values: ArrayMut<'_>, root: usize, stream: &Stream) -> Result<()> {
        let (len, dtype) = (values.as_array().len(), values.dtype());
        if root == self.rank {
            self.meter.other(len * dtype.bytes());
        }
        let to = pointer_mut(values, stream)?;
        self.enqueue("broadcast", stream, |raw| {
            let broadcast = self.library.broadcast;
            // SAFETY: `len` elements in place, alive until the stream has passed.
            let status = unsafe {
                broadcast(to.cast_const().cast(), to.cast(), len, code(dtype), root as c_int, self.comm, raw)
            };
            self.library.check("broadcast", status)
        })
    }

    fn all_to_all(
        &self,
        values: Array<'_>,
        send_counts: &[usize],
        out: ArrayMut<'_>,
        out_counts: &[usize],
        stream: &Stream,
    ) -> Result<()> {
        let dtype = values.dtype();
        ensure(dtype == out.dtype(), "all_to_all", || "what is sent is not what comes".into())?;
        let (send, receive) = (send_counts.iter().sum::<usize>(), out_counts.iter().sum());
        let fits = send_counts.len() == self.world_size && out_counts.len() == self.world_size;
        ensure(fits && send <= values.len(), "all_to_all", || {
            format!("{send} elements for {} ranks, of {}", send_counts.len(), values.len())
        })?;
        self.meter.all_to_all(self.leaving(send_counts) * dtype.bytes());
        let from = pointer(values, stream)?;
        let to = resized(out, receive, stream)?;
        self.exchange(stream, (from, to), (send_counts, out_counts), dtype)
    }

    fn exchange_counts(&self, counts: &[u64], stream: &Stream) -> Result<Vec<u64>> {
        ensure(counts.len().is_multiple_of(self.world_size), "exchange_counts", || {
            format!("{} counts for {} ranks", counts.len(), self.world_size)
        })?;
        let parts = vec![counts.len() / self.world_size; self.world_size];
        self.meter.counts(self.leaving(&parts) * size_of::<u64>());
        let send = Buffer::from_vec(counts.to_vec(), stream)?;
        let mut found = Buffer::<u64>::unset(counts.len(), stream)?;
        let pointers = (send.on(stream)?.cast(), found.on_mut(stream)?.cast());
        self.exchange(stream, pointers, (&parts, &parts), Dtype::U64)?;
        found.to_vec(stream)
    }

    fn barrier(&self) -> Result<()> {
        let mut word = Buffer::<u64>::zeros(1, &self.stream)?;
        self.all_reduce((&mut word).into(), Reduce::Max, &self.stream)?;
        self.stream.synchronize()
    }
}

/// Makes the stream's device the calling thread's; the stream as NCCL takes it.
fn bind(stream: &Stream) -> Result<*mut c_void> {
    let Some(cuda) = stream.cuda_stream() else {
        let what = "NCCL is for CUDA devices; use the process communicator".into();
        return Err(Error::Device { device: stream.device().to_string(), what });
    };
    cuda.context().bind_to_thread().map_err(|e| Error::Cuda(format!("cannot use the device: {e}")))?;
    Ok(cuda.cu_stream().cast())
}

/// A stream on the device of another, of the highest priority.
fn first_in_line(stream: &Stream) -> Result<Stream> {
    let failed = |e| Error::Cuda(format!("cannot make a stream: {e}"));
    let Some(cuda) = stream.cuda_stream() else { return Ok(stream.clone()) };
    cuda.context().bind_to_thread().map_err(failed)?;
    let (_, highest) = cudarc::driver::result::stream::get_priority_range().map_err(failed)?;
    Stream::from_cudarc(cuda.context().new_stream_with_priority(highest).map_err(failed)?)
}

fn code(dtype: Dtype) -> c_int {
    match dtype {
        Dtype::I64 => 4,
        Dtype::U64 => 5,
        Dtype::F32 => 7,
    }
}

fn pointer(values: Array<'_>, stream: &Stream) -> Result<*const u8> {
    Ok(match values {
        Array::F32(values) => values.on(stream)?.cast(),
        Array::I64(values) => values.on(stream)?.cast(),
        Array::U64(values) => values.on(stream)?.cast(),
    })
}

fn pointer_mut(values: ArrayMut<'_>, stream: &Stream) -> Result<*mut u8> {
    Ok(match values {
        ArrayMut::F32(values) => values.on_mut(stream)?.cast(),
        ArrayMut::I64(values) => values.on_mut(stream)?.cast(),
        ArrayMut::U64(values) => values.on_mut(stream)?.cast(),
    })
}

/// The first of `len` elements on the stream's device, whatever was there.
fn resized(mut values: ArrayMut<'_>, len: usize, stream: &Stream) -> Result<*mut u8> {
    match &mut values {
        ArrayMut::F32(values) => values.resize(len, stream)?,
        ArrayMut::I64(values) => values.resize(len, stream)?,
        ArrayMut::U64(values) => values.resize(len, stream)?,
    }
    pointer_mut(values, stream)
}

impl Drop for Nccl {
    fn drop(&mut self) {
        let watched = self.watchdog.stop();
        if watched && self.stream.synchronize().is_ok() && self.beside.synchronize().is_ok() {
            // SAFETY: nothing is in flight, and nobody uses the communicator any more.
            _ = unsafe { (self.library.comm_destroy)(self.comm) };
        }
    }
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {} (NCCL)", self.rank, self.world_size)
    }
}
