//! Remainders of ids.

use rayon::prelude::*;

use super::GRAIN;

/// `out = (values as u64) % modulus`.
pub fn forward(values: &[i64], modulus: u64, out: &mut [i64]) {
    out.par_iter_mut()
        .with_min_len(GRAIN)
        .zip(values)
        .for_each(|(out, &value)| *out = remainder(value, modulus));
}

/// The same in the place of the values.
pub fn in_place(values: &mut [i64], modulus: u64) {
    values.par_iter_mut().with_min_len(GRAIN).for_each(|value| *value = remainder(*value, modulus));
}

fn remainder(value: i64, modulus: u64) -> i64 {
    (value as u64 % modulus) as i64
}
