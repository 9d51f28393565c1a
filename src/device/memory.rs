use std::any::Any;
use std::sync::Arc;

use super::pinned::PinnedVec;
#[cfg(feature = "simt")]
use super::simt;
use super::{Device, Element, Order, Stream, cuda, recording};
use crate::{Error, Result};

/// What keeps memory that a buffer only borrows.
pub type Owner = Arc<dyn Any + Send + Sync>;

/// Where a buffer's elements are, and who frees them.
pub enum Memory<T> {
    Host(Vec<T>),
    #[cfg_attr(not(feature = "trainer"), expect(dead_code))]
    Pinned(PinnedVec<T>),
    #[cfg(feature = "simt")]
    Simt(simt::Memory),
    Cuda(cuda::Memory),
    Borrowed(Borrowed),
}

/// Memory that something else owns.
pub struct Borrowed {
    address: usize,
    bytes: usize,
    device: Device,
    order: Option<Order>,
    /// Keeps the memory, or tells who does that it is no longer needed here.
    owner: Owner,
}

/// What the owner does next is in the order of the stream that used it last.
impl Drop for Borrowed {
    fn drop(&mut self) {
        if recording::is_recorded() && self.order.is_some() {
            let (order, owner) = (self.order.take(), std::mem::replace(&mut self.owner, Arc::new(())));
            recording::put_off(Self {
                address: self.address,
                bytes: self.bytes,
                device: self.device,
                order,
                owner,
            });
            return;
        }
        // An error is that of work before, which is reported where its result is waited for.
        _ = self.order.as_ref().map(Order::gather);
    }
}

impl<T: Element> Memory<T> {
    /// What new memory holds is unspecified; on the host it is zeros.
    pub fn allocate(len: usize, stream: &Stream) -> Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
        let bytes = bytes.ok_or_else(|| Error::shape("buffer", format!("{len} elements fit no memory")))?;
        match stream.cuda_stream() {
            Some(cuda) => Ok(Self::Cuda(cuda::Memory::allocate(bytes, cuda)?)),
            #[cfg(feature = "simt")]
            None if stream.device() == Device::Simt => Ok(Self::Simt(simt::Memory::allocate(bytes)?)),
            None => Ok(Self::Host(vec![T::zeroed(); len])),
        }
    }

    /// Memory that `owner` keeps.
    pub fn borrow(address: usize, bytes: usize, owner: Owner, stream: &Stream) -> Self {
        let (device, order) = (stream.device(), stream.order());
        Self::Borrowed(Borrowed { address, bytes, device, order, owner })
    }

    pub fn device(&self) -> Device {
        match self {
            Self::Host(_) | Self::Pinned(_) => Device::Cpu,
            #[cfg(feature = "simt")]
            Self::Simt(_) => Device::Simt,
            Self::Cuda(memory) => Device::Cuda(memory.ordinal()),
            Self::Borrowed(memory) => memory.device,
        }
    }

    /// The most elements that fit.
    pub fn capacity(&self) -> usize {
        match self {
            Self::Host(values) => values.len(),
            Self::Pinned(values) => values.as_slice().len(),
            #[cfg(feature = "simt")]
            Self::Simt(memory) => memory.bytes() / size_of::<T>(),
            Self::Cuda(memory) => memory.bytes() / size_of::<T>(),
            Self::Borrowed(memory) => memory.bytes / size_of::<T>(),
        }
    }

    /// The first element.
    pub fn pointer(&self) -> *mut T {
        match self {
            Self::Host(values) => values.as_ptr().cast_mut(),
            Self::Pinned(values) => values.as_slice().as_ptr().cast_mut(),
            #[cfg(feature = "simt")]
            Self::Simt(memory) => memory.pointer(),
            Self::Cuda(memory) => std::ptr::with_exposed_provenance_mut(memory.pointer() as usize),
            Self::Borrowed(memory) => std::ptr::with_exposed_provenance_mut(memory.address),
        }
    }

    /// What orders the work on it, where that is not done when a call returns.
    pub fn order(&self) -> Option<&Order> {
        match self {
            Self::Cuda(memory) => Some(memory.order()),
            Self::Borrowed(memory) => memory.order.as_ref(),
            _ => None,
        }
    }

    /// The first `len` elements, if the host can read them.
    pub fn host(&self, len: usize) -> Option<&[T]> {
        match self.device() {
            Device::Cuda(_) => None,
            // SAFETY: host memory of at least `len` numbers, all of whose bits are valid.
            _ => Some(unsafe { std::slice::from_raw_parts(self.pointer(), len) }),
        }
    }
}
