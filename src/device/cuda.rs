//! CUDA devices through cudarc: whether there are any, their contexts, and memory in stream order.

use std::any::Any;
use std::collections::HashMap;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::{CUdeviceptr, CUmemPool_attribute, cudaError_enum};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};

use super::{Device, Order, freed, recording};
use crate::{Error, Result};

/// CUDA's handle of the default stream of whichever thread it is used in.
const PER_THREAD: usize = 2;

/// How many CUDA devices there are, or why none can be used. Never panics.
pub fn probe() -> Result<usize, &'static str> {
    static DEVICES: OnceLock<Result<usize, &'static str>> = OnceLock::new();
    *DEVICES.get_or_init(|| {
        if !cfg!(recis_cuda) {
            return Err("this build has no CUDA kernels, since nvcc was not found");
        }
        // SAFETY: it only tries to open the library. cudarc's own function for it is there in but one of
        // the ways that it may be linked.
        let is_there = |name: &CStr| !unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) }.is_null();
        if ![c"libcuda.so.1", c"libcuda.so"].into_iter().any(is_there) {
            return Err("the NVIDIA driver (libcuda.so.1) is not installed");
        }
        // cudarc panics if a driver lacks what it looks for.
        match catch_unwind(CudaContext::device_count) {
            Ok(Ok(0)) => Err("the driver finds no device"),
            Ok(Ok(count)) => Ok(count as usize),
            Ok(Err(_)) => Err("the NVIDIA driver does not start; does nvidia-smi work?"),
            Err(_) => Err("the NVIDIA driver is too old: CUDA 12.0 is needed"),
        }
    })
}

/// The primary context of a device, made on first use: the one that the kernels use too.
pub fn context(ordinal: usize) -> Result<Arc<CudaContext>> {
    static CONTEXTS: OnceLock<Mutex<HashMap<usize, Arc<CudaContext>>>> = OnceLock::new();
    let contexts = CONTEXTS.get_or_init(Mutex::default);
    let mut contexts = contexts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(context) = contexts.get(&ordinal) {
        return Ok(context.clone());
    }
    Device::Cuda(ordinal).check()?;
    let made = catch_unwind(AssertUnwindSafe(|| CudaContext::new(ordinal)));
    let context =
        made.map_err(|panic| failed("open the device", &text(panic)))?.map_err(driver("open the device"))?;
    // SAFETY: nothing has been allocated, and all memory is ours: in stream order.
    unsafe { context.disable_event_tracking() };
    contexts.insert(ordinal, context.clone());
    Ok(context)
}

/// The device of a stream, if kernels and buffers can be ordered by it.
pub fn accept(stream: &CudaStream) -> Result<Device> {
    let context = stream.context();
    let device = Device::Cuda(context.ordinal());
    device.check()?;
    let refuse = |what: &str| Err(Error::Device { device: device.to_string(), what: what.into() });
    if !context.is_primary() {
        return refuse("the stream is not of the primary context, in which kernels run: CudaContext::new");
    }
    if !context.has_async_alloc() {
        return refuse("it does not allocate memory in the order of a stream");
    }
    if stream.cu_stream().addr() == PER_THREAD {
        return refuse("the per-thread default stream is another one in every thread: make a stream");
    }
    Ok(device)
}

/// Freed memory stays with the process: the next step wants as much again. And a stream gets none for which
/// it would have to wait for another one: what runs beside something else would then run behind it.
pub fn keep_freed_memory(context: &CudaContext) -> Result<()> {
    let (mut all, mut no) = (u64::MAX, 0i32);
    // SAFETY: the attributes are a u64 and an int.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())
            .map_err(driver("find the memory pool"))?;
        let threshold = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        let waits = CUmemPool_attribute::CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut all).cast())
            .and_then(|()| result::mem_pool::set_attribute(pool, waits, (&raw mut no).cast()))
            .map_err(driver("set up the memory pool"))
    }
}

/// Turns a driver's error into ours; `what` was to be done.
pub fn driver(what: &'static str) -> impl FnOnce(DriverError) -> Error {
    move |error| failed(what, &error.to_string())
}

fn failed(what: &str, why: &str) -> Error {
    Error::Cuda(format!("cannot {what}: {why}"))
}

fn text(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => "the driver lacks a function".into(),
    }
}

/// Device memory, allocated and freed in the order of a stream.
pub struct Memory {
    /// 0 when somebody else has taken it over.
    pointer: CUdeviceptr,
    bytes: usize,
    /// Of the freeing too.
    order: Order,
    /// The address of the stream that it was allocated on, unless somebody else has.
    allocated_on: Option<usize>,
}

