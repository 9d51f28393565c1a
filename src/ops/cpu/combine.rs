//! Sums and means of a segment's embeddings.

use rayon::prelude::*;

use super::lookup::Lookup;
use crate::ops::combine::{Denominator, Place};

/// Writes the combined embeddings of every segment.
pub fn forward(
    lookup: &Lookup<'_>,
    weights: Option<&[f32]>,
    denominator: Denominator,
    out: &mut [f32],
    place: Place,
) {
    out.par_chunks_mut(place.stride).with_min_len(16).enumerate().for_each(|(segment, out)| {
        let out = &mut out[place.first_column..][..lookup.dim];
        out.fill(0.0);
        let scale = scale(lookup, weights, denominator, segment);
        for (i, &id) in lookup.segment(segment).iter().enumerate() {
            let weight = weight(lookup, weights, segment, i);
            out.iter_mut().zip(lookup.embedding(id)).for_each(|(out, e)| *out += weight * e);
        }
        if denominator != Denominator::One {
            out.iter_mut().for_each(|out| *out *= scale);
        }
    });
}

/// Adds the gradient of the embeddings.
pub fn backward(
    lookup: &Lookup<'_>,
    weights: Option<&[f32]>,
    denominator: Denominator,
    d_out: &[f32],
    place: Place,
    d_embeddings: &mut [f32],
) {
    let segments = lookup.offsets.len() - 1;
    lookup.sum_parts(lookup.inverse.len() * lookup.dim, d_embeddings, |part, parts, sums| {
        for segment in (part..segments).step_by(parts) {
            let d_out = &d_out[segment * place.stride + place.first_column..][..lookup.dim];
            let scale = scale(lookup, weights, denominator, segment);
            for (i, &id) in lookup.segment(segment).iter().enumerate() {
                sums.add(id, d_out, weight(lookup, weights, segment, i) * scale);
            }
        }
    });
}

fn weight(lookup: &Lookup<'_>, weights: Option<&[f32]>, segment: usize, i: usize) -> f32 {
    weights.map_or(1.0, |weights| weights[lookup.offsets[segment] as usize + i])
}

/// One over a segment's denominator; 0 for an empty segment.
fn scale(lookup: &Lookup<'_>, weights: Option<&[f32]>, denominator: Denominator, segment: usize) -> f32 {
    let [first, last] = [segment, segment + 1].map(|i| lookup.offsets[i] as usize);
    if first == last {
        return 0.0;
    }
    match (denominator, weights) {
        (Denominator::One, _) => 1.0,
        (Denominator::Weights, Some(weights)) => 1.0 / weights[first..last].iter().sum::<f32>(),
        (Denominator::Weights, None) | (Denominator::Count, _) => 1.0 / (last - first) as f32,
    }
}
