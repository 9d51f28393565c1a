//! Many calls' work, given to a CUDA device at once: for all of it the host takes about what it takes for a dozen
//! launches. It is recorded anew each time, as sizes and addresses may differ; the graph of before is updated if it
//! has the same shape.
//!
//! A thread that records uses the recorded streams as any. What of that cannot be part of a graph is asked for here,
//! by [`Stream`](super::Stream), [`Order`](super::Order) and memory.

use std::any::Any;
use std::cell::RefCell;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use cudarc::driver::sys::{self, CUdeviceptr, CUgraph, CUgraphExec, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaStream, result};

use super::pinned::Block;
use super::{Stream, cuda, freed};
use crate::{Error, Result};

/// Graphs of one shape that take turns: one that is under way is not updated before it ends.
const TURNS: usize = 4;
/// Graphs that are kept.
const KEPT: usize = 2 * TURNS;

/// Work on some streams that is recorded again and again.
pub(crate) struct Graph {
    /// Orders the work among other work: the first of the streams.
    first: Stream,
    streams: Vec<Arc<CudaStream>>,
    /// Where memory is allocated while these are recorded.
    outside: Arc<CudaStream>,
    /// The one used last comes first.
    made: Vec<Executable>,
    /// Bytes that a recording has asked for, at most, and whether the last one got some anew.
    most_bytes: usize,
    got_more: bool,
}

struct Executable {
    raw: CUgraphExec,
    nodes: usize,
}

// SAFETY: the handle may be used by one thread at a time, whichever it is.
unsafe impl Send for Executable {}

/// What a thread that records must know, and what it has put off.
struct Recording {
    streams: Vec<Arc<CudaStream>>,
    /// Streams whose work the first one has waited for.
    behind: Vec<Arc<CudaStream>>,
    outside: Arc<CudaStream>,
    /// That were asked for, and whether some were not there yet.
    bytes: usize,
    got_more: bool,
    launched: Arc<OnceLock<CudaEvent>>,
    /// Memory that goes back to the stream that it was allocated on, behind the launch.
    memory: Vec<FreeMemory>,
    /// To be dropped, and to be kept until it is read, behind the launch.
    dropped: Vec<Box<dyn Any + Send>>,
    blocks: Vec<Block>,
}

struct FreeMemory {
    pointer: CUdeviceptr,
    bytes: usize,
    stream: Arc<CudaStream>,
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// The addresses of all streams that some thread records and has not launched yet.
static RECORDED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static LAUNCHED: Condvar = Condvar::new();

impl Graph {
    /// Of work on these streams, of which the first orders it among other work; none on the host.
    pub fn new(streams: &[&Stream]) -> Result<Option<Self>> {
        let all: Option<Vec<_>> = streams.iter().map(|stream| stream.cuda_stream().cloned()).collect();
        let (Some(all), Some(&first)) = (all, streams.first()) else { return Ok(None) };
        let first = first.clone();
        let outside = all[0].context().new_stream().map_err(cuda::driver("make a stream"))?;
        Ok(Some(Self { first, streams: all, outside, made: Vec::new(), most_bytes: 0, got_more: true }))
    }

    /// Launches what `enqueue` enqueues on the graph's streams, also if it fails. Of what other streams have done, it
    /// may only need what the first stream has waited for: the work of `behind`.
    ///
    /// # Errors
    /// Those of `enqueue`, and work that cannot be part of a graph.
    pub fn launch<T>(&mut self, behind: &[&Stream], enqueue: impl FnOnce() -> Result<T>) -> Result<T> {
        let first = self.streams[0].clone();
        cuda::bind(&first)?;
        if self.got_more {
            // There is no getting back what is kept for later while a graph is recorded.
            cuda::leave_room(2 * self.most_bytes, first.context())?;
        }
        let mark = first.context().new_event(None).map_err(cuda::driver("make an event"))?;
        let mut enqueue = Some(enqueue);
        let registered = Registered::new(&self.streams);
        let (result, recording, graph) = self.record(&mark, behind, &mut enqueue)?;
        let launched = graph.and_then(|graph| self.launch_recorded(&graph, &first));
        // Whoever is given back memory waits for the graph.
        let memory = &recording.memory;
        let has_given = |stream: &&Arc<CudaStream>| memory.iter().any(|free| is(&free.stream, stream));
        let mut others = self.streams[1..].iter().chain(recording.behind.iter().filter(has_given));
        let marked = mark.record(&first).and_then(|()| others.try_for_each(|other| other.wait(&mark)));
        drop(registered);
        for FreeMemory { pointer, bytes, stream } in recording.memory {
            if marked.is_err() || !freed::keep(pointer, bytes, &stream) {
                // SAFETY: allocated so; what uses it is before the end of the graph.
                _ = unsafe { result::free_async(pointer, first.cu_stream()) };
            }
        }
        if launched.is_ok() {
            _ = recording.launched.set(mark);
        }
        (self.most_bytes, self.got_more) = (self.most_bytes.max(recording.bytes), recording.got_more);
        drop(recording.dropped);
        recording.blocks.into_iter().try_for_each(|block| self.first.keep(block))?;
        let result = result?;
        launched?;
        marked.map_err(cuda::driver("order two streams"))?;
        Ok(result)
    }

