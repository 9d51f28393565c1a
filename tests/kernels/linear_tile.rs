mod layer;

use std::ptr::{null, null_mut};

use recis::ffi::recis_tile;
use recis::ffi::simt::{
    recis_linear_tile_backward_dense, recis_linear_tile_backward_tiles, recis_linear_tile_begin_tiles,
    recis_linear_tile_finish_tiles, recis_linear_tile_workspace_size,
};

use crate::common::*;
use crate::linear::{View, check_product};
use layer::{Dense, Layer, Tile};

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
fn tables_in_one_array_are_prepared_in_one() {
    let mut layer = Layer::new(70, 192, 72, &[(0, Tile(12, 8)), (96, Tile(12, 8))]);
    let (weight, d_y) = (Guarded::new(&[0.5f32; 192 * 72]), Guarded::new(&[0.5f32; 70 * 72]));
    let bytes = |layer: &mut Layer| {
        assert!(layer.prepare(&weight, &d_y));
        layer.prepared.as_ref().unwrap().to_vec().len()
    };
    let apart = bytes(&mut layer);
    let lookup = layer.tile_arguments[0].lookup;
    let tables = Guarded::new(&[0, lookup.unique as u32 / 2, lookup.unique as u32]);
    layer.tile_arguments[1].lookup = lookup;
    layer.tile_arguments[0].range = tables.ptr();
    layer.tile_arguments[1].range = tables.ptr().wrapping_add(1);
    let two_tables = bytes(&mut layer);
    layer.tile_arguments[1].range = tables.ptr();
    let one_table = bytes(&mut layer);
    assert!(one_table < two_tables && two_tables < apart, "{one_table} {two_tables} {apart}");
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
        ok(layer.backward_weight(y.ptr(), weight.ptr(), 0, &workspace));
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
        let status = layer.backward_weight(y.ptr(), w, 0, &workspace);
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
            recis_linear_tile_workspace_size(dense, dense_count, tiles, tile_count, &layer.size, &mut bytes)
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
    let workspace = layer.tile_workspace(&layer.tile_arguments[0], 0);
    let tile = |tile: *const recis_tile, d_y, to, unordered, bytes| unsafe {
        let memory = workspace.ptr().cast();
        recis_linear_tile_backward_tiles(
            tile,
            1,
            d_y,
            w,
            to,
            &layer.size,
            unordered,
            null_mut(),
            0,
            memory,
            bytes,
            STREAM,
        )
    };
    let argument = &layer.tile_arguments[0];
    let bytes = workspace.to_vec().len();
    let d_y: *const f32 = y.ptr();
    let name = |what| format!("linear_tile.backward_tiles: {what}");
    let to = d_embeddings.ptr();
    refused(tile(null(), d_y, to, 0, bytes), &name("tiles is null"));
    refused(tile(argument, null(), to, 0, bytes), &name("d_y is null"));
    refused(tile(argument, d_y, null_mut(), 1, bytes), &name("d_embeddings is null"));
    let finish = |tile: *const recis_tile, to, bytes, what: &str| unsafe {
        let memory = workspace.ptr().cast();
        let status = recis_linear_tile_finish_tiles(tile, 1, to, &layer.size, 0, memory, bytes, STREAM);
        assert_ne!(status, 0);
        assert!(last_error().starts_with(&format!("linear_tile.finish_tiles: {what}")), "{}", last_error());
    };
    let begin = |tile: *const recis_tile, bytes, what: &str| unsafe {
        let memory = workspace.ptr().cast();
        assert_ne!(recis_linear_tile_begin_tiles(tile, 1, &layer.size, 0, memory, bytes, STREAM), 0);
        assert!(last_error().starts_with(&format!("linear_tile.begin_tiles: {what}")), "{}", last_error());
    };
    begin(null(), bytes, "tiles is null");
    begin(argument, 16, "workspace is too small (");
    finish(null(), d_embeddings.ptr(), bytes, "tiles is null");
    finish(argument, null_mut(), bytes, "d_embeddings is null");
    finish(argument, d_embeddings.ptr(), 16, "workspace is too small (");
    assert_ne!(tile(argument, d_y, to, 0, 16), 0);
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
