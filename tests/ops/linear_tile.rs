use rand::Rng;
use recis::device::{Buffer, Stream};
use recis::ops::linear;
use recis::ops::linear_tile::{
    Dense, Lookup, Size, Tile, backward_dense, backward_tile, backward_weight, forward,
};

use crate::common::{buffer, rng, ulps};

/// A layer over a dense part and two tiles that share a table, with its input written out.
struct Case {
    size: Size,
    dense_width: usize,
    dim: usize,
    tile_len: usize,
    x: Buffer<f32>,
    embeddings: Buffer<f32>,
    inverse: Buffer<u32>,
    offsets: [Buffer<i32>; 2],
    weight: Buffer<f32>,
    bias: Buffer<f32>,
    d_y: Buffer<f32>,
}

impl Case {
    fn new(rows: usize, dim: usize, tile_len: usize, max_len: usize) -> Self {
        let mut rng = rng((rows + dim * 1000 + max_len) as u64);
        let (dense_width, outputs, unique) = (5, 9, 23);
        let size = Size { rows, inputs: dense_width + 2 * dim * tile_len, outputs };
        let mut ids = Vec::new();
        let offsets = [0, 1].map(|_| {
            let mut offsets = vec![0];
            for _ in 0..rows {
                let len = rng.random_range(0..=max_len);
                ids.extend((0..len).map(|_| rng.random_range(0..unique)));
                offsets.push(offsets.last().unwrap() + len as i32);
            }
            offsets.into()
        });
        Self {
            x: buffer(&mut rng, rows * dense_width),
            embeddings: buffer(&mut rng, unique as usize * dim),
            inverse: ids.into(),
            offsets,
            weight: buffer(&mut rng, size.inputs * outputs),
            bias: buffer(&mut rng, outputs),
            d_y: buffer(&mut rng, rows * outputs),
            size,
            dense_width,
            dim,
            tile_len,
        }
    }

    /// The dense part lies between the tiles.
    fn dense(&self) -> [Dense<'_>; 1] {
        [Dense { x: &self.x, width: self.dense_width, first_column: self.dim * self.tile_len }]
    }

    fn tiles(&self) -> [Tile<'_>; 2] {
        [0, 1].map(|i| Tile {
            lookup: Lookup {
                embeddings: &self.embeddings,
                inverse: &self.inverse,
                first_id: if i == 0 { 0 } else { *self.offsets[0].host().last().unwrap() as usize },
                offsets: &self.offsets[i],
                dim: self.dim,
            },
            tile_len: self.tile_len,
            first_column: i * (self.dim * self.tile_len + self.dense_width),
        })
    }

    /// Calls `visit(row, column, embedding, k)` for every value of a tile that is not padding.
    fn each_tiled(&self, mut visit: impl FnMut(usize, usize, usize, usize)) {
        for tile in self.tiles() {
            let offsets = tile.lookup.offsets.host();
            for row in 0..self.size.rows {
                let ids = &self.inverse.host()[tile.lookup.first_id..]
                    [offsets[row] as usize..offsets[row + 1] as usize];
                for (position, &id) in ids.iter().take(self.tile_len).enumerate() {
                    for k in 0..self.dim {
                        visit(row, tile.first_column + position * self.dim + k, id as usize, k);
                    }
                }
            }
        }
    }

    fn materialised(&self) -> Buffer<f32> {
        let mut input = vec![0.0; self.size.rows * self.size.inputs];
        self.each_tiled(|row, column, id, k| {
            input[row * self.size.inputs + column] = self.embeddings.host()[id * self.dim + k];
        });
        for (row, x) in self.x.host().chunks(self.dense_width).enumerate() {
            let first = row * self.size.inputs + self.dim * self.tile_len;
            input[first..first + self.dense_width].copy_from_slice(x);
        }
        input.into()
    }
}

fn f64s(values: &Buffer<f32>) -> Vec<f64> {
    values.host().iter().map(|&v| v.into()).collect()
}

