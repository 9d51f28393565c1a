//! A layer of dense columns and tiles, its passes, and what they must give.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use recis::ffi::simt::{
    recis_linear_tile_backward_dense, recis_linear_tile_backward_tiles,
    recis_linear_tile_backward_tiles_workspace_size, recis_linear_tile_backward_weight,
    recis_linear_tile_begin_tiles, recis_linear_tile_finish_tiles, recis_linear_tile_forward,
    recis_linear_tile_prepare, recis_linear_tile_prepare_backward, recis_linear_tile_prepare_inputs,
    recis_linear_tile_prepare_size, recis_linear_tile_workspace_size,
};
use recis::ffi::{recis_dense_columns, recis_linear_size, recis_lookup, recis_precision, recis_tile};

use crate::common::*;
use crate::linear::{Errors, View, check_product};

/// An input, by its first column: dense columns, or a tile of so many positions of a dimension.
#[derive(Clone, Copy)]
pub enum Input {
    Dense(usize),
    Tile(usize, usize),
}
pub use Input::{Dense, Tile};

/// A tile's ids and embeddings; some places are out of bounds.
pub struct TileData {
    pub embeddings: Guarded<f32>,
    pub inverse: Guarded<u32>,
    pub offsets: Guarded<i32>,
    pub tile: recis_tile,
    /// For each place, the (row, position) in the tile that it is at.
    pub uses: Vec<Vec<(usize, usize)>>,
}

/// Positions of other features before this one's, and room behind its ids.
const FIRST_ID: usize = 5;
const ROOM: usize = 7;

impl TileData {
    pub fn new(seed: u64, rows: usize, tile_len: usize, dim: usize, first_column: usize) -> Self {
        let unique = 1 + (tile_len + rows) / 3;
        let mut offsets = vec![0i32];
        for (row, random) in bits(seed, rows).enumerate() {
            let length = match row % 4 {
                0 => 0,
                1 => tile_len as u64 + random % 3,
                _ => random % (tile_len as u64 + 3),
            };
            offsets.push(offsets[row] + length as i32);
        }
        let ids = offsets[rows] as usize;
        let total = FIRST_ID + ids + ROOM;
        // Every place at or above `unique` is one that kernels must pass over.
        let places = bits(seed + 1, total).map(|bits| (bits % (unique as u64 + 1)) as u32);
        let inverse: Vec<u32> = places.collect();
        let mut uses = vec![vec![]; unique];
        for row in 0..rows {
            for (k, id) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                let position = FIRST_ID + id;
                let place = inverse[position] as usize;
                if place < unique && k < tile_len {
                    uses[place].push((row, k));
                }
            }
        }
        let embeddings = Guarded::new(&tame_floats(seed + 2, unique * dim));
        let (inverse, offsets) = (Guarded::new(&inverse), Guarded::new(&offsets));
        let lookup = recis_lookup {
            embeddings: embeddings.ptr(),
            inverse: inverse.ptr(),
            offsets: offsets.ptr(),
            unique: unique as i64,
            dim: dim as i64,
            first_id: FIRST_ID as i64,
            capacity: (ids + ROOM) as i64,
            segments: rows as i64,
        };
        TileData {
            embeddings,
            inverse,
            offsets,
            tile: recis_tile {
                lookup,
                tile_len: tile_len as i64,
                first_column: first_column as i64,
                range: null(),
            },
            uses,
        }
    }

    /// Writes the tile's columns.
    fn concatenate(&self, x: &mut [f32], inputs: usize) {
        let (dim, first) = (self.tile.lookup.dim as usize, self.tile.first_column as usize);
        let embeddings = self.embeddings.to_vec();
        for (place, uses) in self.uses.iter().enumerate() {
            for &(row, k) in uses {
                let at = row * inputs + first + k * dim;
                x[at..at + dim].copy_from_slice(&embeddings[place * dim..][..dim]);
            }
        }
    }
}

