//! Host memory that a device copies from and to by itself.

use std::collections::HashMap;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

use cudarc::driver::{result, sys::CU_MEMHOSTALLOC_PORTABLE};

use super::{Element, Stream, cuda};
use crate::Result;

/// Blocks that are free, by size: pinning pages takes milliseconds, so blocks are used again.
static FREE: OnceLock<Mutex<HashMap<usize, Vec<usize>>>> = OnceLock::new();

/// A pinned block of memory. Back to the pool when dropped.
pub struct Block {
    address: usize,
    bytes: usize,
}

impl Block {
    /// A block of at least `bytes` bytes; what it holds is unspecified. The stream names the driver.
    pub fn allocate(bytes: usize, stream: &Stream) -> Result<Self> {
        // Few sizes, so that blocks fit again.
        let bytes = bytes.max(4096).next_power_of_two();
        let free = FREE.get_or_init(Mutex::default);
        if let Some(address) =
            free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&bytes).and_then(Vec::pop)
        {
            return Ok(Self { address, bytes });
        }
        if let Some(stream) = stream.cuda_stream() {
            cuda::bind(stream)?;
        }
        // SAFETY: a context is current.
        let pointer = unsafe { result::malloc_host(bytes, CU_MEMHOSTALLOC_PORTABLE) };
        let pointer = pointer.map_err(cuda::driver("allocate pinned memory"))?;
        Ok(Self { address: pointer as usize, bytes })
    }

    pub fn pointer<T>(&self) -> *mut T {
        ptr::with_exposed_provenance_mut(self.address)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let free = FREE.get_or_init(Mutex::default);
        free.lock().unwrap_or_else(PoisonError::into_inner).entry(self.bytes).or_default().push(self.address);
    }
}

/// An array of numbers in pinned memory.
pub struct PinnedVec<T> {
    block: Block,
    len: usize,
    capacity: usize,
    values: std::marker::PhantomData<T>,
}

impl<T: Element> PinnedVec<T> {
    /// An empty array with room for `capacity` elements.
    pub fn with_capacity(capacity: usize, stream: &Stream) -> Result<Self> {
        let block = Block::allocate(capacity * size_of::<T>(), stream)?;
        Ok(Self { block, len: 0, capacity, values: std::marker::PhantomData })
    }

    /// Appends elements, as far as there is room.
    pub fn extend_from_slice(&mut self, values: &[T]) {
        let count = values.len().min(self.capacity - self.len);
        // SAFETY: the block has room for `capacity` elements.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), self.block.pointer::<T>().add(self.len), count) };
        self.len += count;
    }

    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `len` elements have been written.
        unsafe { std::slice::from_raw_parts(self.block.pointer(), self.len) }
    }

    /// The block, for a copy that outlives this.
    pub fn into_block(self) -> Block {
        self.block
    }
}

impl<T: Element> std::fmt::Debug for PinnedVec<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().fmt(f)
    }
}
