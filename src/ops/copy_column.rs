//! A dense column into a matrix of rows that hold several columns side by side, as f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::ops::unfit::Word;
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

/// Writes the column to `out` at `place`; `unfit` remembers the first row with a value that is not
/// finite.
pub fn forward(
    column: Column<'_>,
    width: usize,
    out: &mut Buffer<f32>,
    place: Place,
    mut unfit: Word<'_>,
    stream: &Stream,
) -> Result<()> {
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
        Device::Cpu => {
            let (out, unfit) = (out.on_cpu_mut()?, unfit.on_cpu_mut()?);
            match column {
                Column::F32(v) => cpu::copy_column::forward(v.on_cpu()?, width, out, place, unfit, |v| v),
                Column::F64(v) => {
                    cpu::copy_column::forward(v.on_cpu()?, width, out, place, unfit, |v| v as f32)
                }
                Column::I64(v) => {
                    cpu::copy_column::forward(v.on_cpu()?, width, out, place, unfit, |v| v as f32)
                }
            }
            Ok(())
        }
        _ => {
            let (rows, width, (first, stride)) = ((values / width) as i64, width as i64, place.raw());
            let (out, unfit) = (out.on_mut(stream)?, unfit.on_mut(stream)?);
            match column {
                Column::F32(v) => {
                    let v = v.on(stream)?;
                    launch!(stream, recis_copy_column_f32(v, rows, width, out, first, stride, unfit))
                }
                Column::F64(v) => {
                    let v = v.on(stream)?;
                    launch!(stream, recis_copy_column_f64(v, rows, width, out, first, stride, unfit))
                }
                Column::I64(v) => {
                    let v = v.on(stream)?;
                    launch!(stream, recis_copy_column_i64(v, rows, width, out, first, stride, unfit))
                }
            }
        }
    }
}
