//! What a batch's lookup in a table gives: the embeddings of the distinct rows, and which of them
//! each id means.

use crate::Result;
use crate::device::{Buffer, Device};
use crate::error::ensure;
use crate::ops::{check_offsets, cpu};

/// One feature's ids after their lookup, in segments.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// Embeddings of distinct rows, [unique, dim].
    pub embeddings: &'a Buffer<f32>,
    /// For each id of the batch's table, its place in `embeddings`.
    pub inverse: &'a Buffer<u32>,
    /// Where this feature's ids begin in `inverse`.
    pub first_id: usize,
    /// Where each segment's ids begin and end, counted from `first_id`; one entry more than there
    /// are segments, ascending from 0.
    pub offsets: &'a Buffer<i32>,
    /// Values an embedding.
    pub dim: usize,
}

impl<'a> Lookup<'a> {
    /// The number of segments.
    pub fn segments(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        let Self { embeddings, inverse, first_id, dim, .. } = *self;
        ensure(dim > 0 && embeddings.len().is_multiple_of(dim), op, || {
            format!("{} embedding values for dim {dim}", embeddings.len())
        })?;
        check_offsets(op, self.offsets, inverse.len().saturating_sub(first_id))?;
        let unique = embeddings.len() / dim;
        match inverse.device() {
            Device::Cpu => {
                let outside = cpu::lookup::bound(self.host().inverse) > unique;
                ensure(!outside, op, || format!("an id points outside the {unique} embeddings"))
            }
        }
    }

    pub(crate) fn host(&self) -> cpu::lookup::Lookup<'a> {
        let offsets = self.offsets.host();
        let ids = offsets.last().copied().unwrap_or(0) as usize;
        cpu::lookup::Lookup {
            embeddings: self.embeddings.host(),
            inverse: &self.inverse.host()[self.first_id..self.first_id + ids],
            offsets,
            dim: self.dim,
        }
    }
}

/// Where a feature's values go in a matrix of rows that hold several features side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The feature's first column.
    pub first_column: usize,
    /// Columns a row of the matrix.
    pub stride: usize,
}

impl Place {
    pub(crate) fn check(self, op: &'static str, rows: usize, width: usize, len: usize) -> Result<()> {
        let fits = self.first_column + width <= self.stride && len == rows * self.stride;
        ensure(fits, op, || format!("{rows} rows of {width} values do not fit {len} values at {self:?}"))
    }
}
