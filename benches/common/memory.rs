//! Device memory that a case takes.

use cudarc::driver::{CudaContext, DriverError};
use recis::device::{Device, Stream};

/// How much of a CUDA device's memory was free once.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    ordinal: usize,
    free: usize,
}

impl Memory {
    /// What is free now, when what was kept of earlier cases. None on the CPU.
    pub fn now(stream: &Stream) -> Option<Self> {
        let Device::Cuda(ordinal) = stream.device() else { return None };
        stream.give_back_memory().ok()?;
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
