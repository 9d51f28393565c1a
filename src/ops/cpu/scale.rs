//! Multiplication by a number.

use rayon::prelude::*;

use super::GRAIN;

/// `values *= factor`.
pub fn forward(values: &mut [f32], factor: f32) {
    values.par_iter_mut().with_min_len(GRAIN).for_each(|value| *value *= factor);
}
