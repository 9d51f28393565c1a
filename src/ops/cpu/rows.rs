//! Rows in and out of their storage.

use rayon::prelude::*;

use crate::ops::hash_table::NO_ROW;

/// Rows that one thread updates at a time.
const BLOCK_ROWS: usize = 1 << 10;

/// How a row is laid out: `slots` × `dim` values.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Values a slot.
    pub dim: usize,
    /// Slots a row.
    pub slots: usize,
}

impl Layout {
    fn stride(self) -> usize {
        self.slots * self.dim
    }
}

/// Copies a slot of each row to `out` [rows, dim]; zeros for [`NO_ROW`].
pub fn gather(storage: &[f32], layout: Layout, slot: usize, rows: &[u32], out: &mut [f32]) {
    let dim = layout.dim;
    out.par_chunks_exact_mut(dim).with_min_len(1 << 10).zip(rows).for_each(|(out, &row)| {
        if row == NO_ROW {
            out.fill(0.0);
        } else {
            out.copy_from_slice(&storage[row as usize * layout.stride() + slot * dim..][..dim]);
        }
    });
}

/// Writes `values` [rows, dim] to a slot of each row; [`NO_ROW`] is passed over.
pub fn scatter(storage: &mut [f32], layout: Layout, slot: usize, rows: &[u32], values: &[f32]) {
    let dim = layout.dim;
    for (&row, values) in rows.iter().zip(values.chunks_exact(dim)).filter(|(row, _)| **row != NO_ROW) {
        storage[row as usize * layout.stride() + slot * dim..][..dim].copy_from_slice(values);
    }
}

/// Calls `update(row, i)` for every `rows[i]`, `row` being its values; blocks in parallel. Rows
/// must differ, so that the order does not matter; [`NO_ROW`] is passed over.
pub fn for_each_row(
    storage: &mut [f32],
    layout: Layout,
    rows: &[u32],
    update: impl Fn(&mut [f32], usize) + Sync,
) {
    let stride = layout.stride();
    let used = rows.iter().filter(|&&row| row != NO_ROW).map(|&row| row as usize + 1).max().unwrap_or(0);
    let mut in_block: Vec<Vec<u32>> = vec![Vec::new(); used.div_ceil(BLOCK_ROWS)];
    for (i, &row) in rows.iter().enumerate().filter(|(_, row)| **row != NO_ROW) {
        in_block[row as usize / BLOCK_ROWS].push(i as u32);
    }
    let blocks = storage[..used * stride].par_chunks_mut(BLOCK_ROWS * stride);
    blocks.zip(in_block).for_each(|(block, indices)| {
        for i in indices {
            let first = rows[i as usize] as usize % BLOCK_ROWS * stride;
            update(&mut block[first..first + stride], i as usize);
        }
    });
}
