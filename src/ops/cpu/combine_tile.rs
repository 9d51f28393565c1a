//! The first embeddings of a segment side by side.

use rayon::prelude::*;

use super::lookup::Lookup;
use crate::ops::combine_tile::Place;

/// Writes the first `tile_len` embeddings of every segment, then zeros.
pub fn forward(lookup: &Lookup<'_>, tile_len: usize, out: &mut [f32], place: Place) {
    let dim = lookup.dim;
    out.par_chunks_mut(place.stride).enumerate().for_each(|(segment, out)| {
        let ids = lookup.segment(segment);
        let ids = &ids[..ids.len().min(tile_len)];
        let tile = &mut out[place.first_column..][..tile_len * dim];
        let (valid, padding) = tile.split_at_mut(ids.len() * dim);
        for (out, &id) in valid.chunks_exact_mut(dim).zip(ids) {
            out.copy_from_slice(lookup.embedding(id));
        }
        padding.fill(0.0);
    });
}

/// Adds the gradient of the embeddings.
pub fn backward(lookup: &Lookup<'_>, tile_len: usize, d_out: &[f32], place: Place, d_embeddings: &mut [f32]) {
    let segments = lookup.offsets.len() - 1;
    lookup.sum_parts(lookup.inverse.len() * lookup.dim, d_embeddings, |part, parts, sums| {
        for segment in (part..segments).step_by(parts) {
            let d_out = &d_out[segment * place.stride + place.first_column..][..tile_len * lookup.dim];
            for (&id, gradient) in lookup.segment(segment).iter().zip(d_out.chunks_exact(lookup.dim)) {
                sums.add(id, gradient, 1.0);
            }
        }
    });
}