/// A layer's inputs, and their concatenation.
pub struct Layer {
    pub size: recis_linear_size,
    pub dense: Vec<recis_dense_columns>,
    pub dense_data: Vec<Guarded<f32>>,
    pub tiles: Vec<TileData>,
    pub tile_arguments: Vec<recis_tile>,
    pub x: Vec<f32>,
    pub covered: Vec<bool>,
    pub prepared: Option<Guarded<u8>>,
}

impl Layer {
    pub fn new(rows: usize, inputs: usize, outputs: usize, of: &[(usize, Input)]) -> Self {
        let size = recis_linear_size {
            rows: rows as i64,
            inputs: inputs as i64,
            outputs: outputs as i64,
            precision: recis_precision::RECIS_FP32,
        };
        let mut layer = Layer {
            size,
            dense: vec![],
            dense_data: vec![],
            tiles: vec![],
            tile_arguments: vec![],
            x: vec![0.0; rows * inputs],
            covered: vec![false; inputs],
            prepared: None,
        };
        for (i, &(first_column, input)) in of.iter().enumerate() {
            let seed = 100 + 10 * i as u64;
            let width = match input {
                Dense(width) => {
                    let values = tame_floats(seed, rows * width);
                    for row in 0..rows {
                        layer.x[row * inputs + first_column..][..width]
                            .copy_from_slice(&values[row * width..][..width]);
                    }
                    let x = Guarded::new(&values);
                    let (width, first_column) = (width as i64, first_column as i64);
                    layer.dense.push(recis_dense_columns { x: x.ptr(), width, first_column });
                    layer.dense_data.push(x);
                    width as usize
                }
                Tile(tile_len, dim) => {
                    let tile = TileData::new(seed, rows, tile_len, dim, first_column);
                    tile.concatenate(&mut layer.x, inputs);
                    layer.tile_arguments.push(tile.tile);
                    layer.tiles.push(tile);
                    tile_len * dim
                }
            };
            layer.covered[first_column..first_column + width].fill(true);
        }
        layer
    }

    /// The workspace for all passes but a tile's backward pass.
    pub fn workspace(&self) -> Guarded<u8> {
        let mut bytes = 0;
        let (dense, tiles) = (self.dense.as_ptr(), self.tile_arguments.as_ptr());
        ok(unsafe {
            recis_linear_tile_workspace_size(
                dense,
                self.dense.len() as i64,
                tiles,
                self.tiles.len() as i64,
                &self.size,
                &mut bytes,
            )
        });
        Guarded::new(&vec![0x55u8; bytes])
    }

    /// The workspace of a tile's.
    pub fn tile_workspace(&self, tile: &recis_tile, unordered: i32) -> Guarded<u8> {
        let ((_, prepared_bytes), mut bytes) = (self.prepared(), 0);
        ok(unsafe {
            recis_linear_tile_backward_tiles_workspace_size(
                tile,
                1,
                &self.size,
                unordered,
                prepared_bytes,
                &mut bytes,
            )
        });
        Guarded::new(&vec![0x55u8; bytes])
    }

    /// Prepares the factors of all passes, if the layer has a use for that.
    pub fn prepare(&mut self, weight: &Guarded<f32>, d_y: &Guarded<f32>) -> bool {
        let (dense, dense_count) = (self.dense.as_ptr(), self.dense.len() as i64);
        let (tiles, tile_count) = (self.tile_arguments.as_ptr(), self.tiles.len() as i64);
        let mut bytes = 0;
        ok(unsafe {
            recis_linear_tile_prepare_size(dense, dense_count, tiles, tile_count, &self.size, &mut bytes)
        });
        if bytes == 0 {
            return false;
        }
        let memory = Guarded::new(&vec![0xffu8; bytes]);
        let (weight, to) = (weight.ptr(), memory.ptr().cast());
        ok(unsafe {
            recis_linear_tile_prepare(
                dense,
                dense_count,
                tiles,
                tile_count,
                weight,
                &self.size,
                to,
                bytes,
                STREAM,
            )
        });
        ok(unsafe {
            recis_linear_tile_prepare_inputs(
                dense,
                dense_count,
                tiles,
                tile_count,
                &self.size,
                to,
                bytes,
                STREAM,
            )
        });
        ok(unsafe { recis_linear_tile_prepare_backward(d_y.ptr(), &self.size, to, bytes, STREAM) });
        self.prepared = Some(memory);
        true
    }

