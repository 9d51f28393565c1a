//! Sums and means of a segment's embeddings: the sequences of the document's batch, and its columns of one
//! id a row.

mod common;

use common::data::{Feature, ROWS};
use common::{Bench, Work, data, run};
use recis::Result;
use recis::device::{Buffer, Stream};
use recis::ops::combine::{Combined, CombinedGradient, Denominator, EmbeddingGradients, backward, forward};

fn main() {
    run(&[
        ("combine", |bench| combine(bench, "1024x763", Feature::sequence(10_000, 0.0, &bench.stream())?)),
        ("combine/one", |bench| combine(bench, "1024x1", one_id_a_row(&bench.stream())?)),
    ]);
}

fn one_id_a_row(stream: &Stream) -> Result<Feature> {
    Feature::new(data::ids(ROWS, 10_000, 0.0), (0..=ROWS as i32).collect(), 16, stream)
}

fn combine(bench: &mut Bench<'_>, shape: &str, feature: Feature) -> Result<()> {
    let stream = bench.stream();
    let (lookup, dim) = (feature.lookup(), feature.dim);
    let mut out = Buffer::zeros(ROWS * dim, &stream)?;
    let d_out = data::floats(ROWS * dim, &stream)?;
    let mut d_embeddings = Buffer::zeros(feature.embeddings.len(), &stream)?;
    let bytes_out = 4 * (ROWS + ROWS * dim);
    for (name, denominator) in [("sum", Denominator::One), ("mean", Denominator::Count)] {
        // In: ids, embeddings. Out: a row a segment.
        let combined = Combined { lookup, weights: None, denominator, first_column: 0 };
        let work = Work::moving(4 * feature.count + feature.embedding_bytes() + bytes_out);
        bench.measure(&format!("combine/forward_{name}/{shape}x{dim}"), work, |stream| {
            forward(&[combined], &mut out, dim, stream)
        })?;
        // In: where each id occurs, a row a segment. Added to: gradients of the embeddings.
        let work =
            Work::moving(4 * (feature.count + feature.unique) + 2 * feature.embedding_bytes() + bytes_out);
        bench.measure(&format!("combine/backward_{name}/{shape}x{dim}"), work, |stream| {
            let gradients = vec![CombinedGradient { feature: combined, d_out: &d_out, stride: dim }];
            backward(&mut [EmbeddingGradients { gradients, d_embeddings: &mut d_embeddings }], stream)
        })?;
    }
    Ok(())
}
