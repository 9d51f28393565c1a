use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaEvent, CudaStream};

use super::pinned::Block;
use super::recording::Launch;
use super::{Device, Order, cuda, freed, recording};
use crate::{Error, Result};

/// An order of execution on a device. Operations take it last, and are enqueued on it; the few that have work for
/// beside the rest of theirs take another behind it.
///
/// On [`Device::Cpu`] an operation has finished when its call returns.
///
/// Buffers, rows and tables that are used on one stream and then on another need no care: the second
/// waits, on the device, for what the first has been given so far, unless both only read a buffer. Streams and
/// buffers may be used from any thread; two threads that use clones of one buffer on two streams *at the same
/// time* have to order the streams before either writes to it.
#[derive(Clone, Default)]
pub struct Stream {
    device: Device,
    cuda: Option<Arc<Cuda>>,
}

struct Cuda {
    stream: Arc<CudaStream>,
    /// Pinned memory that copies on this stream still read, and when they will have.
    sources: Mutex<Vec<(Arc<CudaEvent>, Block)>>,
    /// Marks of before, used again when nobody has them any more: making and dropping events takes a lock of the
    /// driver's, which other threads hold as they launch.
    marks: Mutex<Vec<Arc<CudaEvent>>>,
    /// Whether memory that is freed on it is kept.
    keeps_freed: bool,
}

impl Stream {
    /// A new stream on `device`. On a CUDA device, memory that is freed on it stays for whoever allocates next
    /// on it, until there is no more or [`Stream::give_back_memory`] is called, and with the last clone of the
    /// stream goes back to the device's default pool, which from now on keeps it for the process.
    /// [`Stream::from_cudarc`] keeps nothing and leaves the pool as it is.
    ///
    /// # Errors
    /// A device that cannot be used.
    pub fn new(device: Device) -> Result<Self> {
        Self::of_priority(device, 0)
    }

    /// The same, but that kernels on it get room on the device before those on streams that are not urgent.
    ///
    /// # Errors
    /// A device that cannot be used.
    pub fn urgent(device: Device) -> Result<Self> {
        Self::of_priority(device, -1)
    }

    /// The driver takes the next it has to a priority; the lower, the more urgent.
    fn of_priority(device: Device, priority: i32) -> Result<Self> {
        let cuda = match device {
            Device::Cuda(ordinal) => {
                let context = cuda::context(ordinal)?;
                cuda::keep_freed_memory(&context)?;
                let stream =
                    context.new_stream_with_priority(priority).map_err(cuda::driver("make a stream"))?;
                freed::open(&stream);
                Some(Arc::new(Cuda::new(stream, true)))
            }
            _ => None,
        };
        Ok(Self { device, cuda })
    }

