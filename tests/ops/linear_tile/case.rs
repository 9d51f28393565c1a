//! A layer, and what its passes give on a device.

use std::collections::BTreeMap;

use recis::device::{Buffer, Stream};
use recis::ops::linear_tile::{
    Dense, Precision, Prepared, Reduction, Size, Tile, backward_dense, backward_tiles, backward_weight,
    forward,
};

use crate::common::{Feature, LookedUp, embedding, floats, on, read, rng};

const UNIQUE: i64 = 23;

/// A layer over a dense part and two tiles, with its input written out.
pub struct Case<'a> {
    pub size: Size,
    pub dense_width: usize,
    pub dim: usize,
    pub tile_len: usize,
    pub x: Vec<f32>,
    pub x_there: Buffer<f32>,
    pub looked_up: LookedUp,
    pub weight: Vec<f32>,
    pub weight_there: Buffer<f32>,
    pub bias: Vec<f32>,
    pub d_y: Vec<f32>,
    /// The second tile's table is the first one's, or another.
    pub second_table: usize,
    pub stream: &'a Stream,
}

impl<'a> Case<'a> {
    pub fn new(rows: usize, dim: usize, tile_len: usize, max_len: usize, stream: &'a Stream) -> Self {
        Self::of_widths([5, 9], 0, [rows, dim, tile_len, max_len], stream)
    }

    /// Of so many dense columns and outputs.
    pub fn of_widths(
        [dense_width, outputs]: [usize; 2],
        second_table: usize,
        [rows, dim, tile_len, max_len]: [usize; 4],
        stream: &'a Stream,
    ) -> Self {
        let mut rng = rng((rows + dim * 1000 + max_len) as u64);
        let size =
            Size { rows, inputs: dense_width + 2 * dim * tile_len, outputs, precision: Precision::Fp32 };
        let features = [0, second_table].map(|table| Feature::random(&mut rng, table, rows, max_len, UNIQUE));
        let [x, weight, bias, d_y] =
            [rows * dense_width, size.inputs * outputs, outputs, rows * outputs].map(|n| floats(&mut rng, n));
        Self {
            x_there: on(&x[..], stream),
            x,
            looked_up: LookedUp::new(features.into(), 1 + second_table, dim, stream),
            second_table,
            weight_there: on(&weight[..], stream),
            weight,
            bias,
            d_y,
            size,
            dense_width,
            dim,
            tile_len,
            stream,
        }
    }

    /// The dense part lies between the tiles.
    pub fn dense(&self) -> [Dense<'_>; 1] {
        [Dense { x: &self.x_there, width: self.dense_width, first_column: self.dim * self.tile_len }]
    }

    pub fn tiles(&self) -> [Tile<'_>; 2] {
        [0, 1].map(|i| Tile {
            lookup: self.looked_up.lookup(i),
            tile_len: self.tile_len,
            first_column: i * (self.dim * self.tile_len + self.dense_width),
        })
    }

    /// Calls `visit(row, column, key, k)` for every value of a tile that is not padding.
    pub fn each_tiled(&self, mut visit: impl FnMut(usize, usize, (usize, i64), usize)) {
        let tables = [0, self.second_table];
        for ((tile, feature), table) in self.tiles().iter().zip(&self.looked_up.features).zip(tables) {
            for row in 0..self.size.rows {
                for (position, i) in feature.range(row).take(self.tile_len).enumerate() {
                    for k in 0..self.dim {
                        visit(row, tile.first_column + position * self.dim + k, (table, feature.ids[i]), k);
                    }
                }
            }
        }
    }

    /// The layer's input on the host.
    pub fn materialised(&self) -> Buffer<f32> {
        let mut input = vec![0.0; self.size.rows * self.size.inputs];
        self.each_tiled(|row, column, key, k| input[row * self.size.inputs + column] = embedding(key, k));
        for (row, x) in self.x.chunks(self.dense_width).enumerate() {
            let first = row * self.size.inputs + self.dim * self.tile_len;
            input[first..first + self.dense_width].copy_from_slice(x);
        }
        input.into()
    }

