//! A fully connected layer whose input is a concatenation of dense columns and tiled embeddings.
//! The tiles are gathered in cache-sized blocks right before each product: the input (131 MB for
//! the document's model) is never written, and padding is never multiplied.

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Mat, MatMut, gemm};
use super::linear::ROW_BLOCK;
use super::lookup::{Lookup, Sums};
use crate::ops::linear::Size;

/// Columns gathered at once: 128 rows of them stay in the L2 cache.
const COLUMN_BLOCK: usize = 256;

/// Columns that are materialised: `x` is [rows, width] and meets the weight's columns from
/// `first_column`.
#[derive(Clone, Copy)]
pub struct Dense<'a> {
    /// [rows, width].
    pub x: &'a [f32],
    /// Values a row.
    pub width: usize,
    /// Where they begin in the layer's input.
    pub first_column: usize,
}

/// A tiled feature: position `k` of a row takes the columns from `first_column + k * dim`.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    /// The feature after its lookup; a segment is a row.
    pub lookup: Lookup<'a>,
    /// Positions a row; ids beyond are dropped from the right.
    pub tile_len: usize,
    /// Where the first position begins in the layer's input.
    pub first_column: usize,
}

impl Tile<'_> {
    fn len(&self, row: usize) -> usize {
        self.lookup.segment(row).len().min(self.tile_len)
    }

    /// The rows by descending length, and the lengths in that order: those that reach a position
    /// are then a prefix.
    fn sorted(&self, rows: usize) -> Sorted {
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(self.len(row as usize)));
        let lens = order.iter().map(|&row| self.len(row as usize)).collect();
        Sorted { order, lens }
    }

    /// Positions whose columns are gathered together.
    fn block_len(&self) -> usize {
        (COLUMN_BLOCK / self.lookup.dim).max(1)
    }

    /// The blocks of positions up to `len`.
    fn blocks(&self, len: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let step = self.block_len();
        (0..len).step_by(step).map(move |first| first..len.min(first + step))
    }

    /// The weight's columns for some positions.
    fn columns(&self, positions: &Range<usize>) -> Range<usize> {
        self.first_column + positions.start * self.lookup.dim
            ..self.first_column + positions.end * self.lookup.dim
    }

    /// Writes the embeddings of some positions of some rows, [rows, positions, dim], zero where a
    /// row has ended.
    fn gather(&self, rows: &[u32], lens: &[usize], positions: &Range<usize>, out: &mut Vec<f32>) {
        out.resize(rows.len() * positions.len() * self.lookup.dim, 0.0);
        match self.lookup.dim {
            8 => self.gather_fixed::<8>(rows, lens, positions, out),
            16 => self.gather_fixed::<16>(rows, lens, positions, out),
            32 => self.gather_fixed::<32>(rows, lens, positions, out),
            64 => self.gather_fixed::<64>(rows, lens, positions, out),
            dim => {
                self.each_row(rows, lens, positions, out, |out, ids| {
                    for (out, &id) in out.chunks_exact_mut(dim).zip(ids) {
                        out.copy_from_slice(self.lookup.embedding(id));
                    }
                });
            }
        }
    }

    fn gather_fixed<const DIM: usize>(
        &self,
        rows: &[u32],
        lens: &[usize],
        positions: &Range<usize>,
        out: &mut [f32],
    ) {
        let (embeddings, _) = self.lookup.embeddings.as_chunks::<DIM>();
        self.each_row(rows, lens, positions, out, |out, ids| {
            let (out, _) = out.as_chunks_mut::<DIM>();
            out.iter_mut().zip(ids).for_each(|(out, &id)| *out = embeddings[id as usize]);
        });
    }

    /// Calls `write` with each row's valid part of `out` and the ids that belong there, and clears
    /// the rest.
    fn each_row(
        &self,
        rows: &[u32],
        lens: &[usize],
        positions: &Range<usize>,
        out: &mut [f32],
        write: impl Fn(&mut [f32], &[u32]),
    ) {
        let width = positions.len() * self.lookup.dim;
        for ((&row, &len), out) in rows.iter().zip(lens).zip(out.chunks_exact_mut(width)) {
            let ids = &self.lookup.segment(row as usize)[positions.start.min(len)..positions.end.min(len)];
            let (valid, padding) = out.split_at_mut(ids.len() * self.lookup.dim);
            write(valid, ids);
            padding.fill(0.0);
        }
    }

    /// Adds [rows, positions, dim] gradients to the rows' embeddings.
    fn scatter(
        &self,
        rows: &[u32],
        lens: &[usize],
        positions: &Range<usize>,
        gradients: &[f32],
        sums: &mut Sums<'_>,
    ) {
        let dim = self.lookup.dim;
        let width = positions.len() * dim;
        for ((&row, &len), gradients) in rows.iter().zip(lens).zip(gradients.chunks_exact(width)) {
            let ids = &self.lookup.segment(row as usize)[positions.start..positions.end.min(len)];
            for (&id, gradient) in ids.iter().zip(gradients.chunks_exact(dim)) {
                sums.add(id, gradient, 1.0);
            }
        }
    }
}

