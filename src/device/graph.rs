//! Many calls' work, given to a CUDA device at once: for all of it the host takes about what it takes for a dozen
//! launches. It is recorded anew each time, as sizes and addresses may differ; the graph of before is updated if it
//! has the same shape.

use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUgraph, CUgraphExec, CUstreamCaptureMode};
use cudarc::driver::{CudaStream, result};

use super::recording::{FreeMemory, Launch, Recording, Registered, is_same};
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
    /// Used again when nobody knows of them any more: making and dropping events takes a lock of the driver's, which
    /// other threads hold as they launch.
    launches: Vec<Arc<Launch>>,
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

impl Graph {
    /// Of work on these streams, of which the first orders it among other work; none on the host.
    pub fn new(streams: &[&Stream]) -> Result<Option<Self>> {
        let all: Option<Vec<_>> = streams.iter().map(|stream| stream.cuda_stream().cloned()).collect();
        let (Some(all), Some(&first)) = (all, streams.first()) else { return Ok(None) };
        let first = first.clone();
        let outside = all[0].context().new_stream().map_err(cuda::driver("make a stream"))?;
        Ok(Some(Self {
            first,
            streams: all,
            outside,
            made: Vec::new(),
            launches: Vec::new(),
            most_bytes: 0,
            got_more: true,
        }))
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
        let launch = self.next_launch()?;
        let mark = &launch.event;
        let mut enqueue = Some(enqueue);
        let registered = Registered::new(&self.streams);
        let (result, recording, graph) = self.record(&launch, behind, &mut enqueue)?;
        let launched = graph.and_then(|graph| self.launch_recorded(&graph, &first));
        // Whoever is given back memory waits for the graph.
        let memory = &recording.memory;
        let has_given = |stream: &&Arc<CudaStream>| memory.iter().any(|free| is_same(&free.stream, stream));
        let mut others = self.streams[1..].iter().chain(recording.behind.iter().filter(has_given));
        let marked = mark.record(&first).and_then(|()| others.try_for_each(|other| other.wait(mark)));
        drop(registered);
        for FreeMemory { pointer, bytes, stream } in recording.memory {
            if marked.is_err() || !freed::keep(pointer, bytes, &stream) {
                // SAFETY: allocated so; what uses it is before the end of the graph.
                _ = unsafe { result::free_async(pointer, first.cu_stream()) };
            }
        }
        if launched.is_ok() {
            launch.begin();
        }
        (self.most_bytes, self.got_more) = (self.most_bytes.max(recording.bytes), recording.got_more);
        drop(recording.dropped);
        recording.blocks.into_iter().try_for_each(|block| self.first.keep(block))?;
        let result = result?;
        launched?;
        marked.map_err(cuda::driver("order two streams"))?;
        Ok(result)
    }

    fn next_launch(&mut self) -> Result<Arc<Launch>> {
        let free = self.launches.iter_mut().position(|launch| Arc::get_mut(launch).is_some());
        let place = free.unwrap_or(self.launches.len());
        if free.is_none() {
            let event = self.streams[0].context().new_event(None).map_err(cuda::driver("make an event"))?;
            self.launches.push(Arc::new(Launch::new(event)));
        }
        let launch = self.launches[place].clone();
        launch.renew();
        Ok(launch)
    }

    /// The outcome of `enqueue`, what has been put off, and the graph.
    fn record<T>(
        &self,
        launch: &Arc<Launch>,
        behind: &[&Stream],
        enqueue: &mut Option<impl FnOnce() -> Result<T>>,
    ) -> Result<(Result<T>, Recording, Result<Recorded>)> {
        let (first, others, mark) = (&self.streams[0], &self.streams[1..], &launch.event);
        let recording = Recording {
            streams: self.streams.clone(),
            behind: behind.iter().filter_map(|stream| stream.cuda_stream().cloned()).collect(),
            outside: self.outside.clone(),
            bytes: 0,
            got_more: false,
            launch: launch.clone(),
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
        recording.begin();
        let forked = mark.record(first).and_then(|()| others.iter().try_for_each(|other| other.wait(mark)));
        let result = forked.map_err(cuda::driver("record a graph"));
        let result = result.and_then(|()| enqueue.take().map_or_else(|| Err(nested()), |enqueue| enqueue()));
        let joined = join();
        let mut graph = ptr::null_mut();
        // SAFETY: the stream lives.
        let ended = unsafe { sys::cuStreamEndCapture(first.cu_stream(), &mut graph) }.result();
        let graph = ended.map(|()| Recorded(graph));
        let graph = joined.and(graph).map_err(cuda::driver("record a graph"));
        let recording = Recording::end().ok_or_else(nested)?;
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
pub(super) struct Recorded(pub CUgraph);

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
