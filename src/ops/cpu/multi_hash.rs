//! Ids hashed into buckets.

use rayon::prelude::*;

use super::GRAIN;
use crate::ops::multi_hash::Hash;

/// `out = (values * multiplier) mod prime mod buckets`.
pub fn forward(values: &[i64], hash: Hash, out: &mut [i64]) {
    let Hash { multiplier, prime, buckets } = hash;
    out.par_iter_mut()
        .with_min_len(GRAIN)
        .zip(values)
        .for_each(|(out, &id)| *out = id.wrapping_mul(multiplier).rem_euclid(prime) % buckets);
}
