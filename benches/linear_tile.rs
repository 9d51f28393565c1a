//! The first layer of the document's model: 1024 rows, two tiled features of 1000 × 16, 128 outputs.
//! cuBLASLt multiplies the whole input, padding included, after something else has materialised it.

mod common;
#[path = "common/cublaslt.rs"]
mod cublaslt;

use common::data::{ROWS, TILE_LEN};
use common::{Bench, Unit, Work, data, run};
use cublaslt::{Product, baseline};
use recis::Result;
use recis::device::Buffer;
use recis::ops::linear_tile::{
    Dense, Lookup, Precision, Prepared, Reduction, Size, Tile, backward_tiles, backward_weight, forward,
};
use recis::ops::partition_ids::{self, Column};

/// Columns before the tiles.
const WIDTH: usize = 64;
const DIM: usize = 16;
const INPUTS: usize = WIDTH + 2 * TILE_LEN * DIM;
const OUTPUTS: usize = 128;
const NAME: &str = "1024x2x1000x16";

fn main() {
    run(&[("linear_tile", |bench| {
        let precisions = data::precisions(bench.stream().device());
        precisions.iter().try_for_each(|&precision| linear_tile(bench, precision))
    })]);
}

fn linear_tile(bench: &mut Bench<'_>, precision: Precision) -> Result<()> {
    let size = Size { rows: ROWS, inputs: INPUTS, outputs: OUTPUTS, precision };
    let name = format!("{NAME}{}", data::precision_suffix(precision));
    let stream = bench.stream();
    // The document's tables, in one array: ids modulo 10,000, and 1000 strings.
    let offsets = data::offsets(ROWS, TILE_LEN);
    let count = offsets[ROWS] as usize;
    let offsets = Buffer::from_vec(offsets, &stream)?;
    let ids = [10_000, 1000].map(|rows| data::ids(count, rows, 0.0));
    let [first, second] = ids.map(|ids| Buffer::from_vec(ids, &stream));
    let column = |table, ids| Column { table, ids, offsets: Some(&offsets), listed: false };
    let partition = partition_ids::forward(&[column(0, &first?), column(1, &second?)], 2, &stream)?;
    let unique = partition.count.to_vec(&stream)?[0] as usize;
    let embeddings = data::floats(unique * DIM, &stream)?;
    let tile = |i: usize| Tile {
        lookup: Lookup {
            embeddings: &embeddings,
            inverse: &partition.inverse,
            first_id: partition.first_ids[i],
            offsets: &offsets,
            ids: count,
            dim: DIM,
            occurrences: None,
            range: Some(partition.range(i)),
        },
        tile_len: TILE_LEN,
        first_column: WIDTH + i * TILE_LEN * DIM,
    };
    let tiles = [tile(0), tile(1)];
    let x = data::floats(ROWS * WIDTH, &stream)?;
    let dense = [Dense { x: &x, width: WIDTH, first_column: 0 }];
    let weight = data::floats(OUTPUTS * INPUTS, &stream)?;
    let bias = data::floats(OUTPUTS, &stream)?;
    let mut y = Buffer::zeros(ROWS * OUTPUTS, &stream)?;

    let (ids, embedding_bytes) = (2 * count, 4 * embeddings.len());
    let lookup_bytes = 4 * ids + embedding_bytes;
    let matrices = 4 * (weight.len() + y.len());
    // Two operations for every weight that meets a value that is not padding.
    let flop = 2 * ids * DIM * OUTPUTS;
    let flop_dense = flop + 2 * x.len() * OUTPUTS;

    // Read once, and written in parts as large.
    let work = Work::moving(2 * 4 * (weight.len() + x.len()) + 8 * ids + 2 * embedding_bytes);
    let mut prepared = Prepared::nothing(&stream)?;
    bench.measure(&format!("linear_tile/prepare/{name}"), work, |stream| {
        prepared.prepare(&dense, &tiles, &weight, size, stream)?;
        prepared.add_inputs(&dense, &tiles, size, stream)
    })?;
    let work = Work::moving(lookup_bytes + 4 * x.len() + matrices).counting(flop_dense, Unit::Flop);
    let against = baseline(bench, Product::Forward, size);
    bench.measure(&format!("linear_tile/forward/{name}"), work.against(against), |stream| {
        forward(&dense, &tiles, &weight, &bias, &mut y, size, &mut prepared, stream)
    })?;
    let d_y = data::floats(ROWS * OUTPUTS, &stream)?;
    let mut d_weight = Buffer::zeros(weight.len(), &stream)?;
    let against = baseline(bench, Product::BackwardWeight, size);
    bench.measure(&format!("linear_tile/backward_weight/{name}"), work.against(against), |stream| {
        prepared.add_gradient(&d_y, size, stream)?;
        backward_weight(&dense, &tiles, &d_y, &mut d_weight, size, false, &mut prepared, stream)
    })?;
    let mut d_embeddings = Buffer::zeros(embeddings.len(), &stream)?;
    // The gradients of the embeddings are added to.
    let work = Work::moving(lookup_bytes + embedding_bytes + matrices).counting(flop, Unit::Flop);
    let against = baseline(bench, Product::BackwardInput, size);
    let mut backward = |name: &str, work, reduction| {
        bench.measure(name, work, |stream| {
            let d_embeddings = &mut d_embeddings;
            let prepared = &mut prepared;
            backward_tiles(&tiles, &d_y, &weight, d_embeddings, size, reduction, prepared, stream, stream)
        })
    };
    let name = format!("linear_tile/backward_tiles/{name}");
    backward(&name, work.against(against), Reduction::Repeatable)?;
    backward(&format!("{name}/unordered"), work, Reduction::Unordered)
}
