//! Buffers out of cudarc's arrays, and back.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, DevicePtrMut};

use super::buffer::copy_within_device;
use super::memory::Memory;
use super::{Buffer, Element, Order, Stream, cuda};
use crate::{Error, Result};

impl<T: Element> Buffer<T> {
    /// Takes over an array of cudarc's, without a copy. From now on the buffer frees it, in the order of
    /// the last stream that it was used on.
    ///
    /// What cudarc's events know of is waited for, on the device. In a context without event tracking
    /// ([`is_event_tracking`](cudarc::driver::CudaContext::is_event_tracking)), or one that has had only
    /// its default stream, work on the array is ordered with the stream that it was made on, or done.
    ///
    /// # Errors
    /// An array of a context that [`Stream::from_cudarc`] refuses, which is then dropped.
    pub fn from_cuda_slice(slice: CudaSlice<T>) -> Result<Self> {
        cuda::accept(slice.stream())?;
        let (stream, len, bytes) = (slice.stream().clone(), slice.len(), slice.num_bytes());
        let memory = if len == 0 {
            cuda::Memory::allocate(0, &stream)?
        } else {
            cuda::bind(&stream)?;
            // SAFETY: what `leak` returns is ours to free; dropping the slice would have done it so.
            unsafe { cuda::Memory::take_over(slice.leak(), bytes, &stream) }
        };
        Ok(Self { memory: Arc::new(Memory::Cuda(memory)), len })
    }

    /// The elements as an array of cudarc's on the stream, which frees it: without a copy, unless there are
    /// clones or the memory belongs to something else. The array's events, if its context tracks them, say
    /// that it is written to by all that is on the stream so far.
    ///
    /// # Errors
    /// A stream on another device than the elements, and one that is not on a CUDA device.
    pub fn into_cuda_slice(self, stream: &Stream) -> Result<CudaSlice<T>> {
        let from = self.on(stream)?;
        let Some(cuda) = stream.cuda_stream() else {
            let what = "cudarc's arrays are on CUDA devices";
            return Err(Error::Device { device: stream.device().to_string(), what: what.into() });
        };
        let memory = match Arc::try_unwrap(self.memory) {
            Ok(Memory::Cuda(memory)) => {
                Order::write([memory.order()], cuda)?;
                memory
            }
            _shared => {
                let copy = cuda::Memory::allocate(self.len * size_of::<T>(), cuda)?;
                let to = std::ptr::with_exposed_provenance_mut(copy.pointer() as usize);
                copy_within_device(from, to, self.len, stream)?;
                copy
            }
        };
        cuda::bind(cuda)?;
        // SAFETY: memory of `len` numbers, allocated in the order of a stream, that nobody else frees.
        let mut slice = unsafe { cuda.upgrade_device_ptr(memory.give_away(), self.len) };
        drop(slice.device_ptr_mut(cuda).1);
        Ok(slice)
    }
}
