//! Embeddings combined by the operations.

use recis::device::Buffer;
use recis::ops::combine::{
    self, Combined, CombinedGradient, Denominator, EmbeddingGradients, Lookup, Occurrences, Place,
};
use recis::ops::combine_tile;
use serde::Deserialize;
use serde_json::Value;

use super::case::{Elements, Outcome, Tolerance, on, parse, same, stream};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reduce {
    mode: String,
    mean_denominator: Option<String>,
    emb: Vec<Vec<f32>>,
    weight: Option<Vec<f32>>,
    reverse_index: Vec<u32>,
    offsets: Vec<i32>,
    out: Vec<Vec<f64>>,
    grad_out: Vec<Vec<f32>>,
    grad_emb: Vec<Vec<f64>>,
}

pub fn segment_reduce(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Reduce = parse(case)?;
    let denominator = match (case.mode.as_str(), case.mean_denominator.as_deref()) {
        ("sum", None) => Denominator::One,
        ("mean", Some("weight_sum")) => Denominator::Weights,
        ("mean", Some("count")) => Denominator::Count,
        other => return Err(format!("mode, mean_denominator: no {other:?}").into()),
    };
    let dim = width(&case.emb)?;
    let (embeddings, ids) = (on(case.emb.concat()), case.reverse_index.len());
    let occurrences = Where::new(case.reverse_index, case.emb.len());
    let (offsets, weights) = (on(case.offsets), case.weight.map(on));
    let lookup = Lookup {
        embeddings: &embeddings,
        inverse: &occurrences.inverse,
        first_id: 0,
        ids,
        offsets: &offsets,
        dim,
        occurrences: Some(occurrences.of_all()),
        range: None,
    };
    let combined = Combined { lookup, weights: weights.as_ref(), denominator, first_column: 0 };
    let stream = stream();

    let mut out = on(vec![0.0; lookup.segments() * dim]);
    combine::forward(&[combined], &mut out, dim, &stream)?;
    tolerance.close_all("out", &case.out.concat(), &out.elements())?;

    let grad_out = on(case.grad_out.concat());
    let mut grad = on(vec![0.0; embeddings.len()]);
    let gradients = vec![CombinedGradient { feature: combined, d_out: &grad_out, stride: dim }];
    combine::backward(&mut [EmbeddingGradients { gradients, d_embeddings: &mut grad }], &stream)?;
    tolerance.close_all("grad_emb", &case.grad_emb.concat(), &grad.elements())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tiles {
    batch: Vec<usize>,
    tile_len: Vec<usize>,
    offsets: Vec<i32>,
    reverse_index: Vec<u32>,
    emb: Vec<Vec<f32>>,
    out: Vec<Vec<f64>>,
    grad_out: Vec<Vec<f32>>,
    grad_emb: Vec<Vec<f64>>,
}

pub fn ragged_tile(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Tiles = parse(case)?;
    same("the length of tile_len", case.batch.len(), case.tile_len.len())?;
    same("the number of rows", case.batch.iter().sum::<usize>() + 1, case.offsets.len())?;
    let dim = width(&case.emb)?;
    let sizes = case.batch.iter().zip(&case.tile_len).map(|(rows, tile_len)| rows * tile_len * dim);
    same("the size of grad_out", sizes.sum(), case.grad_out.len() * dim)?;
    let occurrences = Where::new(case.reverse_index, case.emb.len());
    let embeddings = on(case.emb.concat());
    let stream = stream();

    let (mut out, mut grad_out) = (Vec::new(), case.grad_out.concat());
    let mut grad = on(vec![0.0; embeddings.len()]);
    let mut first_row = 0;
    for (&rows, &tile_len) in case.batch.iter().zip(&case.tile_len) {
        let ends = &case.offsets[first_row..=first_row + rows];
        let offsets = on(ends.iter().map(|end| end - ends[0]).collect::<Vec<_>>());
        let first_id = usize::try_from(ends[0])?;
        let lookup = Lookup {
            embeddings: &embeddings,
            inverse: &occurrences.inverse,
            first_id,
            ids: usize::try_from(ends[rows] - ends[0])?,
            offsets: &offsets,
            dim,
            occurrences: Some(occurrences.of_all()),
            range: None,
        };
        let place = Place { first_column: 0, stride: tile_len * dim };
        let mut tile = on(vec![0.0; rows * place.stride]);
        combine_tile::forward(&lookup, tile_len, &mut tile, place, &stream)?;
        out.extend_from_slice(&tile.elements());
        let grad_tile = on(grad_out.drain(..rows * place.stride).collect::<Vec<_>>());
        combine_tile::backward(&lookup, tile_len, &grad_tile, place, &mut grad, &stream)?;
        first_row += rows;
    }
    tolerance.close_all("out", &case.out.concat(), &out)?;
    tolerance.close_all("grad_emb", &case.grad_emb.concat(), &grad.elements())
}

/// Where each embedding is used, as `partition_ids` would find it.
struct Where {
    /// For each id its embedding; longer if there are more embeddings than ids.
    inverse: Buffer<u32>,
    positions: Buffer<u32>,
    starts: Buffer<u32>,
    table_offsets: Buffer<u32>,
}

impl Where {
    fn new(mut inverse: Vec<u32>, unique: usize) -> Self {
        let (count, total) = (inverse.len() as u32, inverse.len().max(unique));
        let mut positions: Vec<u32> = (0..count).collect();
        positions.sort_by_key(|&position| inverse[position as usize]);
        let below = |place: usize| inverse.iter().filter(|&&other| (other as usize) < place).count() as u32;
        let mut starts: Vec<u32> = (0..=unique).map(below).collect();
        starts.resize(total + 1, count);
        inverse.resize(total, 0);
        positions.resize(total, 0);
        let table_offsets = on(vec![0, unique as u32]);
        Self { inverse: on(inverse), positions: on(positions), starts: on(starts), table_offsets }
    }

    fn of_all(&self) -> Occurrences<'_> {
        let Self { positions, starts, table_offsets, .. } = self;
        Occurrences { positions, starts, listed: positions.len(), table_offsets, table: 0 }
    }
}

fn width(embeddings: &[Vec<f32>]) -> Outcome<usize> {
    let dim = embeddings.first().map(Vec::len).ok_or("emb: no rows, so no dim")?;
    same("emb: rows of one width", true, embeddings.iter().all(|row| row.len() == dim))?;
    Ok(dim)
}