    fn prepared(&self) -> (*mut c_void, usize) {
        let prepared = self.prepared.as_ref();
        prepared.map_or((null_mut(), 0), |memory| (memory.ptr().cast(), memory.to_vec().len()))
    }

    pub fn forward(&self, weight: *const f32, bias: *const f32, y: *mut f32, workspace: &Guarded<u8>) -> i32 {
        let (prepared, prepared_bytes) = self.prepared();
        unsafe {
            recis_linear_tile_forward(
                self.dense.as_ptr(),
                self.dense.len() as i64,
                self.tile_arguments.as_ptr(),
                self.tiles.len() as i64,
                weight,
                bias,
                y,
                &self.size,
                prepared,
                prepared_bytes,
                workspace.ptr().cast(),
                workspace.to_vec().len(),
                STREAM,
            )
        }
    }

    pub fn backward_weight(
        &self,
        d_y: *const f32,
        d_weight: *mut f32,
        accumulate: i32,
        workspace: &Guarded<u8>,
    ) -> i32 {
        let (prepared, prepared_bytes) = self.prepared();
        unsafe {
            recis_linear_tile_backward_weight(
                self.dense.as_ptr(),
                self.dense.len() as i64,
                self.tile_arguments.as_ptr(),
                self.tiles.len() as i64,
                d_y,
                d_weight,
                &self.size,
                accumulate,
                prepared,
                prepared_bytes,
                workspace.ptr().cast(),
                workspace.to_vec().len(),
                STREAM,
            )
        }
    }

    /// All passes, each twice; and again with prepared factors, if the layer has a use for that.
    pub fn run(&mut self) {
        self.run_passes();
        let [rows, inputs, outputs] =
            [self.size.rows, self.size.inputs, self.size.outputs].map(|size| size as usize);
        let (weight, d_y) = (tame_floats(2, inputs * outputs), tame_floats(4, rows * outputs));
        if self.prepare(&Guarded::new(&weight), &Guarded::new(&d_y)) {
            self.run_passes();
        }
    }

    fn run_passes(&self) {
        let [rows, inputs, outputs] =
            [self.size.rows, self.size.inputs, self.size.outputs].map(|size| size as usize);
        let workspace = self.workspace();
        let what = |pass| format!("{pass} {rows} x {inputs} -> {outputs}");
        let (weight, bias) = (tame_floats(2, inputs * outputs), tame_floats(3, outputs));
        let d_y = tame_floats(4, rows * outputs);
        let (on_weight, on_bias, on_d_y) = (Guarded::new(&weight), Guarded::new(&bias), Guarded::new(&d_y));

        let forward = || {
            let y = Guarded::new(&vec![f32::NAN; rows * outputs]);
            ok(self.forward(on_weight.ptr(), on_bias.ptr(), y.ptr(), &workspace));
            y.to_vec()
        };
        let y = forward();
        let (a, b) = (View::rows(&self.x, inputs), View::rows(&weight, inputs).t());
        check_product(&y, [rows, outputs, inputs], a, b, |_, column| bias[column], &what("forward"));
        assert_same(&forward(), &y, &what("forward again"));

        for accumulate in [0, 1] {
            let backward_weight = || {
                let d_weight = Guarded::new(&weight);
                ok(self.backward_weight(on_d_y.ptr(), d_weight.ptr(), accumulate, &workspace));
                d_weight.to_vec()
            };
            let d_weight = backward_weight();
            let (a, b) = (View::rows(&d_y, outputs).t(), View::rows(&self.x, inputs));
            let kept = |column: usize| accumulate == 1 || !self.covered[column];
            let start = |row, column| if kept(column) { weight[row * inputs + column] } else { 0.0 };
            check_product(&d_weight, [outputs, inputs, rows], a, b, start, &what("backward_weight"));
            for (i, (&got, &old)) in d_weight.iter().zip(&weight).enumerate() {
                assert!(self.covered[i % inputs] || got == old, "a column that no input covers has changed");
            }
            assert_same(&backward_weight(), &d_weight, &what("backward_weight again"));
        }
        self.dense.iter().for_each(|dense| self.run_dense(dense, &d_y, &weight, &workspace));
        self.tiles.iter().for_each(|tile| self.run_tile(tile, &d_y, &weight));
    }

