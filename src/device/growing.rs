use std::ptr;

use cudarc::driver::sys::{
    self, CUmemAccess_flags, CUmemAccessDesc, CUmemAllocationGranularity_flags, CUmemAllocationHandleType,
    CUmemAllocationProp, CUmemAllocationType, CUmemGenericAllocationHandle, CUmemLocation, CUmemLocationType,
};

use super::{Device, Element, Order, Stream, cuda, recording};
use crate::{Error, Result};

/// Address space that is reserved at first: grows up to it without moving.
const RESERVED_BYTES: usize = 1 << 40;

/// An array that grows without moving: its addresses are reserved at once, and memory is put behind
/// them as it is needed. What new elements hold is unspecified.
pub struct Growing<T> {
    range: Range,
    elements: std::marker::PhantomData<T>,
}

/// Reserved addresses.
struct Range {
    device: Device,
    order: Option<Order>,
    base: usize,
    reserved: usize,
    /// Bytes from `base` that have memory behind them.
    mapped: usize,
    /// The smallest piece of memory, in bytes.
    granularity: usize,
    /// What is mapped on a CUDA device, and how many bytes each.
    pieces: Vec<(CUmemGenericAllocationHandle, usize)>,
}

impl<T: Element> Growing<T> {
    /// An empty array on the stream's device.
    pub fn new(stream: &Stream) -> Result<Self> {
        Ok(Self { range: Range::reserve(stream)?, elements: std::marker::PhantomData })
    }

    /// The number of elements there is memory for.
    pub fn capacity(&self) -> usize {
        self.range.mapped / size_of::<T>()
    }

    /// Puts memory behind the first `len` elements.
    ///
    /// # Errors
    /// There is not as much memory.
    pub fn grow(&mut self, len: usize) -> Result<()> {
        let bytes = len.saturating_mul(size_of::<T>());
        if bytes <= self.range.mapped {
            return Ok(());
        }
        if bytes > self.range.reserved {
            return Err(self.range.failed(bytes, "the table is larger than any that was foreseen"));
        }
        self.range.map(bytes.next_multiple_of(self.range.granularity))
    }

    /// The elements.
    ///
    /// # Panics
    /// They are in the memory of a CUDA device.
    pub fn host(&self) -> &[T] {
        self.range.assert_host();
        // SAFETY: host memory, mapped and readable; any bits are a valid number.
        unsafe { std::slice::from_raw_parts(self.range.pointer(), self.capacity()) }
    }

    /// The elements.
    ///
    /// # Panics
    /// They are in the memory of a CUDA device.
    pub fn host_mut(&mut self) -> &mut [T] {
        self.range.assert_host();
        // SAFETY: as in `host`, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.range.pointer(), self.capacity()) }
    }

    /// The elements, for the CPU form of an operation that reads.
    ///
    /// # Errors
    /// They are on another device.
    pub(crate) fn on_cpu(&self) -> Result<&[T]> {
        self.on(&Stream::default())?;
        Ok(self.host())
    }

    /// The elements, for the CPU form of an operation that writes.
    ///
    /// # Errors
    /// They are on another device.
    pub(crate) fn on_cpu_mut(&mut self) -> Result<&mut [T]> {
        self.on(&Stream::default())?;
        Ok(self.host_mut())
    }

    /// The first element, for a kernel on `stream`. What works on it must be done before this is dropped.
    ///
    /// # Errors
    /// The elements are on another device.
    pub(crate) fn on(&self, stream: &Stream) -> Result<*mut T> {
        stream.write("rows", self.range.device, self.range.order.as_ref())?;
        Ok(self.range.pointer())
    }
}

impl Range {
    fn reserve(stream: &Stream) -> Result<Self> {
        let empty = |base, reserved, granularity| Self {
            device: stream.device(),
            order: stream.order(),
            base,
            reserved,
            mapped: 0,
            granularity,
            pieces: Vec::new(),
        };
        let mut bytes = RESERVED_BYTES;
        loop {
            let reserved = match stream.device() {
                Device::Cuda(ordinal) => {
                    cuda::context(ordinal)?.bind_to_thread().map_err(cuda::driver("use the device"))?;
                    reserve_device(ordinal, bytes).map(|(base, granularity)| empty(base, bytes, granularity))
                }
                // Half a megabyte: growth is rare, and small tables stay small.
                _ => reserve_host(bytes).map(|base| empty(base, bytes, 1 << 19)),
            };
            // A system may not have as many addresses to give.
            bytes /= 2;
            match reserved {
                Err(_) if bytes >= 1 << 30 => {}
                reserved => return reserved,
            }
        }
    }

