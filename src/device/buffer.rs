use std::fmt;
use std::sync::Arc;

use cudarc::driver::result;

use super::memory::{Memory, Owner};
use super::pinned::{Block, PinnedVec};
use super::{Device, ReadBack, Stream, cuda};
use crate::error::ensure;
use crate::{Error, Result};

/// What a [`Buffer`] may hold: plain numbers.
pub trait Element: bytemuck::Pod + Send + Sync + PartialEq + fmt::Debug {}
impl<T: bytemuck::Pod + Send + Sync + PartialEq + fmt::Debug> Element for T {}

/// A contiguous array of numbers in the memory of one device.
///
/// Clones share the memory until one of them is written to.
#[derive(Clone)]
pub struct Buffer<T> {
    pub(super) memory: Arc<Memory<T>>,
    pub(super) len: usize,
}

impl<T: Element> Buffer<T> {
    /// `len` elements in the memory of the stream's device; what they hold is unspecified.
    pub fn unset(len: usize, stream: &Stream) -> Result<Self> {
        Ok(Self { memory: Arc::new(Memory::allocate(len, stream)?), len })
    }

    /// `len` zeros in the memory of the stream's device.
    pub fn zeros(len: usize, stream: &Stream) -> Result<Self> {
        let mut buffer = Self::unset(len, stream)?;
        if stream.device() != Device::Cpu {
            buffer.fill_bytes(0, stream)?;
        }
        Ok(buffer)
    }

    /// `values`, moved (host) or copied (elsewhere) to the stream's device.
    pub fn from_vec(values: Vec<T>, stream: &Stream) -> Result<Self> {
        Self::from(values).copy_to(stream)
    }

    /// `len` elements that are in the memory of the stream's device already, and belong to something else:
    /// a tensor of PyTorch, an array of a C++ runtime. They are used where they are; `owner` is dropped
    /// with the last buffer that needs them.
    ///
    /// As with any buffer, what is written to goes to the memory itself if the buffer has no clones, and
    /// to a copy if it has; [`Buffer::resize`] beyond `len` lets go of it. Kernels want `pointer` aligned
    /// to 16 bytes, and refuse it otherwise.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use recis::device::{Buffer, Device, Stream};
    /// # use recis::ops::scale;
    /// let stream = Stream::new(Device::Cpu)?;
    /// let mut theirs = vec![1.0_f32, 2.0, 3.0];
    /// // SAFETY: `theirs` outlives the buffer, and nothing else uses it meanwhile.
    /// let mut ours = unsafe { Buffer::from_raw(theirs.as_mut_ptr(), 3, Arc::new(()), &stream)? };
    /// scale::forward(&mut ours, 2.0, &stream)?;
    /// drop(ours);
    /// assert_eq!(theirs, [2.0, 4.0, 6.0]);
    /// # Ok::<(), recis::Error>(())
    /// ```
    ///
    /// # Errors
    /// A pointer that is null or not aligned to `T`, and a size that no memory has.
    ///
    /// # Safety
    /// - The memory is there, of that size and on that device, until `owner` is dropped.
    /// - Until then nothing else writes to it, nor reads it while an operation writes to it, unless that is
    ///   ordered with the stream that the buffer is used on. Work before this call is ordered with `stream`.
    /// - On a CUDA device `owner` may be dropped before the work that was enqueued has run: the memory is
    ///   freed or used again only in the order of the last stream that the buffer was used on, or after
    ///   waiting for it. That stream waits for any other that the buffer was used on.
    pub unsafe fn from_raw(pointer: *mut T, len: usize, owner: Owner, stream: &Stream) -> Result<Self> {
        if len == 0 {
            return Self::unset(0, stream);
        }
        ensure(!pointer.is_null() && pointer.is_aligned(), "buffer", || {
            format!("{len} elements at {pointer:p}, which is null or not aligned to {}", align_of::<T>())
        })?;
        let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
        let bytes = bytes.ok_or_else(|| Error::shape("buffer", format!("{len} elements fit no memory")))?;
        let memory = Memory::borrow(pointer.expose_provenance(), bytes, owner, stream);
        Ok(Self { memory: Arc::new(memory), len })
    }

