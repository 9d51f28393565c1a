//! Rows, and rows of lists, cut to a length (SPEC 2.5).

use std::num::NonZeroU64;

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::{recis_ragged, recis_side};
use crate::ops::check_offsets;
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::{Result, ops::cpu};

/// Which end of a row is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The last values are kept: it is cut on the left.
    Left,
    /// The first values are kept: it is cut on the right.
    Right,
}

/// One column to cut.
pub struct Column<'a> {
    /// The values.
    pub values: &'a Buffer<i64>,
    /// Where each row begins and ends: one entry more than there are rows, ascending from 0.
    pub offsets: &'a Buffer<i32>,
    /// One weight a value, cut alike.
    pub weights: Option<&'a Buffer<f32>>,
    /// The most values a row keeps.
    pub keep: usize,
    /// Where it is cut.
    pub side: Side,
    /// If remainders of the values are wanted, as [`modulo`](super::modulo) makes them: the modulus.
    pub modulus: Option<NonZeroU64>,
}

/// A column that has been cut; there may be room for more values than it has.
#[derive(Debug, PartialEq)]
pub struct Truncated {
    /// What is left of the values.
    pub values: Buffer<i64>,
    /// Where each row begins and ends.
    pub offsets: Buffer<i32>,
    /// What is left of the weights.
    pub weights: Option<Buffer<f32>>,
}

/// Cuts the rows of every column; shorter ones stay as they are.
pub fn forward(columns: &[Column<'_>], stream: &Stream) -> Result<Vec<Truncated>> {
    for c in columns {
        check_offsets("truncate", c.offsets, c.values.len())?;
        ensure(c.weights.is_none_or(|w| w.len() == c.values.len()), "truncate", || {
            format!("{} weights for {} values", c.weights.map_or(0, Buffer::len), c.values.len())
        })?;
    }
    columns.iter().map(|column| truncate(column, stream)).collect()
}

fn truncate(c: &Column<'_>, stream: &Stream) -> Result<Truncated> {
    match stream.device() {
        Device::Cpu => {
            let (from, weights) = (c.offsets.on_cpu()?, c.weights.map(Buffer::on_cpu).transpose()?);
            let to = cpu::truncate::offsets(from, c.keep);
            let mut values = cpu::truncate::copy(c.values.on_cpu()?, from, &to, c.side);
            if let Some(modulus) = c.modulus {
                cpu::modulo::in_place(&mut values, modulus.get());
            }
            Ok(Truncated {
                values: values.into(),
                weights: weights.map(|w| cpu::truncate::copy(w, from, &to, c.side).into()),
                offsets: to.into(),
            })
        }
        _ => {
            let rows = c.offsets.len() - 1;
            let capacity = c.values.len().min(rows.saturating_mul(c.keep));
            let mut scratch = workspace!(stream, recis_truncate_workspace_size(rows as i64))?;
            let mut cut = Truncated::unset(capacity, rows, c.weights.is_some(), stream)?;
            let column = ragged(c.values, c.offsets, c.weights, stream)?;
            let (keep, side) = (i64::try_from(c.keep).unwrap_or(i64::MAX), c.side.raw());
            let modulus = c.modulus.map_or(0, NonZeroU64::get);
            let (values, offsets, weights) = cut.on_mut(stream)?;
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_truncate_forward(
                    &column,
                    keep,
                    side,
                    modulus,
                    values,
                    offsets,
                    weights,
                    capacity as i64,
                    scratch,
                    bytes
                )
            )?;
            Ok(cut)
        }
    }
}

impl Side {
    fn raw(self) -> recis_side {
        match self {
            Self::Left => recis_side::RECIS_LEFT,
            Self::Right => recis_side::RECIS_RIGHT,
        }
    }
}

/// One column of rows of lists to cut.
pub struct Lists<'a> {
    /// The values.
    pub values: &'a Buffer<i64>,
    /// Where each list begins and ends: one entry more than there are lists, ascending from 0.
    pub offsets: &'a Buffer<i32>,
    /// Where each row's lists begin and end: one entry more than there are rows, ascending from 0.
    pub row_offsets: &'a Buffer<i32>,
    /// One weight a value, cut alike.
    pub weights: Option<&'a Buffer<f32>>,
    /// How many lists a row has afterwards.
    pub keep: usize,
    /// Where it is cut.
    pub side: Side,
}

