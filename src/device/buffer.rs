use super::{Device, Stream};
use crate::Result;

/// What a [`Buffer`] may hold: plain numbers.
pub trait Element: bytemuck::Pod + Send + Sync + PartialEq + std::fmt::Debug {}
impl<T: bytemuck::Pod + Send + Sync + PartialEq + std::fmt::Debug> Element for T {}

/// A contiguous array of numbers in the memory of one device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buffer<T> {
    data: Vec<T>,
}

impl<T: Element> Buffer<T> {
    /// `len` zeros in the memory of the stream's device.
    pub fn zeros(len: usize, stream: &Stream) -> Result<Self> {
        match stream.device() {
            Device::Cpu => Ok(Self { data: vec![T::zeroed(); len] }),
        }
    }

    /// `values`, moved (host) or copied (elsewhere) to the stream's device.
    pub fn from_vec(values: Vec<T>, stream: &Stream) -> Result<Self> {
        match stream.device() {
            Device::Cpu => Ok(Self { data: values }),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The device whose memory holds the elements.
    pub fn device(&self) -> Device {
        Device::Cpu
    }

    /// A copy of the elements on the host, complete when the call returns.
    pub fn to_vec(&self, _stream: &Stream) -> Result<Vec<T>> {
        Ok(self.data.clone())
    }

    /// Sets the length to `len`, keeping the memory; what new elements hold is unspecified.
    pub fn resize(&mut self, len: usize, _stream: &Stream) -> Result<()> {
        self.data.resize(len, T::zeroed());
        Ok(())
    }

    /// The elements, for the CPU form of an operation.
    pub fn host(&self) -> &[T] {
        &self.data
    }

    /// The elements, for the CPU form of an operation.
    pub fn host_mut(&mut self) -> &mut [T] {
        &mut self.data
    }
}

impl<T: Element> From<Vec<T>> for Buffer<T> {
    /// A buffer in host memory.
    fn from(data: Vec<T>) -> Self {
        Self { data }
    }
}