    fn map(&mut self, bytes: usize) -> Result<()> {
        let more = bytes - self.mapped;
        let at = self.base + self.mapped;
        match self.device {
            Device::Cuda(ordinal) => {
                let context = cuda::context(ordinal)?;
                context.bind_to_thread().map_err(cuda::driver("use the device"))?;
                let piece = map_device(ordinal, at, more).or_else(|_| {
                    // Memory that is kept for later is no use to the driver.
                    cuda::give_back_memory(&context).map_err(|error| error.to_string())?;
                    map_device(ordinal, at, more)
                });
                let piece = piece.map_err(|what| self.failed(bytes, &what))?;
                self.pieces.push((piece, more));
            }
            // SAFETY: the addresses are reserved and ours.
            _ => {
                if unsafe { libc::mprotect(at as *mut _, more, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
                    return Err(self.failed(bytes, &std::io::Error::last_os_error().to_string()));
                }
            }
        }
        self.mapped = bytes;
        Ok(())
    }

    fn failed(&self, bytes: usize, what: &str) -> Error {
        Error::Device {
            device: self.device.to_string(),
            what: format!("no memory for {bytes} bytes of rows: {what}"),
        }
    }

    fn pointer<T>(&self) -> *mut T {
        ptr::with_exposed_provenance_mut(self.base)
    }

    fn assert_host(&self) {
        assert!(!matches!(self.device, Device::Cuda(_)), "the rows are on a CUDA device");
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        match self.device {
            Device::Cuda(ordinal) => {
                let Ok(context) = cuda::context(ordinal) else { return };
                // Work that uses the memory may still be on its way.
                let Ok(_paused) = recording::pause() else { return };
                if context.bind_to_thread().is_err() || context.synchronize().is_err() {
                    return;
                }
                let mut at = self.base as u64;
                for &(piece, bytes) in &self.pieces {
                    // SAFETY: mapped by `map_device`, and not in use.
                    unsafe {
                        _ = sys::cuMemUnmap(at, bytes);
                        _ = sys::cuMemRelease(piece);
                    }
                    at += bytes as u64;
                }
                // SAFETY: reserved by `reserve_device`, and nothing is mapped any more.
                _ = unsafe { sys::cuMemAddressFree(self.base as u64, self.reserved) };
            }
            // SAFETY: mapped by `reserve_host`.
            _ => _ = unsafe { libc::munmap(self.base as *mut _, self.reserved) },
        }
    }
}

fn reserve_host(bytes: usize) -> Result<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: new addresses, without access yet.
    let base = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        let what = format!("no {bytes} bytes of addresses: {}", std::io::Error::last_os_error());
        return Err(Error::Device { device: "cpu".into(), what });
    }
    Ok(base.expose_provenance())
}

fn location(ordinal: usize) -> CUmemLocation {
    CUmemLocation { type_: CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id: ordinal as i32 }
}

fn properties(ordinal: usize) -> CUmemAllocationProp {
    CUmemAllocationProp {
        type_: CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
        location: location(ordinal),
        win32HandleMetaData: ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

/// Reserves addresses; returns the first, and the smallest piece that can be mapped there.
fn reserve_device(ordinal: usize, bytes: usize) -> Result<(usize, usize)> {
    let (mut base, mut granularity) = (0, 0);
    let recommended = CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_RECOMMENDED;
    // SAFETY: the arguments are as CUDA's documentation of virtual memory wants them.
    unsafe {
        sys::cuMemGetAllocationGranularity(&mut granularity, &properties(ordinal), recommended)
            .result()
            .map_err(cuda::driver("ask for the granularity of memory"))?;
        sys::cuMemAddressReserve(&mut base, bytes, 0, 0, 0)
            .result()
            .map_err(cuda::driver("reserve addresses"))?;
    }
    Ok((base as usize, granularity.max(1)))
}

/// Puts `bytes` of memory of the device at reserved addresses.
fn map_device(ordinal: usize, at: usize, bytes: usize) -> Result<CUmemGenericAllocationHandle, String> {
    let access = CUmemAccessDesc {
        location: location(ordinal),
        flags: CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
    };
    let mut piece = 0;
    // SAFETY: the addresses are reserved and free; what fails is undone.
    unsafe {
        sys::cuMemCreate(&mut piece, bytes, &properties(ordinal), 0).result().map_err(|e| e.to_string())?;
        let mapped = sys::cuMemMap(at as u64, bytes, 0, piece, 0).result();
        let mapped = mapped.and_then(|()| {
            let usable = sys::cuMemSetAccess(at as u64, bytes, &access, 1).result();
            usable.inspect_err(|_| _ = sys::cuMemUnmap(at as u64, bytes))
        });
        mapped.map_err(|error| {
            _ = sys::cuMemRelease(piece);
            error.to_string()
        })?;
    }
    Ok(piece)
}
