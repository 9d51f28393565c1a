//! The ids of a feature after their lookup, and sums over ids that share a row.

use rayon::prelude::*;

use super::GRAIN;

/// Partial sums of a row gradient; a fixed number, so that threads do not change the result.
const PARTIAL_SUMS: usize = 8;
/// Partial sums of large tables must not take more memory than this.
const PARTIAL_BYTES: usize = 256 << 20;

/// One feature's ids after their lookup, in segments.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// Embeddings of distinct rows, [unique, dim].
    pub embeddings: &'a [f32],
    /// For each id of the feature, its place in `embeddings`.
    pub inverse: &'a [u32],
    /// Where each segment's ids begin and end in `inverse`.
    pub offsets: &'a [i32],
    /// Values an embedding.
    pub dim: usize,
}

impl<'a> Lookup<'a> {
    /// The places in `embeddings` of a segment's ids.
    pub fn segment(&self, segment: usize) -> &'a [u32] {
        &self.inverse[self.offsets[segment] as usize..self.offsets[segment + 1] as usize]
    }

    /// The embedding at a place.
    pub fn embedding(&self, place: u32) -> &'a [f32] {
        &self.embeddings[place as usize * self.dim..][..self.dim]
    }

    /// Adds to `d_embeddings` what `add` gives: it is called with each of a fixed number of parts
    /// (which part, of how many), and adds that part of the gradient to its sums, in which the
    /// embedding at place `p` begins at `(p - first) * dim`. `work` counts values to be added: a
    /// little is not worth splitting.
    pub fn sum_parts(
        &self,
        work: usize,
        d_embeddings: &mut [f32],
        add: impl Fn(usize, usize, &mut Sums<'_>) + Sync,
    ) {
        let (Some(&first), Some(&last)) = (self.inverse.iter().min(), self.inverse.iter().max()) else {
            return;
        };
        let dim = self.dim;
        let target = &mut d_embeddings[first as usize * dim..(last as usize + 1) * dim];
        if work <= GRAIN {
            return add(0, 1, &mut Sums { values: target, first, dim });
        }
        let parts = (PARTIAL_BYTES / (target.len() * 4)).clamp(1, PARTIAL_SUMS);
        let partial: Vec<Vec<f32>> = (0..parts)
            .into_par_iter()
            .map(|part| {
                let mut values = vec![0.0; target.len()];
                add(part, parts, &mut Sums { values: &mut values, first, dim });
                values
            })
            .collect();
        target.par_chunks_mut(GRAIN).enumerate().for_each(|(chunk, target)| {
            for partial in &partial {
                let partial = &partial[chunk * GRAIN..][..target.len()];
                target.iter_mut().zip(partial).for_each(|(target, value)| *target += value);
            }
        });
    }
}

/// One above the largest place; 0 if there is none.
pub fn bound(inverse: &[u32]) -> usize {
    // Without an early end the loop over a chunk is one over vectors.
    let largest = |chunk: &[u32]| chunk.iter().fold(0, |bound, &place| bound.max(place as usize + 1));
    inverse.par_chunks(GRAIN).map(largest).max().unwrap_or(0)
}

/// Sums of gradients by embedding.
pub struct Sums<'a> {
    values: &'a mut [f32],
    first: u32,
    dim: usize,
}

impl Sums<'_> {
    /// Adds `factor * gradient` to the sum of the embedding at `place`.
    pub fn add(&mut self, place: u32, gradient: &[f32], factor: f32) {
        let sum = &mut self.values[(place - self.first) as usize * self.dim..][..self.dim];
        sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += factor * g);
    }
}
