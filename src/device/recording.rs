//! What a thread that records a [`Graph`](super::graph::Graph) must know of it, and what waits for its launch.
//!
//! It uses the recorded streams as any. What of that cannot be part of a graph is asked for here, by
//! [`Stream`](super::Stream), [`Order`](super::Order) and memory.

use std::any::Any;
use std::cell::RefCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{self, CUdeviceptr};
use cudarc::driver::{CudaEvent, CudaStream};

use super::cuda;
use super::graph::Recorded;
use super::pinned::Block;
use crate::{Error, Result};

/// What a thread that records must know, and what it has put off.
pub(super) struct Recording {
    pub streams: Vec<Arc<CudaStream>>,
    /// Streams whose work the first one has waited for.
    pub behind: Vec<Arc<CudaStream>>,
    pub outside: Arc<CudaStream>,
    /// That were asked for, and whether some were not there yet.
    pub bytes: usize,
    pub got_more: bool,
    pub launch: Arc<Launch>,
    /// Memory that goes back to the stream that it was allocated on, behind the launch.
    pub memory: Vec<FreeMemory>,
    /// To be dropped, and to be kept until it is read, behind the launch.
    pub dropped: Vec<Box<dyn Any + Send>>,
    pub blocks: Vec<Block>,
}

/// A launch of a graph: whether there was one yet, and the event behind it.
pub(super) struct Launch {
    pub event: CudaEvent,
    is_begun: AtomicBool,
    /// Seen by someone: all that wait for parts of a graph wait for the same event, and the driver takes a microsecond
    /// each time it is asked.
    is_complete: AtomicBool,
}

impl Launch {
    pub fn new(event: CudaEvent) -> Self {
        Self { event, is_begun: AtomicBool::new(false), is_complete: AtomicBool::new(false) }
    }

    /// Nobody knows of it any more: it is now that of another graph.
    pub fn renew(&self) {
        self.is_begun.store(false, Ordering::Release);
        self.is_complete.store(false, Ordering::Release);
    }

    pub fn begin(&self) {
        self.is_begun.store(true, Ordering::Release);
    }

    pub fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Acquire)
    }

    pub fn is_complete(&self) -> bool {
        let is_complete =
            self.is_complete.load(Ordering::Acquire) || self.is_begun() && self.event.is_complete();
        self.is_complete.store(is_complete, Ordering::Release);
        is_complete
    }

    /// Waits for what it has begun.
    pub fn wait(&self) -> Result<()> {
        if !self.is_complete.load(Ordering::Acquire) {
            self.event.synchronize().map_err(cuda::driver("finish the work of a stream"))?;
            self.is_complete.store(true, Ordering::Release);
        }
        Ok(())
    }
}

pub(super) struct FreeMemory {
    pub pointer: CUdeviceptr,
    pub bytes: usize,
    pub stream: Arc<CudaStream>,
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// The addresses of all streams that some thread records and has not launched yet.
static RECORDED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static LAUNCHED: Condvar = Condvar::new();

/// Streams that are being recorded, for all threads to know.
pub(super) struct Registered(Vec<usize>);

impl Registered {
    pub fn new(streams: &[Arc<CudaStream>]) -> Self {
        let addresses: Vec<_> = streams.iter().map(|stream| stream.cu_stream().addr()).collect();
        recorded().extend(&addresses);
        Self(addresses)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Only there yet if `enqueue` has panicked.
        let unfinished = RECORDING.take();
        if let Some(Recording { streams, .. }) = &unfinished {
            let mut graph = ptr::null_mut();
            // SAFETY: the stream lives.
            if unsafe { sys::cuStreamEndCapture(streams[0].cu_stream(), &mut graph) }.result().is_ok() {
                drop(Recorded(graph));
            }
        }
        recorded().retain(|address| !self.0.contains(address));
        LAUNCHED.notify_all();
        // Now, as who drops what it holds may wait for the streams.
        drop(unfinished);
    }
}

fn recorded() -> MutexGuard<'static, Vec<usize>> {
    RECORDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no thread records what `is_wanted`.
fn wait_for_launch(is_wanted: impl Fn(usize) -> bool) -> MutexGuard<'static, Vec<usize>> {
    // What another thread records has no end yet.
    LAUNCHED
        .wait_while(recorded(), |all| all.iter().any(|&address| is_wanted(address)))
        .unwrap_or_else(PoisonError::into_inner)
}

/// Keeps all threads from recording, for what waits for a whole device.
///
/// # Errors
/// This thread records.
pub(super) fn pause() -> Result<MutexGuard<'static, Vec<usize>>> {
    if is_recorded() {
        return Err(Error::Cuda("the device cannot be waited for while a graph is recorded".into()));
    }
    Ok(wait_for_launch(|_| true))
}

fn with<R>(run: impl FnOnce(&mut Recording) -> R) -> Option<R> {
    // Where a thread ends, it may be gone.
    RECORDING.try_with(|recording| recording.borrow_mut().as_mut().map(run)).ok().flatten()
}