#[test]
fn equals_the_layer_on_the_written_input() {
    let stream = Stream::default();
    let zeros = |n| Buffer::<f32>::zeros(n, &stream).unwrap();
    for (rows, dim, tile_len, max_len) in [
        (1, 1, 1, 1),
        (3, 3, 4, 9),
        (40, 7, 5, 5),
        (131, 16, 40, 60),
        (200, 8, 70, 69),
        (5, 17, 3, 0),
        (260, 300, 2, 3),
    ] {
        let case = Case::new(rows, dim, tile_len, max_len);
        let (size, input) = (case.size, case.materialised());
        let bound = 4.0 * (size.inputs.max(rows) as f64).sqrt() + 8.0;
        let (mut y, mut expected) = (zeros(rows * size.outputs), zeros(rows * size.outputs));
        forward(&case.dense(), &case.tiles(), &case.weight, &case.bias, &mut y, size, &stream).unwrap();
        linear::forward(&input, &case.weight, &case.bias, &mut expected, size, &stream).unwrap();
        assert!(ulps(y.host(), &f64s(&expected), 1.0) < bound, "{size:?} y");

        let mut d_weight = [zeros(case.weight.len()), zeros(case.weight.len())];
        let mut d_bias = [zeros(size.outputs), zeros(size.outputs)];
        for accumulate in [false, true] {
            let (tiled, plain) = d_weight.split_at_mut(1);
            let (b_tiled, b_plain) = d_bias.split_at_mut(1);
            let (dense, tiles) = (case.dense(), case.tiles());
            backward_weight(
                &dense,
                &tiles,
                &case.d_y,
                &mut tiled[0],
                &mut b_tiled[0],
                size,
                accumulate,
                &stream,
            )
            .unwrap();
            linear::backward_weight(
                &input,
                &case.d_y,
                &mut plain[0],
                &mut b_plain[0],
                size,
                accumulate,
                &stream,
            )
            .unwrap();
            assert!(ulps(d_weight[0].host(), &f64s(&d_weight[1]), 1.0) < bound, "{size:?} dw");
            assert_eq!(d_bias[0], d_bias[1]);
        }

        let mut d_input = zeros(rows * size.inputs);
        linear::backward_input(&case.d_y, &case.weight, &mut d_input, size, &stream).unwrap();
        let mut expected = vec![1.0; case.embeddings.len()];
        case.each_tiled(|row, column, id, k| {
            expected[id * dim + k] += f64::from(d_input.host()[row * size.inputs + column]);
        });
        let mut d_embeddings = Buffer::from(vec![1.0; case.embeddings.len()]);
        for tile in case.tiles() {
            backward_tile(&tile, &case.d_y, &case.weight, &mut d_embeddings, size, &stream).unwrap();
        }
        let scale = expected.iter().fold(1.0, |max: f64, e| max.max(e.abs()));
        assert!(ulps(d_embeddings.host(), &expected, scale) < bound, "{size:?} de");

        let mut d_x = zeros(case.x.len());
        let first = case.dense()[0].first_column;
        backward_dense(&case.d_y, &case.weight, &mut d_x, case.dense_width, first, size, &stream).unwrap();
        for (d_x, d_input) in d_x.host().chunks(case.dense_width).zip(d_input.host().chunks(size.inputs)) {
            let d_input: Vec<f64> = d_input[first..][..case.dense_width].iter().map(|&v| v.into()).collect();
            assert!(ulps(d_x, &d_input, 1.0) < bound, "{size:?} dx");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = Case::new(300, 16, 50, 80);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let stream = Stream::default();
            let mut d_embeddings = Buffer::zeros(case.embeddings.len(), &stream).unwrap();
            let mut y = Buffer::zeros(case.size.rows * case.size.outputs, &stream).unwrap();
            forward(&case.dense(), &case.tiles(), &case.weight, &case.bias, &mut y, case.size, &stream)
                .unwrap();
            for tile in case.tiles() {
                backward_tile(&tile, &case.d_y, &case.weight, &mut d_embeddings, case.size, &stream).unwrap();
            }
            (y, d_embeddings)
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let case = Case::new(4, 2, 3, 3);
    let stream = Stream::default();
    let mut y = Buffer::zeros(4 * case.size.outputs, &stream).unwrap();
    let mut run = |dense: &[Dense<'_>], tiles: &[Tile<'_>]| {
        forward(dense, tiles, &case.weight, &case.bias, &mut y, case.size, &stream).unwrap_err().to_string()
    };
    let [mut dense] = case.dense();
    dense.first_column -= 1;
    assert_eq!(
        run(&[dense], &case.tiles()),
        "linear_tile: input columns [(0, 6), (5, 10), (11, 17)] overlap or exceed 17"
    );
    let [mut tile, _] = case.tiles();
    let outside: Buffer<u32> = vec![23; case.inverse.len()].into();
    tile.lookup.inverse = &outside;
    assert_eq!(run(&[], &[tile]), "linear_tile: an id points outside the 23 embeddings");
    let [mut tile, _] = case.tiles();
    let descending: Buffer<i32> = vec![0, 2, 1, 3, 4].into();
    tile.lookup.offsets = &descending;
    assert_eq!(run(&[], &[tile]), "linear_tile: offsets do not ascend from 0");
}
