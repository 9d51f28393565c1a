//! One value in every element.

use rayon::prelude::*;

use super::GRAIN;

/// Sets all values.
pub fn forward(values: &mut [f32], value: f32) {
    values.par_chunks_mut(GRAIN).for_each(|values| values.fill(value));
}