/// If this thread records the stream.
fn of<R>(stream: &CudaStream, run: impl FnOnce(&mut Recording) -> R) -> Option<R> {
    with(|recording| holds(&recording.streams, stream).then(|| run(recording))).flatten()
}

fn holds(streams: &[Arc<CudaStream>], stream: &CudaStream) -> bool {
    streams.iter().any(|other| is_same(other, stream))
}

pub(super) fn is_same(one: &CudaStream, other: &CudaStream) -> bool {
    one.cu_stream() == other.cu_stream()
}

impl Recording {
    /// From now on this thread records.
    pub fn begin(self) {
        RECORDING.set(Some(self));
    }

    /// What it has recorded; none if it does not.
    pub fn end() -> Option<Self> {
        RECORDING.take()
    }

    /// All streams that are in order with it.
    fn all(&self) -> impl Iterator<Item = &Arc<CudaStream>> {
        self.streams.iter().chain(&self.behind)
    }
}

/// Whether this thread records a graph.
pub(super) fn is_recorded() -> bool {
    with(|_| ()).is_some()
}

/// Keeps other threads from recording, unless one of them records a stream that `is_wanted` now: none then.
pub(super) fn hold(is_wanted: impl Fn(usize) -> bool) -> Option<Held> {
    if is_recorded() {
        return Some(Held(None));
    }
    let all = recorded();
    (!all.iter().any(|&address| is_wanted(address))).then_some(Held(Some(all)))
}

/// Nobody begins to record while it is there.
pub(super) struct Held(#[expect(dead_code)] Option<MutexGuard<'static, Vec<usize>>>);

/// [`hold`], when no other thread records the stream.
pub(super) fn hold_launched(stream: &CudaStream) -> Held {
    let address = stream.cu_stream().addr();
    Held((!is_recorded()).then(|| wait_for_launch(|recorded| recorded == address)))
}

/// Whether this thread records the stream, and the graph is behind all that the other has been given.
pub(super) fn comes_behind(stream: &CudaStream, other: &CudaStream) -> bool {
    of(stream, |recording| holds(&recording.behind, other)).unwrap_or(false)
}

/// Whether a stream is part of the graph that this thread records, or before it; true without a graph.
pub(super) fn is_settled(stream: &CudaStream) -> bool {
    with(|recording| recording.all().any(|known| is_same(known, stream))).unwrap_or(true)
}

/// [`comes_behind`], of a stream that no other thread records.
///
/// # Errors
/// It records one of the two, and the other is not known to come before or behind.
pub(super) fn is_behind(stream: &CudaStream, other: &CudaStream) -> Result<bool> {
    let known =
        with(|recording| match (holds(&recording.streams, stream), holds(&recording.streams, other)) {
            (true, false) if holds(&recording.behind, other) => Ok(true),
            (one, both) if one == both => Ok(false),
            _ => Err(Error::Cuda("a graph and work on another stream are not in order".into())),
        });
    known.unwrap_or(Ok(false))
}

/// The launch of the graph, if this thread records the stream.
pub(super) fn launch(stream: &CudaStream) -> Option<Arc<Launch>> {
    of(stream, |recording| recording.launch.clone())
}

/// The stream to allocate memory on in the place of one that this thread records.
pub(super) fn allocator(stream: &CudaStream) -> Option<Arc<CudaStream>> {
    of(stream, |recording| recording.outside.clone())
}

/// Takes note of memory that a stream is given.
pub(super) fn note_memory(bytes: usize, is_kept: bool, stream: &CudaStream) {
    of(stream, |recording| {
        recording.bytes += bytes;
        recording.got_more |= !is_kept;
    });
}

/// Keeps memory that nobody needs behind the graph that this thread records for the stream of this address, on which
/// it was allocated. Whether that is in order with the graph.
pub(super) fn keep_memory(pointer: CUdeviceptr, bytes: usize, stream: usize) -> bool {
    let keep = |recording: &mut Recording| {
        let stream = recording.all().find(|known| known.cu_stream().addr() == stream).cloned();
        let free = stream.map(|stream| FreeMemory { pointer, bytes, stream });
        let is_known = free.is_some();
        recording.memory.extend(free);
        is_known
    };
    with(keep).unwrap_or(false)
}

/// Drops it behind the graph that this thread records.
pub(super) fn put_off<T: Any + Send>(what: T) {
    let mut what = Some(what);
    with(|recording| recording.dropped.extend(what.take().map(|what| Box::new(what) as Box<dyn Any + Send>)));
}

/// Keeps a block that a graph which is not launched yet writes to.
pub(super) fn keep_written(block: Block) {
    let mut block = Some(block);
    with(|recording| recording.blocks.extend(block.take()));
    // It was never launched: who knows.
    std::mem::forget(block);
}

/// Keeps a block until what this thread records on the stream has read it; not if it does not record it.
pub(super) fn keep(stream: &CudaStream, block: Block) -> Option<Block> {
    let mut block = Some(block);
    of(stream, |recording| recording.blocks.extend(block.take()));
    block
}
