use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::CudaStream;

use super::cuda;
use crate::Result;

/// The stream that orders the work on a piece of a CUDA device's memory: the last one that used it.
pub struct Order(Mutex<Arc<CudaStream>>);

thread_local! {
    /// The streams of the last join, if this thread has given none of them any work since: an operation
    /// that moves several arrays waits once.
    static JOINED: Cell<Option<[usize; 2]>> = const { Cell::new(None) };
}

/// This thread is about to give work to a stream, or has done so.
pub fn forget_join() {
    JOINED.set(None);
}

impl Order {
    pub fn new(stream: &Arc<CudaStream>) -> Self {
        Self(Mutex::new(stream.clone()))
    }

    /// From now on `stream` orders the work. It waits for what the stream before has been given.
    pub fn move_to(&self, stream: &Arc<CudaStream>) -> Result<()> {
        let mut last = self.last();
        if last.cu_stream() != stream.cu_stream() {
            let pair = [last.cu_stream().addr(), stream.cu_stream().addr()];
            if JOINED.get() != Some(pair) {
                stream.join(&last).map_err(cuda::driver("order two streams"))?;
                JOINED.set(Some(pair));
            }
            *last = stream.clone();
        }
        Ok(())
    }

    pub fn last(&self) -> MutexGuard<'_, Arc<CudaStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