    /// The outcome of `enqueue`, what has been put off, and the graph.
    fn record<T>(
        &self,
        mark: &CudaEvent,
        behind: &[&Stream],
        enqueue: &mut Option<impl FnOnce() -> Result<T>>,
    ) -> Result<(Result<T>, Recording, Result<Recorded>)> {
        let (first, others) = (&self.streams[0], &self.streams[1..]);
        let recording = Recording {
            streams: self.streams.clone(),
            behind: behind.iter().filter_map(|stream| stream.cuda_stream().cloned()).collect(),
            outside: self.outside.clone(),
            bytes: 0,
            got_more: false,
            launched: Arc::default(),
            memory: Vec::new(),
            dropped: Vec::new(),
            blocks: Vec::new(),
        };
        // The graph as a whole comes behind what the others have been given by themselves.
        let join = || others.iter().try_for_each(|other| mark.record(other).and_then(|()| first.wait(mark)));
        join().map_err(cuda::driver("order two streams"))?;
        // SAFETY: the stream lives.
        unsafe {
            sys::cuStreamBeginCapture_v2(
                first.cu_stream(),
                CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED,
            )
        }
        .result()
        .map_err(cuda::driver("record a graph"))?;
        RECORDING.set(Some(recording));
        let forked = mark.record(first).and_then(|()| others.iter().try_for_each(|other| other.wait(mark)));
        let result = forked.map_err(cuda::driver("record a graph"));
        let result = result.and_then(|()| enqueue.take().map_or_else(|| Err(nested()), |enqueue| enqueue()));
        let joined = join();
        let mut graph = ptr::null_mut();
        // SAFETY: the stream lives.
        let ended = unsafe { sys::cuStreamEndCapture(first.cu_stream(), &mut graph) }.result();
        let graph = ended.map(|()| Recorded(graph));
        let graph = joined.and(graph).map_err(cuda::driver("record a graph"));
        let recording = RECORDING.take().ok_or_else(nested)?;
        Ok((result, recording, graph))
    }

    fn launch_recorded(&mut self, graph: &Recorded, stream: &CudaStream) -> Result<()> {
        let executable = self.executable(graph)?;
        // SAFETY: both live.
        let launched = unsafe { sys::cuGraphLaunch(executable, stream.cu_stream()) };
        launched.result().map_err(cuda::driver("launch a graph"))
    }

    /// What does as the graph says: one of the same shape that is there, or a new one.
    fn executable(&mut self, graph: &Recorded) -> Result<CUgraphExec> {
        let nodes = graph.nodes()?;
        let is_alike = |made: &&Executable| made.nodes == nodes;
        let has_turns = self.made.iter().filter(is_alike).count() >= TURNS;
        let fits = |made: &Executable| has_turns && is_alike(&made) && made.update(graph);
        let made = match self.made.iter().rposition(fits) {
            Some(place) => self.made.remove(place),
            None => Executable::new(graph, nodes)?,
        };
        let raw = made.raw;
        self.made.insert(0, made);
        self.made.truncate(KEPT);
        Ok(raw)
    }
}

fn nested() -> Error {
    Error::Cuda("a graph was recorded within another one".into())
}

/// A graph as it was recorded.
struct Recorded(CUgraph);

impl Recorded {
    fn nodes(&self) -> Result<usize> {
        let mut nodes = 0;
        // SAFETY: without an array it only counts.
        let counted = unsafe { sys::cuGraphGetNodes(self.0, ptr::null_mut(), &mut nodes) };
        counted.result().map_err(cuda::driver("look at a graph"))?;
        Ok(nodes)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // SAFETY: it is ours; what was made of it lives on.
        _ = unsafe { sys::cuGraphDestroy(self.0) };
    }
}

impl Executable {
    fn new(graph: &Recorded, nodes: usize) -> Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the graph lives.
        let made = unsafe { sys::cuGraphInstantiateWithFlags(&mut raw, graph.0, 0) };
        made.result().map_err(cuda::driver("make a graph"))?;
        Ok(Self { raw, nodes })
    }

    /// From now on it does as the graph says, if that has the same shape.
    fn update(&self, graph: &Recorded) -> bool {
        let mut how = sys::CUgraphExecUpdateResultInfo {
            result: sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS,
            errorNode: ptr::null_mut(),
            errorFromNode: ptr::null_mut(),
        };
        // SAFETY: both live.
        unsafe { sys::cuGraphExecUpdate_v2(self.raw, graph.0, &mut how) }.result().is_ok()
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: it is ours; the driver keeps what is under way.
        _ = unsafe { sys::cuGraphExecDestroy(self.raw) };
    }
}

/// Streams that are being recorded, for all threads to know.
struct Registered(Vec<usize>);

impl Registered {
    fn new(streams: &[Arc<CudaStream>]) -> Self {
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
    streams.iter().any(|other| is(other, stream))
}

fn is(one: &CudaStream, other: &CudaStream) -> bool {
    one.cu_stream() == other.cu_stream()
}

impl Recording {
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
    with(|recording| recording.all().any(|known| is(known, stream))).unwrap_or(true)
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

/// The event behind the graph, if this thread records the stream.
pub(super) fn launched(stream: &CudaStream) -> Option<Arc<OnceLock<CudaEvent>>> {
    of(stream, |recording| recording.launched.clone())
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