impl Memory {
    pub fn allocate(bytes: usize, stream: &Arc<CudaStream>) -> Result<Self> {
        // Never nothing, so that every array has an address.
        let bytes = freed::block_size(bytes);
        let kept = freed::take(bytes, stream);
        recording::note_memory(bytes, kept.is_some(), stream);
        let pointer = match kept {
            Some(pointer) => pointer,
            None => allocate(bytes, stream)?,
        };
        Ok(Self { pointer, bytes, order: Order::new(stream), allocated_on: Some(stream.cu_stream().addr()) })
    }

    /// Takes over memory whose work so far `stream` orders.
    ///
    /// # Safety
    /// Nobody else frees it, and it can be freed in the order of a stream.
    pub unsafe fn take_over(pointer: CUdeviceptr, bytes: usize, stream: &Arc<CudaStream>) -> Self {
        Self { pointer, bytes, order: Order::new(stream), allocated_on: None }
    }

    /// Leaves the freeing to the caller.
    pub fn give_away(mut self) -> CUdeviceptr {
        std::mem::take(&mut self.pointer)
    }

    pub fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn ordinal(&self) -> usize {
        self.order.ordinal()
    }

    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Leaves the freeing until the graph that this thread records is launched, unless it can be kept at once: by the
    /// stream that it was allocated on and last used on.
    fn put_off(&mut self) -> bool {
        let is_settled = self.order.is_settled();
        if is_settled && self.allocated_on == Some(self.order.last()) {
            return false;
        }
        let (pointer, bytes, allocated_on) =
            (std::mem::take(&mut self.pointer), self.bytes, self.allocated_on);
        let keep = |stream| recording::keep_memory(pointer, bytes, stream);
        if !(is_settled && allocated_on.is_some_and(keep)) {
            recording::put_off(Self { pointer, bytes, order: self.order.take(), allocated_on });
        }
        true
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.pointer == 0 {
            return;
        }
        if recording::is_recorded() && self.put_off() {
            return;
        }
        // An error here is that of work before, which is reported where its result is waited for.
        let Ok(stream) = self.order.gather() else { return };
        let _held = recording::hold_launched(&stream);
        if self.allocated_on == Some(stream.cu_stream().addr())
            && freed::keep(self.pointer, self.bytes, &stream)
        {
            return;
        }
        if stream.context().bind_to_thread().is_ok() {
            // SAFETY: it was allocated so, and nothing uses it any more but what is on the stream.
            _ = unsafe { result::free_async(self.pointer, stream.cu_stream()) };
        }
    }
}

/// Gives all memory that is kept for later back to the driver. Waits for the device.
pub fn give_back_memory(context: &CudaContext) -> Result<()> {
    let _paused = recording::pause()?;
    freed::give_back(context);
    context.synchronize().map_err(driver("wait for memory"))?;
    // SAFETY: the pool is the device's own, and gives back only what nothing uses.
    unsafe {
        result::device::get_default_mem_pool(context.cu_device())
            .and_then(|pool| result::mem_pool::trim_to(pool, 0))
    }
    .map_err(driver("empty the memory pool"))
}

/// Gives memory that is kept for later back to the driver if so much is not free any more.
pub fn leave_room(bytes: usize, context: &CudaContext) -> Result<()> {
    let (free, _) = result::mem_get_info().map_err(driver("look at the memory"))?;
    if free < bytes { give_back_memory(context) } else { Ok(()) }
}

/// New memory. If there is no more, what is kept for others goes back first; not while a graph is recorded.
fn allocate(bytes: usize, stream: &CudaStream) -> Result<CUdeviceptr> {
    bind(stream)?;
    // SAFETY: the stream lives; what the memory holds is unspecified.
    let allocate = |stream: &CudaStream| unsafe { result::malloc_async(stream.cu_stream(), bytes) };
    let pointer = match recording::allocator(stream) {
        Some(outside) => allocate(&outside).and_then(|pointer| outside.synchronize().map(|()| pointer)),
        None => match allocate(stream) {
            Err(error) if error.0 == cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY => {
                give_back_memory(stream.context())?;
                allocate(stream)
            }
            pointer => pointer,
        },
    };
    pointer.map_err(|error| failed(&format!("allocate {bytes} bytes of device memory"), &error.to_string()))
}

/// Makes the stream's context the calling thread's: the kernels' launchers use that.
pub fn bind(stream: &CudaStream) -> Result<()> {
    stream.context().bind_to_thread().map_err(driver("use the device"))
}