/// A feature's rows by descending length.
struct Sorted {
    order: Vec<u32>,
    lens: Vec<usize>,
}

impl Sorted {
    /// How many rows reach `position`.
    fn reaching(&self, position: usize) -> usize {
        self.lens.partition_point(|&len| len > position)
    }

    fn max_len(&self) -> usize {
        self.lens.first().copied().unwrap_or(0)
    }

    /// The rows of a [rows, width] matrix in this order.
    fn permute(&self, x: &[f32], width: usize) -> Vec<f32> {
        self.order.iter().flat_map(|&row| &x[row as usize * width..][..width]).copied().collect()
    }
}

/// `y = X Wᵀ + b`, X being the concatenation of the inputs.
pub fn forward(
    dense: &[Dense<'_>],
    tiles: &[Tile<'_>],
    weight: &[f32],
    bias: &[f32],
    y: &mut [f32],
    size: Size,
) {
    let Size { rows, inputs, outputs, .. } = size;
    let sorted: Vec<Sorted> = tiles.par_iter().map(|tile| tile.sorted(rows)).collect();
    let parts: Vec<Vec<f32>> = (tiles.par_iter().zip(&sorted))
        .map(|(tile, sorted)| {
            let mut part = vec![0.0; rows * outputs];
            let blocks = part.par_chunks_mut(ROW_BLOCK * outputs).zip(sorted.order.par_chunks(ROW_BLOCK));
            blocks.zip(sorted.lens.par_chunks(ROW_BLOCK)).for_each_init(
                Vec::new,
                |x, ((part, order), lens)| {
                    for positions in tile.blocks(lens[0]) {
                        let reaching = lens.partition_point(|&len| len > positions.start);
                        tile.gather(&order[..reaching], &lens[..reaching], &positions, x);
                        let width = positions.len() * tile.lookup.dim;
                        let weight = &weight[tile.columns(&positions).start..];
                        let weight = Mat::new(weight, outputs, width, inputs).t();
                        let part = MatMut::new(part, reaching, outputs, outputs);
                        gemm(part, Mat::new(x, reaching, width, width), weight, true);
                    }
                },
            );
            part
        })
        .collect();
    let places: Vec<Vec<u32>> = sorted.iter().map(|sorted| invert(&sorted.order)).collect();
    y.par_chunks_mut(ROW_BLOCK * outputs).enumerate().for_each(|(block, y)| {
        let first = block * ROW_BLOCK;
        for (row, y) in y.chunks_exact_mut(outputs).enumerate() {
            y.copy_from_slice(bias);
            for (part, places) in parts.iter().zip(&places) {
                let part = &part[places[first + row] as usize * outputs..][..outputs];
                y.iter_mut().zip(part).for_each(|(y, part)| *y += part);
            }
        }
        let rows = y.len() / outputs;
        for input in dense.iter().filter(|input| input.width > 0) {
            let x = Mat::new(&input.x[first * input.width..], rows, input.width, input.width);
            let weight = Mat::new(&weight[input.first_column..], outputs, input.width, inputs).t();
            gemm(MatMut::new(y, rows, outputs, outputs), x, weight, true);
        }
    });
}

fn invert(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, &row)| places[row as usize] = place as u32);
    places
}

