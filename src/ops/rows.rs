//! The storage of a table's rows, and moving rows in and out of it. f32.
//!
//! A row holds its slots side by side, [embedding | exp_avg | exp_avg_sq]: an update then touches
//! one place in memory instead of three. Rows live in blocks that never move, so growth copies
//! nothing.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::hash_table::NO_ROW;
use crate::{Result, ops::cpu};

/// Rows a block; RecIS's `block_size`.
pub const BLOCK_ROWS: usize = 10240;

/// Rows of `slots` × `dim` values.
pub struct Rows {
    pub(crate) dim: usize,
    pub(crate) slots: usize,
    pub(crate) blocks: Vec<Buffer<f32>>,
}

impl Rows {
    /// Storage without rows.
    pub fn new(dim: usize, slots: usize) -> Result<Self> {
        ensure(dim > 0 && slots > 0, "rows", || {
            format!("rows of {slots} slots of {dim} values hold nothing")
        })?;
        Ok(Self { dim, slots, blocks: Vec::new() })
    }

    /// Values a slot.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Slots a row.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The number of rows there is memory for.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK_ROWS
    }

    /// Makes room for rows below `bound`; what new rows hold is unspecified.
    pub fn reserve(&mut self, bound: usize, stream: &Stream) -> Result<()> {
        while self.capacity() < bound {
            self.blocks.push(Buffer::zeros(BLOCK_ROWS * self.slots * self.dim, stream)?);
        }
        Ok(())
    }

    pub(crate) fn check(&self, rows: &Buffer<u32>, values: usize) -> Result<()> {
        ensure(values == rows.len() * self.dim, "rows", || {
            format!("{values} values for {} rows of {}", rows.len(), self.dim)
        })?;
        match rows.device() {
            Device::Cpu => {
                let outside = rows.host().iter().find(|&&r| r != NO_ROW && r as usize >= self.capacity());
                ensure(outside.is_none(), "rows", || {
                    format!("row {} of {}", outside.copied().unwrap_or_default(), self.capacity())
                })
            }
        }
    }
}

/// Copies a slot of each row to `out` [rows, dim]; zeros for [`NO_ROW`].
pub fn gather(
    storage: &Rows,
    slot: usize,
    rows: &Buffer<u32>,
    out: &mut Buffer<f32>,
    stream: &Stream,
) -> Result<()> {
    storage.check(rows, out.len())?;
    ensure(slot < storage.slots, "rows", || format!("slot {slot} of {}", storage.slots))?;
    match stream.device() {
        Device::Cpu => {
            let blocks: Vec<&[f32]> = storage.blocks.iter().map(Buffer::host).collect();
            let layout = cpu::rows::Layout { dim: storage.dim, slots: storage.slots };
            cpu::rows::gather(&blocks, layout, slot, rows.host(), out.host_mut());
        }
    }
    Ok(())
}

/// Writes `values` [rows, dim] to a slot of each row; [`NO_ROW`] is passed over. Rows must differ.
pub fn scatter(
    storage: &mut Rows,
    slot: usize,
    rows: &Buffer<u32>,
    values: &Buffer<f32>,
    stream: &Stream,
) -> Result<()> {
    storage.check(rows, values.len())?;
    ensure(slot < storage.slots, "rows", || format!("slot {slot} of {}", storage.slots))?;
    match stream.device() {
        Device::Cpu => {
            let layout = cpu::rows::Layout { dim: storage.dim, slots: storage.slots };
            let mut blocks: Vec<&mut [f32]> = storage.blocks.iter_mut().map(Buffer::host_mut).collect();
            cpu::rows::scatter(&mut blocks, layout, slot, rows.host(), values.host());
        }
    }
    Ok(())
}
