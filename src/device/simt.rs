//! Host memory between guard pages, for the kernels that run on the host.

use crate::ffi::simt::{recis_simt_allocate, recis_simt_release};
use crate::{Error, Result};

pub struct Memory {
    address: usize,
    bytes: usize,
}

impl Memory {
    pub fn allocate(bytes: usize) -> Result<Self> {
        // SAFETY: it is a plain allocation.
        let pointer = unsafe { recis_simt_allocate(bytes) };
        if pointer.is_null() {
            return Err(Error::Device {
                device: "simt".into(),
                what: format!("no memory for {bytes} bytes"),
            });
        }
        Ok(Self { address: pointer.expose_provenance(), bytes })
    }

    pub fn pointer<T>(&self) -> *mut T {
        std::ptr::with_exposed_provenance_mut(self.address)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it came from recis_simt_allocate.
        unsafe { recis_simt_release(self.pointer()) }
    }
}