/// `dW = dyᵀ X` and `db = Σ dy`, or added to what is there.
pub fn backward_weight(
    dense: &[Dense<'_>],
    tiles: &[Tile<'_>],
    d_y: &[f32],
    d_weight: &mut [f32],
    size: Size,
    accumulate: bool,
) {
    let Size { rows, inputs, outputs, .. } = size;
    let d_weight = MatMut::new(d_weight, outputs, inputs, inputs);
    for input in dense {
        (0..input.width).into_par_iter().step_by(COLUMN_BLOCK).for_each(|first| {
            let last = input.width.min(first + COLUMN_BLOCK);
            // SAFETY: every input has columns of its own, and every block of it too.
            let d_weight = unsafe { d_weight.columns(input.first_column + first..input.first_column + last) };
            let d_yt = Mat::new(d_y, rows, outputs, outputs).t();
            let x = if rows == 0 { input.x } else { &input.x[first..] };
            gemm(d_weight, d_yt, Mat::new(x, rows, last - first, input.width), accumulate);
        });
    }
    tiles.par_iter().for_each(|tile| {
        let sorted = tile.sorted(rows);
        let d_y = sorted.permute(d_y, outputs);
        let blocks: Vec<_> = tile.blocks(tile.tile_len).collect();
        blocks.into_par_iter().for_each_init(Vec::new, |x, positions| {
            let reaching = sorted.reaching(positions.start);
            tile.gather(&sorted.order[..reaching], &sorted.lens[..reaching], &positions, x);
            let width = positions.len() * tile.lookup.dim;
            // SAFETY: every feature has columns of its own, and every block of its positions too.
            let d_weight = unsafe { d_weight.columns(tile.columns(&positions)) };
            let d_yt = Mat::new(&d_y, reaching, outputs, outputs).t();
            gemm(d_weight, d_yt, Mat::new(x, reaching, width, width), accumulate);
        });
    });
}

/// `dx = dy W` for materialised columns.
pub fn backward_dense(
    d_y: &[f32],
    weight: &[f32],
    d_x: &mut [f32],
    width: usize,
    first_column: usize,
    size: Size,
) {
    let Size { inputs, outputs, .. } = size;
    let weight = Mat::new(&weight[first_column..], outputs, width, inputs);
    d_x.par_chunks_mut(ROW_BLOCK * width).enumerate().for_each(|(block, d_x)| {
        let rows = d_x.len() / width;
        let d_y = Mat::new(&d_y[block * ROW_BLOCK * outputs..], rows, outputs, outputs);
        gemm(MatMut::new(d_x, rows, width, width), d_y, weight, false);
    });
}

/// Adds a tile's gradient `dy W`, summed by embedding, to `d_embeddings` [unique, dim].
pub fn backward_tile(tile: &Tile<'_>, d_y: &[f32], weight: &[f32], d_embeddings: &mut [f32], size: Size) {
    let Size { rows, inputs, outputs, .. } = size;
    let sorted = tile.sorted(rows);
    let d_y = sorted.permute(d_y, outputs);
    tile.lookup.sum_parts(tile.lookup.inverse.len() * tile.lookup.dim, d_embeddings, |part, parts, sums| {
        let mut d_x = Vec::new();
        // Later positions have fewer rows: dealing the blocks in turn balances the parts.
        for positions in tile.blocks(sorted.max_len()).skip(part).step_by(parts) {
            let reaching = sorted.reaching(positions.start);
            let (order, lens) = (&sorted.order[..reaching], &sorted.lens[..reaching]);
            let width = positions.len() * tile.lookup.dim;
            let weight = Mat::new(&weight[tile.columns(&positions).start..], outputs, width, inputs);
            for ((order, lens), d_y) in
                order.chunks(ROW_BLOCK).zip(lens.chunks(ROW_BLOCK)).zip(d_y.chunks(ROW_BLOCK * outputs))
            {
                d_x.resize(order.len() * width, 0.0);
                let d_y = Mat::new(d_y, order.len(), outputs, outputs);
                gemm(MatMut::new(&mut d_x, order.len(), width, width), d_y, weight, false);
                tile.scatter(order, lens, &positions, &d_x, sums);
            }
        }
    });
}