    /// An empty pinned array on the host with room for `capacity` elements, for what is to be copied
    /// to the stream's device; a plain one for a stream on the host.
    #[cfg(feature = "trainer")]
    pub(crate) fn staging(capacity: usize, stream: &Stream) -> Result<Staging<T>> {
        match stream.cuda_stream() {
            Some(_) => Ok(Staging::Pinned(PinnedVec::with_capacity(capacity, stream)?)),
            None => Ok(Staging::Host(Vec::with_capacity(capacity))),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device whose memory holds the elements.
    pub fn device(&self) -> Device {
        self.memory.device()
    }

    /// These elements in the memory of the stream's device: shared if they are there.
    pub fn copy_to(&self, stream: &Stream) -> Result<Self> {
        if self.device() == stream.device() {
            return Ok(self.clone());
        }
        let mut copy = Self::unset(self.len, stream)?;
        match (self.memory.host(self.len), stream.cuda_stream()) {
            (Some(values), Some(cuda)) => {
                cuda::bind(cuda)?;
                // A copy from memory that is not pinned would wait for the stream.
                let staged = match self.memory.as_ref() {
                    Memory::Pinned(_) => None,
                    _ => {
                        let mut staged = PinnedVec::with_capacity(self.len, stream)?;
                        staged.extend_from_slice(values);
                        Some(staged)
                    }
                };
                let source = staged.as_ref().map_or(values, PinnedVec::as_slice);
                if !source.is_empty() {
                    // SAFETY: both are `len` elements, and the source is kept below or by the caller.
                    unsafe {
                        result::memcpy_htod_async(copy.on_mut(stream)? as u64, source, cuda.cu_stream())
                    }
                    .map_err(cuda::driver("copy to the device"))?;
                }
                match staged {
                    Some(staged) => stream.keep(staged.into_block())?,
                    // The source may go back to its pool as soon as we return.
                    None => stream.synchronize()?,
                }
            }
            (Some(values), None) => {
                let to = copy.on_mut(stream)?;
                // SAFETY: both are `len` elements of host memory.
                unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, self.len) };
            }
            (None, _) => copy = Self::from_vec(self.to_host()?, stream)?,
        }
        Ok(copy)
    }

    /// Takes over the elements of `other`, in the order of the stream; both are as long, in the memory of
    /// its device.
    ///
    /// # Errors
    /// They are not.
    pub fn copy_from(&mut self, other: &Self, stream: &Stream) -> Result<()> {
        ensure(self.len == other.len, "copy", || {
            format!("{} elements into room for {}", other.len, self.len)
        })?;
        let (from, to) = (other.on(stream)?, self.on_mut(stream)?);
        copy_within_device(from, to, self.len, stream)
    }

    /// A copy of the elements on its way to the host, in the order of the stream.
    pub fn read_back(&self, stream: &Stream) -> Result<ReadBack<T>> {
        if let Some(values) = self.memory.host(self.len) {
            return Ok(ReadBack::ready(values.to_vec()));
        }
        let Some(cuda) = stream.cuda_stream() else { return Ok(ReadBack::ready(self.to_host()?)) };
        let block = Block::allocate(self.len * size_of::<T>(), stream)?;
        if self.len > 0 {
            // SAFETY: the block has room for `len` elements and lives until the copy is done.
            unsafe {
                let to = std::slice::from_raw_parts_mut(block.pointer::<T>(), self.len);
                result::memcpy_dtoh_async(to, self.on(stream)? as u64, cuda.cu_stream())
            }
            .map_err(cuda::driver("copy from the device"))?;
        }
        Ok(ReadBack::coming(block, self.len, stream.mark()?))
    }

    /// A copy of the elements on the host, complete when the call returns.
    pub fn to_vec(&self, stream: &Stream) -> Result<Vec<T>> {
        self.read_back(stream)?.wait()
    }

    /// Sets the length to `len`, on the stream's device. A buffer that gets shorter there keeps its
    /// first elements; what others hold is unspecified.
    pub fn resize(&mut self, len: usize, stream: &Stream) -> Result<()> {
        if self.device() != stream.device() || self.memory.capacity() < len {
            self.memory = Arc::new(Memory::allocate(len, stream)?);
        }
        self.len = len;
        Ok(())
    }

    /// Sets every byte to `value`.
    pub fn fill_bytes(&mut self, value: u8, stream: &Stream) -> Result<()> {
        let (pointer, bytes) = (self.on_mut(stream)?, self.len * size_of::<T>());
        match stream.cuda_stream() {
            Some(_) if bytes == 0 => Ok(()),
            // SAFETY: the memory has as many bytes.
            Some(cuda) => unsafe { result::memset_d8_async(pointer as u64, value, bytes, cuda.cu_stream()) }
                .map_err(cuda::driver("set device memory")),
            None => {
                // SAFETY: host memory of as many bytes; any bits are a valid number.
                unsafe { pointer.cast::<u8>().write_bytes(value, bytes) };
                Ok(())
            }
        }
    }

    /// A copy of some elements, `first + len` of which there are, in a buffer of its own.
    pub(crate) fn part(&self, first: usize, len: usize, stream: &Stream) -> Result<Self> {
        ensure(first.checked_add(len).is_some_and(|end| end <= self.len), "copy", || {
            format!("elements {first}.. ({len} of them) of {}", self.len)
        })?;
        let mut part = Self::unset(len, stream)?;
        let from = self.on(stream)?.wrapping_add(first);
        copy_within_device(from, part.on_mut(stream)?, len, stream)?;
        Ok(part)
    }

    /// The elements.
    ///
    /// # Panics
    /// They are in the memory of a CUDA device; [`Buffer::to_vec`] reads them from anywhere.
    pub fn host(&self) -> &[T] {
        self.memory.host(self.len).expect("the elements are on a CUDA device: read them with to_vec")
    }

