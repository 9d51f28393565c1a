//! The arrays that ranks exchange.

use crate::device::{Buffer, Element, Stream};
use crate::{Error, Result};

/// An array that is sent.
#[derive(Clone, Copy, Debug)]
pub enum Array<'a> {
    /// 32-bit floats.
    F32(&'a Buffer<f32>),
    /// 64-bit integers.
    I64(&'a Buffer<i64>),
    /// 64-bit integers without a sign.
    U64(&'a Buffer<u64>),
}

/// An array that is received.
#[derive(Debug)]
pub enum ArrayMut<'a> {
    /// 32-bit floats.
    F32(&'a mut Buffer<f32>),
    /// 64-bit integers.
    I64(&'a mut Buffer<i64>),
    /// 64-bit integers without a sign.
    U64(&'a mut Buffer<u64>),
}

/// What an array's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Dtype {
    /// f32
    F32,
    /// i64
    I64,
    /// u64
    U64,
}

impl Dtype {
    /// Bytes an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::I64 | Self::U64 => 8,
        }
    }
}

impl Array<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::U64(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::I64(_) => Dtype::I64,
            Self::U64(_) => Dtype::U64,
        }
    }

    /// The first `len` elements as bytes on the host.
    pub(super) fn to_bytes(self, len: usize, stream: &Stream) -> Result<Vec<u8>> {
        match self {
            Self::F32(values) => bytes(values, len, stream),
            Self::I64(values) => bytes(values, len, stream),
            Self::U64(values) => bytes(values, len, stream),
        }
    }
}

impl ArrayMut<'_> {
    pub(super) fn dtype(&self) -> Dtype {
        self.as_array().dtype()
    }

    pub(super) fn as_array(&self) -> Array<'_> {
        match self {
            Self::F32(values) => Array::F32(values),
            Self::I64(values) => Array::I64(values),
            Self::U64(values) => Array::U64(values),
        }
    }

    /// Takes over elements, as many as there are bytes for.
    pub(super) fn set_bytes(self, bytes: &[u8], stream: &Stream) -> Result<()> {
        match self {
            Self::F32(values) => set(values, bytes, stream),
            Self::I64(values) => set(values, bytes, stream),
            Self::U64(values) => set(values, bytes, stream),
        }
    }
}

fn bytes<T: Element>(values: &Buffer<T>, len: usize, stream: &Stream) -> Result<Vec<u8>> {
    let values = values.to_vec(stream)?;
    let values = values.get(..len).ok_or_else(|| {
        Error::shape("exchange", format!("{len} elements are to be sent, there are {}", values.len()))
    })?;
    Ok(bytemuck::cast_slice(values).to_vec())
}

fn set<T: Element>(values: &mut Buffer<T>, bytes: &[u8], stream: &Stream) -> Result<()> {
    let elements = bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned);
    *values = Buffer::from_vec(elements.collect(), stream)?;
    Ok(())
}

macro_rules! from_buffer {
    ($($element:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a Buffer<$element>> for Array<'a> {
            fn from(values: &'a Buffer<$element>) -> Self {
                Self::$variant(values)
            }
        }

        impl<'a> From<&'a mut Buffer<$element>> for ArrayMut<'a> {
            fn from(values: &'a mut Buffer<$element>) -> Self {
                Self::$variant(values)
            }
        }
    )*};
}

from_buffer!(f32 => F32, i64 => I64, u64 => U64);