    /// A stream of the program's own, the default stream too. It may be used beside this, by its owner or
    /// through cudarc: all work is in the order in which it is enqueued.
    ///
    /// # Errors
    /// A device that cannot be used, a context that is not the device's primary one, a device that does
    /// not allocate in the order of a stream, and the per-thread default stream, which is another one in
    /// every thread.
    ///
    /// ```no_run
    /// # use recis::cudarc::driver::CudaContext;
    /// # use recis::device::{Buffer, Stream};
    /// let theirs = CudaContext::new(0)?.new_stream()?;
    /// let stream = Stream::from_cudarc(theirs.clone())?;
    /// let ids = Buffer::from_cuda_slice(theirs.clone_htod(&[3_i64, 1, 3])?)?;
    /// // … operations on `stream` …
    /// assert_eq!(ids.to_vec(&stream)?, [3, 1, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_cudarc(stream: Arc<CudaStream>) -> Result<Self> {
        let device = cuda::accept(&stream)?;
        Ok(Self { device, cuda: Some(Arc::new(Cuda::new(stream, false))) })
    }

    /// The stream as cudarc has it; none on the host.
    pub fn cuda_stream(&self) -> Option<&Arc<CudaStream>> {
        self.cuda.as_ref().map(|cuda| &cuda.stream)
    }

    /// The device whose work this stream orders.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Waits until all work enqueued so far has finished.
    pub fn synchronize(&self) -> Result<()> {
        let Some(cuda) = &self.cuda else { return Ok(()) };
        cuda::bind(&cuda.stream)?;
        cuda.stream.synchronize().map_err(cuda::driver("finish the work of a stream"))
    }

    /// Gives the memory that is kept for later on this device, by its streams and in its default pool, back to the
    /// driver, for all that allocate there. Waits for the device.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn give_back_memory(&self) -> Result<()> {
        self.cuda.as_ref().map_or(Ok(()), |cuda| cuda::give_back_memory(cuda.stream.context()))
    }

    /// A mark behind what has been enqueued so far.
    pub fn record(&self) -> Result<Event> {
        self.event(|cuda| {
            let event = cuda.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
            event.map(Arc::new).map_err(cuda::driver("record an event"))
        })
    }

    /// The same, but that it has no time: to take that would hold up the work behind.
    pub(crate) fn mark(&self) -> Result<Event> {
        self.event(Cuda::mark)
    }

    fn event(&self, record: impl FnOnce(&Cuda) -> Result<Arc<CudaEvent>>) -> Result<Event> {
        let mark = match &self.cuda {
            None => Mark::Host(Instant::now()),
            Some(cuda) => match recording::launch(&cuda.stream) {
                Some(launch) => Mark::Graph(launch),
                None => Mark::Cuda(record(cuda)?),
            },
        };
        Ok(Event(mark))
    }

    /// From now on this stream waits for what is before a mark.
    #[cfg(feature = "trainer")]
    pub(crate) fn wait(&self, event: &Event) -> Result<()> {
        match (self.cuda_stream(), event.cuda()?) {
            (Some(stream), Some(event)) => stream.wait(event).map_err(cuda::driver("order two streams")),
            _ => Ok(()),
        }
    }

    /// From now on this stream waits for what others have been given so far.
    #[cfg(feature = "trainer")]
    pub(crate) fn join<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Result<()> {
        let Some(stream) = self.cuda_stream() else { return Ok(()) };
        others.into_iter().filter_map(Self::cuda_stream).try_for_each(|other| Order::join(stream, other))
    }

    /// The order of new memory that this stream is the first to use; none on the host.
    pub(crate) fn order(&self) -> Option<Order> {
        self.cuda_stream().map(Order::new)
    }

    /// Fails unless `what`, which is on `device`, can be used on this stream, which from then on may read it.
    pub(crate) fn read(&self, what: &str, device: Device, order: Option<&Order>) -> Result<()> {
        self.check(what, device)?;
        match (order, self.cuda_stream()) {
            (Some(order), Some(stream)) => Order::read([order], stream),
            _ => Ok(()),
        }
    }

    /// The same, and from then on it may write to it.
    pub(crate) fn write(&self, what: &str, device: Device, order: Option<&Order>) -> Result<()> {
        self.check(what, device)?;
        match (order, self.cuda_stream()) {
            (Some(order), Some(stream)) => Order::write([order], stream),
            _ => Ok(()),
        }
    }

    /// Fails unless `what`, which is on `device`, can be used on this stream.
    pub(super) fn check(&self, what: &str, device: Device) -> Result<()> {
        if device == self.device {
            return Ok(());
        }
        let what = format!("{what} of {device} is used on {}", self.device);
        Err(Error::Device { device: self.device.to_string(), what })
    }

    /// From now on this stream may read these; it waits once for each stream that wrote to some of them.
    #[cfg(feature = "trainer")]
    pub(crate) fn read_all<'a>(&self, orders: impl IntoIterator<Item = Option<&'a Order>>) -> Result<()> {
        match self.cuda_stream() {
            Some(stream) => Order::read(orders.into_iter().flatten(), stream),
            None => Ok(()),
        }
    }

    /// From now on it may write to these; it waits once for each stream that used some of them.
    #[cfg(feature = "trainer")]
    pub(crate) fn write_all<'a>(&self, orders: impl IntoIterator<Item = Option<&'a Order>>) -> Result<()> {
        match self.cuda_stream() {
            Some(stream) => Order::write(orders.into_iter().flatten(), stream),
            None => Ok(()),
        }
    }

    /// What launchers take; null on the host. The stream's context becomes the calling thread's.
    #[cfg(any(recis_cuda, feature = "simt"))]
    pub(crate) fn raw(&self) -> Result<crate::ffi::recis_stream_t> {
        let Some(cuda) = &self.cuda else { return Ok(std::ptr::null_mut()) };
        cuda::bind(&cuda.stream)?;
        Ok(cuda.stream.cu_stream().cast())
    }

    /// Keeps a block until the copies enqueued so far have read it.
    pub(super) fn keep(&self, block: Block) -> Result<()> {
        let Some(cuda) = &self.cuda else { return Ok(()) };
        let Some(block) = recording::keep(&cuda.stream, block) else { return Ok(()) };
        let event = cuda.mark()?;
        let mut sources = cuda.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(event, _)| !event.is_complete());
        sources.push((event, block));
        Ok(())
    }
}