    fn run_dense(&self, dense: &recis_dense_columns, d_y: &[f32], weight: &[f32], workspace: &Guarded<u8>) {
        let (rows, inputs, outputs) =
            (self.size.rows as usize, self.size.inputs as usize, self.size.outputs as usize);
        let (width, first) = (dense.width as usize, dense.first_column as usize);
        let d_x = Guarded::new(&vec![f32::NAN; rows * width]);
        let (on_d_y, on_weight) = (Guarded::new(d_y), Guarded::new(weight));
        ok(unsafe {
            recis_linear_tile_backward_dense(
                on_d_y.ptr(),
                on_weight.ptr(),
                d_x.ptr(),
                dense.width,
                dense.first_column,
                &self.size,
                workspace.ptr().cast(),
                workspace.to_vec().len(),
                STREAM,
            )
        });
        let (a, b) = (View::rows(d_y, outputs), View::rows(&weight[first..], inputs));
        check_product(&d_x.to_vec(), [rows, width, outputs], a, b, |_, _| 0.0, "backward_dense");
    }

    fn run_tile(&self, data: &TileData, d_y: &[f32], weight: &[f32]) {
        let (inputs, outputs) = (self.size.inputs as usize, self.size.outputs as usize);
        let (dim, first) = (data.tile.lookup.dim as usize, data.tile.first_column as usize);
        let (prepared, prepared_bytes) = self.prepared();
        let old = tame_floats(9, data.uses.len() * dim);
        let (on_d_y, on_weight) = (Guarded::new(d_y), Guarded::new(weight));
        let backward_tiles = |unordered: i32| {
            let (d_embeddings, workspace) = (Guarded::new(&old), self.tile_workspace(&data.tile, unordered));
            let (memory, bytes) = (workspace.ptr().cast(), workspace.to_vec().len());
            let sums_to = if unordered == 0 { std::ptr::null_mut() } else { d_embeddings.ptr() };
            if unordered == 0 {
                let (tile, size) = (&data.tile, &self.size);
                ok(unsafe {
                    recis_linear_tile_begin_tiles(tile, 1, size, prepared_bytes, memory, bytes, STREAM)
                });
            }
            ok(unsafe {
                recis_linear_tile_backward_tiles(
                    &data.tile,
                    1,
                    on_d_y.ptr(),
                    on_weight.ptr(),
                    sums_to,
                    &self.size,
                    unordered,
                    prepared,
                    prepared_bytes,
                    memory,
                    bytes,
                    STREAM,
                )
            });
            if unordered == 0 {
                assert_same(&d_embeddings.to_vec(), &old, "before the sums are added");
                let (tile, to, size) = (&data.tile, d_embeddings.ptr(), &self.size);
                ok(unsafe {
                    recis_linear_tile_finish_tiles(tile, 1, to, size, prepared_bytes, memory, bytes, STREAM)
                });
            }
            d_embeddings.to_vec()
        };
        let check = |d_embeddings: &[f32], what: &str| {
            let mut errors = Errors::default();
            for (place, uses) in data.uses.iter().enumerate() {
                for j in 0..dim {
                    let at = place * dim + j;
                    let terms = uses.iter().flat_map(|&(row, k)| {
                        let (d_y, column) = (&d_y[row * outputs..][..outputs], first + k * dim + j);
                        d_y.iter().enumerate().map(move |(o, &d_y)| (d_y, weight[o * inputs + column]))
                    });
                    errors.add(d_embeddings[at], old[at], terms);
                }
            }
            errors.check(what);
        };
        let d_embeddings = backward_tiles(0);
        check(&d_embeddings, "backward_tiles");
        assert_same(&backward_tiles(0), &d_embeddings, "backward_tiles again");
        check(&backward_tiles(1), "backward_tiles, unordered");
    }
}
