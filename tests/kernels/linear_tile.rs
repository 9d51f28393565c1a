use std::ffi::c_void;
use std::ptr::{null, null_mut};

use recis::ffi::simt::{
    recis_linear_tile_backward_dense, recis_linear_tile_backward_tile, recis_linear_tile_backward_weight,
    recis_linear_tile_forward, recis_linear_tile_prepare, recis_linear_tile_prepare_backward,
    recis_linear_tile_prepare_size, recis_linear_tile_workspace_size,
};
use recis::ffi::{
    recis_dense_columns, recis_linear_size, recis_lookup, recis_occurrences, recis_precision, recis_tile,
};

use crate::common::*;
use crate::linear::{Errors, View, check_product};

/// An input, by its first column: dense columns, or a tile of so many positions of a dimension.
#[derive(Clone, Copy)]
enum Input {
    Dense(usize),
    Tile(usize, usize),
}
use Input::{Dense, Tile};

/// A tile's ids and embeddings; some places are out of bounds.
struct TileData {
    embeddings: Guarded<f32>,
    inverse: Guarded<u32>,
    offsets: Guarded<i32>,
    positions: Guarded<u32>,
    starts: Guarded<u32>,
    table_offsets: Guarded<u32>,
    tile: recis_tile,
    /// For each place, the (row, position) in the tile that it is at.
    uses: Vec<Vec<(usize, usize)>>,
}

/// Positions of other features before this one's, and room behind its ids.
const FIRST_ID: usize = 5;
const ROOM: usize = 7;