/// Cuts the rows of every column to exactly `keep` lists each: empty ones are appended where there are
/// fewer. The offsets of the result are those of the lists.
///
/// # Errors
/// Sizes that do not fit together, and more than 2^31 - 2 lists.
pub fn lists(columns: &[Lists<'_>], stream: &Stream) -> Result<Vec<Truncated>> {
    for c in columns {
        check_offsets("truncate", c.offsets, c.values.len())?;
        check_offsets("truncate", c.row_offsets, c.offsets.len() - 1)?;
        ensure(c.weights.is_none_or(|w| w.len() == c.values.len()), "truncate", || {
            format!("{} weights for {} values", c.weights.map_or(0, Buffer::len), c.values.len())
        })?;
        let rows = c.row_offsets.len() - 1;
        ensure(rows.checked_mul(c.keep).is_some_and(|n| n < i32::MAX as usize), "truncate", || {
            format!("{rows} rows of {} lists are above 2^31 - 2", c.keep)
        })?;
    }
    columns.iter().map(|column| truncate_lists(column, stream)).collect()
}

fn truncate_lists(c: &Lists<'_>, stream: &Stream) -> Result<Truncated> {
    match stream.device() {
        Device::Cpu => {
            let weights = c.weights.map(Buffer::on_cpu).transpose()?;
            let kept = cpu::truncate::lists(c.offsets.on_cpu()?, c.row_offsets.on_cpu()?, c.keep, c.side);
            Ok(Truncated {
                values: cpu::truncate::copy_lists(c.values.on_cpu()?, &kept).into(),
                offsets: cpu::truncate::lists_offsets(&kept).into(),
                weights: weights.map(|w| cpu::truncate::copy_lists(w, &kept).into()),
            })
        }
        _ => {
            let (rows, keep, side) = (c.row_offsets.len() as i64 - 1, c.keep as i64, c.side.raw());
            let capacity = c.values.len();
            let mut scratch = workspace!(stream, recis_truncate_lists_workspace_size(rows, keep))?;
            let mut cut = Truncated::unset(capacity, rows as usize * c.keep, c.weights.is_some(), stream)?;
            let lists = ragged(c.values, c.offsets, c.weights, stream)?;
            let row_offsets = c.row_offsets.on(stream)?;
            let (values, offsets, weights) = cut.on_mut(stream)?;
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_truncate_lists(
                    &lists,
                    row_offsets,
                    rows,
                    keep,
                    side,
                    values,
                    offsets,
                    weights,
                    capacity as i64,
                    scratch,
                    bytes
                )
            )?;
            Ok(cut)
        }
    }
}

impl Truncated {
    /// Room for `capacity` values in `rows` rows.
    fn unset(capacity: usize, rows: usize, weighted: bool, stream: &Stream) -> Result<Self> {
        Ok(Self {
            values: Buffer::unset(capacity, stream)?,
            offsets: Buffer::unset(rows + 1, stream)?,
            weights: weighted.then(|| Buffer::unset(capacity, stream)).transpose()?,
        })
    }

    fn on_mut(&mut self, stream: &Stream) -> Result<(*mut i64, *mut i32, *mut f32)> {
        let weights = self.weights.as_mut().map_or(Ok(std::ptr::null_mut()), |w| w.on_mut(stream))?;
        Ok((self.values.on_mut(stream)?, self.offsets.on_mut(stream)?, weights))
    }
}

/// A ragged column as kernels take it.
fn ragged(
    values: &Buffer<i64>,
    offsets: &Buffer<i32>,
    weights: Option<&Buffer<f32>>,
    stream: &Stream,
) -> Result<recis_ragged> {
    Ok(recis_ragged {
        values: values.on(stream)?,
        offsets: offsets.on(stream)?,
        weights: weights.map_or(Ok(std::ptr::null()), |weights| weights.on(stream))?,
        rows: offsets.len() as i64 - 1,
        capacity: values.len() as i64,
    })
}
