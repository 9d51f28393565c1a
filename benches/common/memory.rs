//! Device memory that a case takes.

use cudarc::driver::result::{device, mem_pool};
use cudarc::driver::{CudaContext, DriverError};
use recis::device::{Device, Stream};

/// How much of a CUDA device's memory was free once.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    ordinal: usize,
    free: usize,
}

impl Memory {
    /// What is free now, when the pool has given back what it kept of earlier cases. None on the CPU.
    pub fn now(stream: &Stream) -> Option<Self> {
        let Device::Cuda(ordinal) = stream.device() else { return None };
        stream.give_back_memory();
        stream.synchronize().ok()?;
        empty_pool(ordinal).ok()?;
        Some(Self { ordinal, free: free(ordinal).ok()? })
    }

    /// Bytes that were taken since. The pool gives nothing back by itself, and tables do not shrink: it
    /// is the most that was taken at a time.
    pub fn taken_since(self) -> Option<usize> {
        Some(self.free.saturating_sub(free(self.ordinal).ok()?))
    }
}

fn free(ordinal: usize) -> Result<usize, DriverError> {
    CudaContext::new(ordinal)?.mem_get_info().map(|(free, _)| free)
}

fn empty_pool(ordinal: usize) -> Result<(), DriverError> {
    let context = CudaContext::new(ordinal)?;
    context.bind_to_thread()?;
    // SAFETY: the pool is the device's own, and gives back only what nothing uses.
    unsafe { mem_pool::trim_to(device::get_default_mem_pool(context.cu_device())?, 0) }
}