    pub fn prepared(&self) -> Prepared {
        let (size, stream) = (self.size, self.stream);
        let mut prepared = Prepared::nothing(stream).unwrap();
        prepared.prepare(&self.dense(), &self.tiles(), &self.weight_there, size, stream).unwrap();
        prepared.add_inputs(&self.dense(), &self.tiles(), size, stream).unwrap();
        prepared.add_gradient(&on(&self.d_y[..], stream), size, stream).unwrap();
        prepared
    }

    pub fn forward(&self) -> Vec<f32> {
        let mut y = on(vec![0.0; self.size.rows * self.size.outputs], self.stream);
        let bias = on(&self.bias[..], self.stream);
        let (dense, tiles, mut prepared) = (self.dense(), self.tiles(), self.prepared());
        let (weight, size, stream) = (&self.weight_there, self.size, self.stream);
        forward(&dense, &tiles, weight, &bias, &mut y, size, &mut prepared, stream).unwrap();
        read(&y, self.stream)
    }

    /// The gradient of the weight, added to itself if `accumulate`.
    pub fn backward_weight(&self, accumulate: bool) -> Vec<f32> {
        let (d_y, stream) = (on(&self.d_y[..], self.stream), self.stream);
        let mut d_weight = on(vec![0.0; self.weight.len()], stream);
        let (dense, tiles, size) = (self.dense(), self.tiles(), self.size);
        for accumulate in [false, true].into_iter().take(1 + usize::from(accumulate)) {
            let (d_weight, prepared) = (&mut d_weight, &mut self.prepared());
            backward_weight(&dense, &tiles, &d_y, d_weight, size, accumulate, prepared, stream).unwrap();
        }
        read(&d_weight, stream)
    }

    /// 1 and the gradients of both tiles' embeddings.
    pub fn backward_tiles(&self) -> BTreeMap<(usize, i64), Vec<f32>> {
        self.backward_tiles_from(1.0)
    }

    pub fn backward_tiles_from(&self, start: f32) -> BTreeMap<(usize, i64), Vec<f32>> {
        self.sum_tiles(start, Reduction::Repeatable, true)
    }

    pub fn sum_tiles(
        &self,
        start: f32,
        reduction: Reduction,
        at_once: bool,
    ) -> BTreeMap<(usize, i64), Vec<f32>> {
        let (d_y, stream) = (on(&self.d_y[..], self.stream), self.stream);
        let mut d_embeddings = on(vec![start; self.looked_up.embeddings.len()], stream);
        // Each by itself, or both in one call: in fp32 the result is the same.
        let (tiles, weight, size) = (self.tiles(), &self.weight_there, self.size);
        let calls: Vec<_> = if at_once { vec![&tiles[..]] } else { tiles.chunks(1).collect() };
        for tiles in calls {
            let (d_embeddings, prepared) = (&mut d_embeddings, &mut self.prepared());
            let beside = Stream::new(stream.device()).unwrap();
            backward_tiles(tiles, &d_y, weight, d_embeddings, size, reduction, prepared, stream, &beside)
                .unwrap();
        }
        self.looked_up.by_key(&d_embeddings, start, stream)
    }

    /// The gradients of both tiles' embeddings in f64.
    pub fn exact_backward_tiles(&self) -> BTreeMap<(usize, i64), Vec<f64>> {
        let Size { inputs, outputs, .. } = self.size;
        let mut d_embeddings: BTreeMap<_, _> =
            self.looked_up.keys.iter().map(|&key| (key, vec![0.0; self.dim])).collect();
        self.each_tiled(|row, column, key, k| {
            let of_output = |output| {
                f64::from(self.d_y[row * outputs + output]) * f64::from(self.weight[output * inputs + column])
            };
            d_embeddings.get_mut(&key).unwrap()[k] += (0..outputs).map(of_output).sum::<f64>();
        });
        d_embeddings
    }

    pub fn backward_dense(&self) -> Vec<f32> {
        let (d_y, stream) = (on(&self.d_y[..], self.stream), self.stream);
        let mut d_x = on(vec![0.0; self.x.len()], stream);
        let first = self.dense()[0].first_column;
        backward_dense(&d_y, &self.weight_there, &mut d_x, self.dense_width, first, self.size, stream)
            .unwrap();
        read(&d_x, stream)
    }
}
