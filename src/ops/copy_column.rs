//! A dense column into a matrix of rows that hold several columns side by side, as f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Result, ops::cpu};

pub use super::lookup::Place;

/// The numbers of a column, `[rows, width]`.
#[derive(Clone, Copy)]
pub enum Column<'a> {
    /// Copied as they are.
    F32(&'a Buffer<f32>),
    /// Rounded to the nearest f32.
    F64(&'a Buffer<f64>),
    /// Rounded to the nearest f32.
    I64(&'a Buffer<i64>),
}

/// A value that is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotFinite {
    /// Its row.
    pub row: usize,
    /// The value, as f32.
    pub value: f32,
}

/// Writes the column to `out` at `place`, and tells of the first value that is not finite.
pub fn forward(
    column: Column<'_>,
    width: usize,
    out: &mut Buffer<f32>,
    place: Place,
    stream: &Stream,
) -> Result<Option<NotFinite>> {
    let values = match column {
        Column::F32(values) => values.len(),
        Column::F64(values) => values.len(),
        Column::I64(values) => values.len(),
    };
    ensure(width > 0 && values.is_multiple_of(width), "copy_column", || {
        format!("{values} values are not rows of {width}")
    })?;
    place.check("copy_column", values / width, width, out.len())?;
    match stream.device() {
        Device::Cpu => Ok(match column {
            Column::F32(v) => cpu::copy_column::forward(v.host(), width, out.host_mut(), place, |v| v),
            Column::F64(v) => cpu::copy_column::forward(v.host(), width, out.host_mut(), place, |v| v as f32),
            Column::I64(v) => cpu::copy_column::forward(v.host(), width, out.host_mut(), place, |v| v as f32),
        }),
    }
}
