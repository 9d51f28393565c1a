use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::CudaStream;

use super::cuda;
use crate::Result;

/// The stream that orders the work on a piece of a CUDA device's memory: the last one that used it.
pub struct Order(Mutex<Arc<CudaStream>>);

impl Order {
    pub fn new(stream: &Arc<CudaStream>) -> Self {
        Self(Mutex::new(stream.clone()))
    }

    /// From now on `stream` orders the work. It waits for what the stream before has been given.
    pub fn move_to(&self, stream: &Arc<CudaStream>) -> Result<()> {
        let mut last = self.last();
        if last.cu_stream() != stream.cu_stream() {
            stream.join(&last).map_err(cuda::driver("order two streams"))?;
            *last = stream.clone();
        }
        Ok(())
    }

    /// The same for several in a row, waiting once for each stream that had some of them.
    #[cfg(feature = "trainer")]
    pub fn move_all<'a>(orders: impl IntoIterator<Item = &'a Self>, stream: &Arc<CudaStream>) -> Result<()> {
        let mut joined = vec![stream.cu_stream()];
        for order in orders {
            let mut last = order.last();
            if !joined.contains(&last.cu_stream()) {
                stream.join(&last).map_err(cuda::driver("order two streams"))?;
                joined.push(last.cu_stream());
            }
            *last = stream.clone();
        }
        Ok(())
    }

    pub fn last(&self) -> MutexGuard<'_, Arc<CudaStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