impl TileData {
    fn new(seed: u64, rows: usize, tile_len: usize, dim: usize, first_column: usize) -> Self {
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
        let (mut uses, mut of_place) = (vec![vec![]; unique], vec![vec![]; unique]);
        for row in 0..rows {
            for (k, id) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                let position = FIRST_ID + id;
                let place = inverse[position] as usize;
                if place < unique {
                    of_place[place].push(position as u32);
                    if k < tile_len {
                        uses[place].push((row, k));
                    }
                }
            }
        }
        let positions: Vec<u32> = of_place.concat();
        let mut starts = vec![0u32];
        of_place.iter().for_each(|of_place| starts.push(starts.last().unwrap() + of_place.len() as u32));
        let padded = |mut values: Vec<u32>, len| {
            values.resize(len, u32::MAX);
            Guarded::new(&values)
        };
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
            positions: padded(positions, total),
            starts: padded(starts, total + 1),
            // Of two tables, the ids are the second one's.
            table_offsets: Guarded::new(&[0, 0, unique as u32]),
            tile: recis_tile {
                lookup,
                tile_len: tile_len as i64,
                first_column: first_column as i64,
                range: null(),
            },
            uses,
        }
    }

    fn occurrences(&self) -> recis_occurrences {
        recis_occurrences {
            positions: self.positions.ptr(),
            starts: self.starts.ptr(),
            table_offsets: self.table_offsets.ptr(),
            total: self.inverse.to_vec().len() as i64,
            table: 1,
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
struct Layer {
    size: recis_linear_size,
    dense: Vec<recis_dense_columns>,
    dense_data: Vec<Guarded<f32>>,
    tiles: Vec<TileData>,
    tile_arguments: Vec<recis_tile>,
    x: Vec<f32>,
    covered: Vec<bool>,
    prepared: Option<Guarded<u8>>,
}

impl Layer {
    fn new(rows: usize, inputs: usize, outputs: usize, of: &[(usize, Input)]) -> Self {
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

    /// The workspace for all passes.
    fn workspace(&self) -> Guarded<u8> {
        let size = |occurrences: *const recis_occurrences| {
            let mut bytes = 0;
            let (dense, tiles) = (self.dense.as_ptr(), self.tile_arguments.as_ptr());
            ok(unsafe {
                recis_linear_tile_workspace_size(
                    dense,
                    self.dense.len() as i64,
                    tiles,
                    self.tiles.len() as i64,
                    occurrences,
                    &self.size,
                    &mut bytes,
                )
            });
            bytes
        };
        let bytes = self.tiles.iter().map(|tile| size(&tile.occurrences())).fold(size(null()), usize::max);
        Guarded::new(&vec![0x55u8; bytes])
    }

    /// Prepares the factors of all passes, if the layer has a use for that.
    fn prepare(&mut self, weight: &Guarded<f32>, d_y: &Guarded<f32>) -> bool {
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
        ok(unsafe { recis_linear_tile_prepare_backward(d_y.ptr(), &self.size, to, bytes, STREAM) });
        self.prepared = Some(memory);
        true
    }

    fn prepared(&self) -> (*mut c_void, usize) {
        let prepared = self.prepared.as_ref();
        prepared.map_or((null_mut(), 0), |memory| (memory.ptr().cast(), memory.to_vec().len()))
    }

    fn forward(&self, weight: *const f32, bias: *const f32, y: *mut f32, workspace: &Guarded<u8>) -> i32 {
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

    fn backward_weight(
        &self,
        d_y: *const f32,
        d_weight: *mut f32,
        d_bias: *mut f32,
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
                d_bias,
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
    fn run(&mut self) {
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
                let (d_weight, d_bias) = (Guarded::new(&weight), Guarded::new(&bias));
                let (to, to_bias) = (d_weight.ptr(), d_bias.ptr());
                ok(self.backward_weight(on_d_y.ptr(), to, to_bias, accumulate, &workspace));
                (d_weight.to_vec(), d_bias.to_vec())
            };
            let (d_weight, d_bias) = backward_weight();
            let (a, b) = (View::rows(&d_y, outputs).t(), View::rows(&self.x, inputs));
            let kept = |column: usize| accumulate == 1 || !self.covered[column];
            let start = |row, column| if kept(column) { weight[row * inputs + column] } else { 0.0 };
            check_product(&d_weight, [outputs, inputs, rows], a, b, start, &what("backward_weight"));
            let ones = View { data: &[1.0], strides: (0, 0) };
            let start = |row: usize, _| if accumulate == 1 { bias[row] } else { 0.0 };
            check_product(&d_bias, [outputs, 1, rows], a, ones, start, &what("backward_bias"));
            for (i, (&got, &old)) in d_weight.iter().zip(&weight).enumerate() {
                assert!(self.covered[i % inputs] || got == old, "a column that no input covers has changed");
            }
            let again = backward_weight();
            assert_same(&again.0, &d_weight, &what("backward_weight again"));
            assert_same(&again.1, &d_bias, &what("backward_bias again"));
        }
        self.dense.iter().for_each(|dense| self.run_dense(dense, &d_y, &weight, &workspace));
        self.tiles.iter().for_each(|tile| self.run_tile(tile, &d_y, &weight, &workspace));
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

    fn run_tile(&self, data: &TileData, d_y: &[f32], weight: &[f32], workspace: &Guarded<u8>) {
        let (inputs, outputs) = (self.size.inputs as usize, self.size.outputs as usize);
        let (dim, first) = (data.tile.lookup.dim as usize, data.tile.first_column as usize);
        let (prepared, prepared_bytes) = self.prepared();
        let old = tame_floats(9, data.uses.len() * dim);
        let (on_d_y, on_weight) = (Guarded::new(d_y), Guarded::new(weight));
        let backward_tile = || {
            let d_embeddings = Guarded::new(&old);
            ok(unsafe {
                recis_linear_tile_backward_tile(
                    &data.tile,
                    &data.occurrences(),
                    on_d_y.ptr(),
                    on_weight.ptr(),
                    d_embeddings.ptr(),
                    &self.size,
                    prepared,
                    prepared_bytes,
                    workspace.ptr().cast(),
                    workspace.to_vec().len(),
                    STREAM,
                )
            });
            d_embeddings.to_vec()
        };
        let d_embeddings = backward_tile();
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
        errors.check("backward_tile");
        assert_same(&backward_tile(), &d_embeddings, "backward_tile again");
    }
}

#[test]
fn odd_dims_and_places() {
    // Columns before, between and behind the inputs are not covered.
    let of = [
        (2, Dense(3)),
        (6, Tile(5, 1)),
        (11, Tile(4, 3)),
        (30, Tile(3, 8)),
        (54, Dense(1)),
        (56, Tile(2, 16)),
        (91, Tile(3, 17)),
    ];
    for (rows, outputs) in [(1, 1), (3, 5), (33, 31), (65, 4)] {
        Layer::new(rows, 150, outputs, &of).run();
    }
}

#[test]
fn whole_quads() {
    let of = [
        (0, Dense(64)),
        (64, Tile(9, 8)),
        (136, Tile(5, 16)),
        (216, Dense(4)),
        (224, Tile(11, 4)),
        (268, Tile(1, 64)),
    ];
    for (rows, outputs) in [(4, 4), (32, 32), (70, 36)] {
        Layer::new(rows, 336, outputs, &of).run();
    }
}

#[test]
fn splits_end_within_inputs() {
    let of = [(0, Tile(40, 8)), (320, Tile(30, 3)), (410, Dense(130)), (540, Tile(13, 16))];
    Layer::new(5, 750, 3, &of).run();
    Layer::new(520, 750, 3, &of).run();
}

#[test]
fn large_tiles() {
    let of = [(0, Dense(132)), (132, Tile(80, 8)), (772, Tile(20, 16))];
    Layer::new(1028, 1092, 68, &of).run();
    let of = [(1, Dense(131)), (132, Tile(80, 7)), (692, Tile(24, 17))];
    Layer::new(1025, 1101, 65, &of).run();
}

#[test]
fn prepared_factors() {
    // Runs that end within a step, the next one behind it or within it; gaps; more steps than stages.
    let of = [(8, Dense(24)), (32, Tile(37, 8)), (328, Tile(11, 24)), (616, Dense(8)), (632, Tile(33, 16))];
    let mut layer = Layer::new(130, 1160, 72, &of);
    layer.run();
    assert!(layer.prepared.is_some());
    let mut layer = Layer::new(65, 128, 128, &[(0, Tile(16, 8))]);
    layer.run();
    assert!(layer.prepared.is_some());
}

#[test]
fn prepared_places_outside_the_range_are_missing() {
    let (rows, inputs, outputs) = (70, 96, 72);
    let mut layer = Layer::new(rows, inputs, outputs, &[(0, Tile(12, 8))]);
    let unique = layer.tiles[0].uses.len() as u32;
    let weight = tame_floats(2, inputs * outputs);
    let (on_weight, bias) = (Guarded::new(&weight), vec![0.5; outputs]);
    let (on_bias, d_y) = (Guarded::new(&bias), Guarded::new(&vec![0.0f32; rows * outputs]));
    for range in [[1, unique - 1], [3, 3], [unique + 5, 2], [0, u32::MAX]] {
        let on_range = Guarded::new(&range);
        layer.tile_arguments[0].range = on_range.ptr();
        assert!(layer.prepare(&on_weight, &d_y));
        let mut x = layer.x.clone();
        for (place, uses) in layer.tiles[0].uses.iter().enumerate() {
            if !(range[0]..range[1]).contains(&(place as u32)) {
                uses.iter().for_each(|&(row, k)| x[row * inputs + k * 8..][..8].fill(0.0));
            }
        }
        let y = Guarded::new(&vec![f32::NAN; rows * outputs]);
        ok(layer.forward(on_weight.ptr(), on_bias.ptr(), y.ptr(), &layer.workspace()));
        let (a, b) = (View::rows(&x, inputs), View::rows(&weight, inputs).t());
        check_product(&y.to_vec(), [rows, outputs, inputs], a, b, |_, column| bias[column], "range");
    }
}

#[test]
fn nothing_there() {
    Layer::new(3, 7, 5, &[]).run();
    Layer::new(0, 20, 5, &[(0, Dense(3)), (4, Tile(2, 8))]).run();
    Layer::new(3, 20, 5, &[(0, Dense(0)), (4, Tile(0, 8)), (20, Dense(0))]).run();
}

#[test]
fn contents_that_make_no_sense_stay_within_the_arrays() {
    for dim in [3, 8] {
        let mut layer = Layer::new(4, 4 * dim, 2, &[(0, Tile(4, dim))]);
        let tile = &mut layer.tiles[0];
        tile.offsets = Guarded::new(&[i32::MIN, 100_000, -5, i32::MAX, 3]);
        tile.inverse = Guarded::new(&vec![u32::MAX; tile.inverse.to_vec().len()]);
        let argument = &mut layer.tile_arguments[0];
        argument.lookup.offsets = tile.offsets.ptr();
        argument.lookup.inverse = tile.inverse.ptr();
        let workspace = layer.workspace();
        let (weight, bias) = (Guarded::new(&vec![1.0f32; 8 * dim]), Guarded::new(&[1.0f32; 2]));
        let y = Guarded::new(&[0.0f32; 8]);
        ok(layer.forward(weight.ptr(), bias.ptr(), y.ptr(), &workspace));
        assert_eq!(y.to_vec(), [1.0; 8]);
        ok(layer.backward_weight(y.ptr(), weight.ptr(), bias.ptr(), 0, &workspace));
        assert_eq!(weight.to_vec(), vec![0.0; 8 * dim]);
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let layer = Layer::new(2, 12, 3, &[(0, Dense(4)), (4, Tile(2, 4))]);
    let workspace = layer.workspace();
    let (weight, bias) = (Guarded::new(&[7.0f32; 36]), Guarded::new(&[7.0f32; 3]));
    let y = Guarded::new(&[7.0f32; 6]);
    let (w, b) = (weight.ptr(), bias.ptr());
    let forward = |status, what: &str| refused(status, &format!("linear_tile.forward: {what}"));
    forward(layer.forward(null(), b, y.ptr(), &workspace), "weight is null");
    forward(layer.forward(w, null(), y.ptr(), &workspace), "bias is null");
    forward(layer.forward(w, b, null_mut(), &workspace), "y is null");
    forward(layer.forward(w, b, y.misaligned(), &workspace), "y is not aligned to 16 bytes");
    let changed = |change: &dyn Fn(&mut Layer), what: &str| {
        let mut layer = Layer::new(2, 12, 3, &[(0, Dense(4)), (4, Tile(2, 4))]);
        change(&mut layer);
        forward(layer.forward(w, b, y.ptr(), &workspace), what);
        let status = layer.backward_weight(y.ptr(), w, b, 0, &workspace);
        refused(status, &format!("linear_tile.backward_weight: {what}"));
    };
    changed(&|layer| layer.dense[0].x = null(), "x is null");
    changed(&|layer| layer.dense[0].width = -1, "width is negative");
    changed(&|layer| layer.dense[0].width = 13, "width is beyond the layer's inputs");
    changed(&|layer| layer.dense[0].first_column = -1, "first_column is negative");
    changed(&|layer| layer.dense[0].first_column = 2, "the inputs overlap");
    changed(&|layer| layer.tile_arguments[0].tile_len = -1, "tile_len is negative");
    changed(&|layer| layer.tile_arguments[0].tile_len = i64::MAX, "tile_len is beyond the layer's inputs");
    changed(&|layer| layer.tile_arguments[0].first_column = 5, "tile_len is beyond the layer's inputs");
    changed(&|layer| layer.tile_arguments[0].lookup.dim = 0, "dim is below 1");
    changed(&|layer| layer.tile_arguments[0].lookup.segments = 3, "segments differs from the rows");
    changed(&|layer| layer.tile_arguments[0].lookup.embeddings = null(), "embeddings is null");
    changed(&|layer| layer.size.inputs = 0, "size has no inputs");
    changed(
        &|layer| layer.prepared = Some(Guarded::new(&[7u8; 64])),
        "prepared is for another layer, of no size",
    );
    let mut wide = Layer::new(65, 16, 72, &[(0, Tile(2, 8))]);
    wide.prepared = Some(Guarded::new(&[7u8; 64]));
    let (big_weight, big_y) = (Guarded::new(&[7.0f32; 16 * 72]), Guarded::new(&[7.0f32; 65 * 72]));
    let big_bias = Guarded::new(&[7.0f32; 72]);
    let status = wide.forward(big_weight.ptr(), big_bias.ptr(), big_y.ptr(), &wide.workspace());
    forward(status, "prepared is too small");
    let count = |dense_count, tile_count, what: &str| {
        let (dense, tiles, mut bytes) = (layer.dense.as_ptr(), layer.tile_arguments.as_ptr(), 0);
        let status = unsafe {
            recis_linear_tile_workspace_size(
                dense,
                dense_count,
                tiles,
                tile_count,
                null(),
                &layer.size,
                &mut bytes,
            )
        };
        refused(status, &format!("linear_tile.workspace_size: {what}"));
    };
    count(17, 1, "dense_count is negative or above 16");
    count(1, -1, "tile_count is negative or above 16");

    let d_x = Guarded::new(&[7.0f32; 8]);
    let dense = |d_y, width, first_column, what: &str| {
        let memory = workspace.ptr().cast();
        let bytes = workspace.to_vec().len();
        let status = unsafe {
            recis_linear_tile_backward_dense(
                d_y,
                w,
                d_x.ptr(),
                width,
                first_column,
                &layer.size,
                memory,
                bytes,
                STREAM,
            )
        };
        refused(status, &format!("linear_tile.backward_dense: {what}"));
    };
    dense(null(), 4, 0, "d_y is null");
    dense(y.ptr(), 4, 9, "width is beyond the layer's inputs");
    dense(y.ptr(), -1, 9, "width is negative");

    let d_embeddings = Guarded::new(&vec![7.0f32; layer.tiles[0].uses.len() * 4]);
    let tile = |tile: *const recis_tile, occurrences: *const recis_occurrences, d_y, bytes| unsafe {
        let memory = workspace.ptr().cast();
        let to = d_embeddings.ptr();
        recis_linear_tile_backward_tile(
            tile,
            occurrences,
            d_y,
            w,
            to,
            &layer.size,
            null_mut(),
            0,
            memory,
            bytes,
            STREAM,
        )
    };
    let (argument, occurrences) = (&layer.tile_arguments[0], layer.tiles[0].occurrences());
    let bytes = workspace.to_vec().len();
    let d_y: *const f32 = y.ptr();
    let name = |what| format!("linear_tile.backward_tile: {what}");
    refused(tile(null(), &occurrences, d_y, bytes), &name("tile is null"));
    refused(tile(argument, null(), d_y, bytes), &name("occurrences is null"));
    refused(tile(argument, &occurrences, null(), bytes), &name("d_y is null"));
    assert_ne!(tile(argument, &occurrences, d_y, 16), 0);
    assert!(last_error().starts_with(&name("workspace is too small (")), "{}", last_error());

    for array in [weight, bias, y, d_x, d_embeddings] {
        assert!(array.to_vec().iter().all(|&value| value == 7.0));
    }
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    Layer::new(3, 16, 2, &[(0, Dense(2)), (3, Tile(3, 4))]).run();
    Layer::new(65, 16, 72, &[(0, Tile(2, 8))]).run();
}