    /// The elements, for the CPU form of an operation that reads.
    ///
    /// # Errors
    /// They are on another device.
    pub(crate) fn on_cpu(&self) -> Result<&[T]> {
        let pointer = self.on(&Stream::default())?;
        // SAFETY: host memory of `len` numbers, all of whose bits are valid.
        Ok(unsafe { std::slice::from_raw_parts(pointer, self.len) })
    }

    /// The elements, for the CPU form of an operation that writes: clones keep what they hold.
    ///
    /// # Errors
    /// They are on another device.
    pub(crate) fn on_cpu_mut(&mut self) -> Result<&mut [T]> {
        let pointer = self.on_mut(&Stream::default())?;
        // SAFETY: host memory of `len` numbers that only this buffer uses.
        Ok(unsafe { std::slice::from_raw_parts_mut(pointer, self.len) })
    }

    /// What orders the work on it, for [`Stream::read_all`] and [`Stream::write_all`]; none on the host.
    #[cfg(feature = "trainer")]
    pub(crate) fn order(&self) -> Option<&super::Order> {
        self.memory.order()
    }

    /// The first element, for a kernel on `stream` that reads.
    ///
    /// # Errors
    /// The elements are on another device.
    pub(crate) fn on(&self, stream: &Stream) -> Result<*const T> {
        stream.read("a buffer", self.device(), self.memory.order())?;
        Ok(self.memory.pointer())
    }

    /// Where the first element is, for a kernel on `stream` that neither reads nor writes it.
    ///
    /// # Errors
    /// The elements are on another device.
    pub(crate) fn address(&self, stream: &Stream) -> Result<*const T> {
        stream.check("a buffer", self.device())?;
        Ok(self.memory.pointer())
    }

    /// The first element, for a kernel on `stream` that writes: clones keep what they hold.
    ///
    /// # Errors
    /// The elements are on another device.
    pub(crate) fn on_mut(&mut self, stream: &Stream) -> Result<*mut T> {
        if Arc::get_mut(&mut self.memory).is_some() {
            stream.write("a buffer", self.device(), self.memory.order())?;
        } else {
            let from = self.on(stream)?;
            let copy = Memory::<T>::allocate(self.len, stream)?;
            copy_within_device(from, copy.pointer(), self.len, stream)?;
            self.memory = Arc::new(copy);
        }
        Ok(self.memory.pointer())
    }

    /// The elements, waiting for whatever stream works on them.
    fn to_host(&self) -> Result<Vec<T>> {
        match (self.memory.host(self.len), self.memory.order()) {
            (Some(values), _) => Ok(values.to_vec()),
            // Not on one that uses it: another thread may record that.
            (None, Some(order)) => {
                let stream = cuda::context(order.ordinal())?.new_stream();
                self.to_vec(&Stream::from_cudarc(stream.map_err(cuda::driver("make a stream"))?)?)
            }
            (None, None) => self.to_vec(&Stream::new(self.device())?),
        }
    }
}

/// Copies elements between two places of the stream's device.
pub fn copy_within_device<T>(from: *const T, to: *mut T, len: usize, stream: &Stream) -> Result<()> {
    match stream.cuda_stream() {
        Some(_) if len == 0 => Ok(()),
        // SAFETY: the callers' arrays have as many elements.
        Some(cuda) => unsafe {
            result::memcpy_dtod_async(to as u64, from as u64, len * size_of::<T>(), cuda.cu_stream())
        }
        .map_err(cuda::driver("copy on the device")),
        None => {
            // SAFETY: the callers' arrays have as many elements, and are not the same.
            unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
            Ok(())
        }
    }
}

/// An array that is being filled on the host.
#[cfg(feature = "trainer")]
pub(crate) enum Staging<T> {
    Host(Vec<T>),
    Pinned(PinnedVec<T>),
}

#[cfg(feature = "trainer")]
impl<T: Element> Staging<T> {
    pub fn extend_from_slice(&mut self, values: &[T]) {
        match self {
            Self::Host(to) => to.extend_from_slice(values),
            Self::Pinned(to) => to.extend_from_slice(values),
        }
    }

    pub fn finish(self) -> Buffer<T> {
        match self {
            Self::Host(values) => values.into(),
            Self::Pinned(values) => {
                let len = values.as_slice().len();
                Buffer { memory: Arc::new(Memory::Pinned(values)), len }
            }
        }
    }
}

impl<T: Element> Default for Buffer<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Element> From<Vec<T>> for Buffer<T> {
    /// A buffer in host memory.
    fn from(values: Vec<T>) -> Self {
        Self { len: values.len(), memory: Arc::new(Memory::Host(values)) }
    }
}

/// Compares elements wherever they are; waits for those on a device.
impl<T: Element> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && matches!((self.to_host(), other.to_host()), (Ok(a), Ok(b)) if a == b)
    }
}

impl<T: Element> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memory.host(self.len) {
            Some(values) => values.fmt(f),
            None => write!(f, "[{} elements on {}]", self.len, self.device()),
        }
    }
}