impl Cuda {
    fn new(stream: Arc<CudaStream>, keeps_freed: bool) -> Self {
        Self { stream, sources: Mutex::default(), marks: Mutex::default(), keeps_freed }
    }

    fn mark(&self) -> Result<Arc<CudaEvent>> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let free = marks.iter_mut().position(|mark| Arc::get_mut(mark).is_some());
        let place = free.unwrap_or(marks.len());
        if free.is_none() {
            let event = self.stream.context().new_event(None).map_err(cuda::driver("make an event"))?;
            marks.push(Arc::new(event));
        }
        let mark = marks[place].clone();
        mark.record(&self.stream).map_err(cuda::driver("record an event"))?;
        Ok(mark)
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // The blocks go back to the pool, so nothing may read them any more.
        _ = self.stream.synchronize();
        if self.keeps_freed {
            freed::close(&self.stream);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.device)
    }
}

/// A mark in a stream.
pub struct Event(Mark);

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event")
    }
}

enum Mark {
    /// On the host work is done when it is enqueued.
    Host(Instant),
    Cuda(Arc<CudaEvent>),
    /// Behind a graph, once that is launched.
    Graph(Arc<Launch>),
}

impl Event {
    /// Whether all work before the mark has finished.
    pub fn is_complete(&self) -> bool {
        match &self.0 {
            Mark::Host(_) => true,
            Mark::Cuda(event) => event.is_complete(),
            Mark::Graph(launch) => launch.is_complete(),
        }
    }

    /// Waits until all work before the mark has finished.
    pub fn synchronize(&self) -> Result<()> {
        match (&self.0, self.cuda()?) {
            (Mark::Graph(launch), _) => launch.wait(),
            (_, Some(event)) => event.synchronize().map_err(cuda::driver("finish the work of a stream")),
            (_, None) => Ok(()),
        }
    }

    /// The seconds from `earlier` to this mark: the device's, once it has got there.
    pub fn seconds_since(&self, earlier: &Self) -> Result<f64> {
        if let (Mark::Host(from), Mark::Host(to)) = (&earlier.0, &self.0) {
            return Ok((*to - *from).as_secs_f64());
        }
        match (earlier.cuda()?, self.cuda()?) {
            (Some(from), Some(to)) => {
                let milliseconds = from.elapsed_ms(to).map_err(cuda::driver("measure time"))?;
                Ok(f64::from(milliseconds) / 1e3)
            }
            _ => Err(Error::Cuda("there is no time between a device's mark and the host's".into())),
        }
    }

    /// None on the host.
    fn cuda(&self) -> Result<Option<&CudaEvent>> {
        match &self.0 {
            Mark::Host(_) => Ok(None),
            Mark::Cuda(event) => Ok(Some(event)),
            Mark::Graph(launch) if launch.is_begun() => Ok(Some(&launch.event)),
            Mark::Graph(_) => Err(Error::Cuda("a graph that is waited for has not been launched".into())),
        }
    }
}
