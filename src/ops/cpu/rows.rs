//! Rows in and out of their storage.

use rayon::prelude::*;

use crate::ops::hash_table::NO_ROW;
use crate::ops::rows::BLOCK_ROWS;

/// How a row is laid out: `slots` × `dim` values.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Values a slot.
    pub dim: usize,
    /// Slots a row.
    pub slots: usize,
}

impl Layout {
    /// Where a row begins: its block, and the place within that.
    fn place(self, row: u32) -> (usize, usize) {
        let row = row as usize;
        (row / BLOCK_ROWS, row % BLOCK_ROWS * self.slots * self.dim)
    }
}

/// Copies a slot of each row to `out` [rows, dim]; zeros for [`NO_ROW`].
pub fn gather(blocks: &[&[f32]], layout: Layout, slot: usize, rows: &[u32], out: &mut [f32]) {
    let dim = layout.dim;
    out.par_chunks_exact_mut(dim).with_min_len(1 << 10).zip(rows).for_each(|(out, &row)| {
        if row == NO_ROW {
            out.fill(0.0);
        } else {
            let (block, first) = layout.place(row);
            out.copy_from_slice(&blocks[block][first + slot * dim..][..dim]);
        }
    });
}

/// Writes `values` [rows, dim] to a slot of each row; [`NO_ROW`] is passed over.
pub fn scatter(blocks: &mut [&mut [f32]], layout: Layout, slot: usize, rows: &[u32], values: &[f32]) {
    let dim = layout.dim;
    for (&row, values) in rows.iter().zip(values.chunks_exact(dim)).filter(|(row, _)| **row != NO_ROW) {
        let (block, first) = layout.place(row);
        blocks[block][first + slot * dim..][..dim].copy_from_slice(values);
    }
}

/// Calls `update(row, i)` for every `rows[i]`, `row` being its values; blocks in parallel. Rows
/// must differ, so that the order does not matter; [`NO_ROW`] is passed over.
pub fn for_each_row(
    blocks: &mut [&mut [f32]],
    layout: Layout,
    rows: &[u32],
    update: impl Fn(&mut [f32], usize) + Sync,
) {
    let stride = layout.slots * layout.dim;
    let mut in_block: Vec<Vec<u32>> = vec![Vec::new(); blocks.len()];
    for (i, &row) in rows.iter().enumerate().filter(|(_, row)| **row != NO_ROW) {
        in_block[layout.place(row).0].push(i as u32);
    }
    blocks.par_iter_mut().zip(in_block).for_each(|(block, indices)| {
        for i in indices {
            let (_, first) = layout.place(rows[i as usize]);
            update(&mut block[first..first + stride], i as usize);
        }
    });
}
