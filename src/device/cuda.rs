//! CUDA devices through cudarc: whether there are any, their contexts, and memory in stream order.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::sys::{CUdeviceptr, CUmemPool_attribute, is_culib_present};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};

use crate::{Error, Result};

/// How many CUDA devices there are, or why none can be used. Never panics.
pub fn probe() -> Result<usize, &'static str> {
    static DEVICES: OnceLock<Result<usize, &'static str>> = OnceLock::new();
    *DEVICES.get_or_init(|| {
        if !cfg!(recis_cuda) {
            return Err("this build has no CUDA kernels, since nvcc was not found");
        }
        // SAFETY: it only tries to open the library.
        if !unsafe { is_culib_present() } {
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
    super::Device::Cuda(ordinal).check()?;
    let made = catch_unwind(AssertUnwindSafe(|| CudaContext::new(ordinal)));
    let context =
        made.map_err(|panic| failed("open the device", &text(panic)))?.map_err(driver("open the device"))?;
    // SAFETY: nothing has been allocated, and all memory is ours: in stream order.
    unsafe { context.disable_event_tracking() };
    keep_freed_memory(&context)?;
    contexts.insert(ordinal, context.clone());
    Ok(context)
}

/// Freed memory stays with the process: the next step wants as much again.
fn keep_freed_memory(context: &CudaContext) -> Result<()> {
    let mut all = u64::MAX;
    // SAFETY: the attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())
            .map_err(driver("find the memory pool"))?;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut all).cast())
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
    pointer: CUdeviceptr,
    bytes: usize,
    /// Orders the freeing: the last stream that works on the memory.
    stream: Mutex<Arc<CudaStream>>,
}

impl Memory {
    pub fn allocate(bytes: usize, stream: &Arc<CudaStream>) -> Result<Self> {
        bind(stream)?;
        // Not nothing, so that every array has an address.
        let bytes = bytes.max(16);
        // SAFETY: the stream lives; what the memory holds is unspecified.
        let pointer = unsafe { result::malloc_async(stream.cu_stream(), bytes) };
        let pointer = pointer.map_err(|error| {
            failed(&format!("allocate {bytes} bytes of device memory"), &error.to_string())
        })?;
        Ok(Self { pointer, bytes, stream: Mutex::new(stream.clone()) })
    }

    pub fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn ordinal(&self) -> usize {
        self.lock().context().ordinal()
    }

    /// From now on the memory belongs to the order of `stream`, which waits for what the stream
    /// before does with it.
    pub fn move_to(&self, stream: &Arc<CudaStream>) -> Result<()> {
        let mut owner = self.lock();
        if owner.cu_stream() != stream.cu_stream() {
            stream.join(&owner).map_err(driver("order two streams"))?;
            *owner = stream.clone();
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<CudaStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let stream = self.lock();
        // An error here is that of work before, which is reported where its result is waited for.
        if stream.context().bind_to_thread().is_ok() {
            // SAFETY: it was allocated so, and nothing uses it any more but what is on the stream.
            _ = unsafe { result::free_async(self.pointer, stream.cu_stream()) };
        }
    }
}

/// Makes the stream's context the calling thread's: the kernels' launchers use that.
pub fn bind(stream: &CudaStream) -> Result<()> {
    stream.context().bind_to_thread().map_err(driver("use the device"))
}
