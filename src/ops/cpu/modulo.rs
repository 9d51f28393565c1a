//! Remainders of ids.

use rayon::prelude::*;

use super::GRAIN;

/// `out = (values as u64) % modulus`.
pub fn forward(values: &[i64], modulus: u64, out: &mut [i64]) {
    out.par_iter_mut()
        .with_min_len(GRAIN)
        .zip(values)
        .for_each(|(out, &value)| *out = (value as u64 % modulus) as i64);
}
