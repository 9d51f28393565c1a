//! Embeddings side by side: a sequence of the document's batch, 1024 rows of up to 1000 × 16.

mod common;

use common::data::{Feature, ROWS, TILE_LEN};
use common::{Bench, Work, data, run};
use recis::Result;
use recis::device::Buffer;
use recis::ops::combine_tile::{Place, backward, forward};

fn main() {
    run(&[
        ("combine_tile", |bench| combine_tile(bench, "", 0.0)),
        ("combine_tile/skewed", |bench| combine_tile(bench, "/skewed", 1.0 / 3.0)),
    ]);
}

/// `hot` is the share of the ids that is all the same one.
fn combine_tile(bench: &mut Bench<'_>, name: &str, hot: f64) -> Result<()> {
    let stream = bench.stream();
    let feature = Feature::sequence(10_000, hot, &stream)?;
    let (lookup, dim) = (feature.lookup(), feature.dim);
    let place = Place { first_column: 0, stride: TILE_LEN * dim };
    let mut out = Buffer::zeros(ROWS * TILE_LEN * dim, &stream)?;
    // In: ids, embeddings. Out: the whole tile.
    let work = Work::moving(4 * (feature.count + ROWS) + feature.embedding_bytes() + 4 * out.len());
    bench.measure(&format!("combine_tile/forward/1024x1000x{dim}{name}"), work, |stream| {
        forward(&lookup, TILE_LEN, &mut out, place, stream)
    })?;
    let d_out = data::floats(ROWS * TILE_LEN * dim, &stream)?;
    let mut d_embeddings = Buffer::zeros(feature.embeddings.len(), &stream)?;
    // In: where each id occurs, and the tile where there are ids. Added to: gradients of the embeddings.
    let work = Work::moving(
        4 * (feature.count + feature.unique + ROWS) + 4 * feature.count * dim + 2 * feature.embedding_bytes(),
    );
    bench.measure(&format!("combine_tile/backward/1024x1000x{dim}{name}"), work, |stream| {
        backward(&lookup, TILE_LEN, &d_out, place, &mut d_embeddings, stream)
    })
}
