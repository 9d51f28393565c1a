//! What a batch's lookup in a table gives: the embeddings of the distinct rows, and which of them
//! each id means.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::{recis_lookup, recis_occurrences};
use crate::ops::{check_offsets, cpu};
use crate::{Error, Result};

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
    /// How many ids the feature has at most; where `offsets` end is how many.
    pub ids: usize,
    /// Values an embedding.
    pub dim: usize,
    /// Where each distinct id occurs: what the backward pass of a combination needs on a device.
    pub occurrences: Option<Occurrences<'a>>,
    /// Which embeddings are the feature's table's, if others are among them.
    pub range: Option<TableRange<'a>>,
}

/// The places of a logical table's ids among the distinct ids of a batch.
#[derive(Clone, Copy)]
pub struct TableRange<'a> {
    /// Where the places of each logical table begin; one entry more than there are tables.
    pub table_offsets: &'a Buffer<u32>,
    /// The table.
    pub table: usize,
}

/// The positions of each distinct id of a batch, as [`crate::ops::partition_ids`] finds them.
#[derive(Clone, Copy)]
pub struct Occurrences<'a> {
    /// The positions that hold an id, by the place of the id.
    pub positions: &'a Buffer<u32>,
    /// Where the positions of each place begin; one entry more than there are places.
    pub starts: &'a Buffer<u32>,
    /// All positions below it that hold an id are among them.
    pub listed: usize,
    /// Where the places of each logical table begin; one entry more than there are tables.
    pub table_offsets: &'a Buffer<u32>,
    /// The feature's logical table.
    pub table: usize,
}

impl<'a> Lookup<'a> {
    /// The number of segments.
    pub fn segments(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        let Self { embeddings, inverse, first_id, ids, dim, .. } = *self;
        ensure(dim > 0 && embeddings.len().is_multiple_of(dim), op, || {
            format!("{} embedding values for dim {dim}", embeddings.len())
        })?;
        ensure(first_id.checked_add(ids).is_some_and(|end| end <= inverse.len()), op, || {
            format!("ids {first_id}.. ({ids} of them) of {}", inverse.len())
        })?;
        check_offsets(op, self.offsets, ids)?;
        let unique = embeddings.len() / dim;
        if inverse.device() != Device::Cpu {
            // Kernels pass over what points outside.
            return Ok(());
        }
        let outside = cpu::lookup::bound(self.host()?.inverse) > unique;
        ensure(!outside, op, || format!("an id points outside the {unique} embeddings"))
    }

    /// The lookup as kernels take it.
    pub(crate) fn raw(&self, stream: &Stream) -> Result<recis_lookup> {
        Ok(recis_lookup { embeddings: self.embeddings.on(stream)?, ..self.raw_without_embeddings(stream)? })
    }

    /// For kernels that do not read the embeddings, and need not wait for them.
    pub(crate) fn raw_without_embeddings(&self, stream: &Stream) -> Result<recis_lookup> {
        Ok(recis_lookup {
            embeddings: self.embeddings.address(stream)?,
            inverse: self.inverse.on(stream)?,
            offsets: self.offsets.on(stream)?,
            unique: (self.embeddings.len() / self.dim) as i64,
            dim: self.dim as i64,
            first_id: self.first_id as i64,
            capacity: self.ids as i64,
            segments: self.segments() as i64,
        })
    }

    /// Where the range is, as kernels take it; null for all embeddings.
    pub(crate) fn raw_range(&self, op: &'static str, stream: &Stream) -> Result<*const u32> {
        let Some(TableRange { table_offsets, table }) = self.range else { return Ok(std::ptr::null()) };
        ensure(table < table_offsets.len().saturating_sub(1), op, || {
            format!("table {table} of {}", table_offsets.len().saturating_sub(1))
        })?;
        Ok(table_offsets.on(stream)?.wrapping_add(table))
    }

    /// The occurrences as kernels take them.
    pub(crate) fn raw_occurrences(&self, op: &'static str, stream: &Stream) -> Result<recis_occurrences> {
        let needed = || Error::shape(op, "the backward pass on a device needs the ids' occurrences");
        let Occurrences { positions, starts, listed, table_offsets, table } =
            self.occurrences.ok_or_else(needed)?;
        if self.first_id.saturating_add(self.ids) > listed {
            return Err(needed());
        }
        let fits = starts.len() > positions.len() && positions.len() == self.inverse.len();
        ensure(fits && table < table_offsets.len().saturating_sub(1), op, || {
            format!(
                "{} positions and {} starts for {} ids",
                positions.len(),
                starts.len(),
                self.inverse.len()
            )
        })?;
        Ok(recis_occurrences {
            positions: positions.on(stream)?,
            starts: starts.on(stream)?,
            table_offsets: table_offsets.on(stream)?,
            total: positions.len() as i64,
            table: table as u32,
        })
    }

    pub(crate) fn host(&self) -> Result<cpu::lookup::Lookup<'a>> {
        let offsets = self.offsets.on_cpu()?;
        let ids = offsets.last().copied().unwrap_or(0) as usize;
        Ok(cpu::lookup::Lookup {
            embeddings: self.embeddings.on_cpu()?,
            inverse: &self.inverse.on_cpu()?[self.first_id..self.first_id + ids],
            offsets,
            dim: self.dim,
        })
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
    /// The first column and the stride, as kernels take them.
    pub(crate) fn raw(self) -> (i64, i64) {
        (self.first_column as i64, self.stride as i64)
    }

    pub(crate) fn check(self, op: &'static str, rows: usize, width: usize, len: usize) -> Result<()> {
        let fits =
            self.first_column.saturating_add(width) <= self.stride && len == rows.saturating_mul(self.stride);
        ensure(fits, op, || format!("{rows} rows of {width} values do not fit {len} values at {self:?}"))
    }
}
