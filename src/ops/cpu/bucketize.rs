//! Which interval between boundaries a value lies in.

use rayon::prelude::*;

use super::GRAIN;

/// `out` = the number of boundaries that are not above the value.
pub fn forward(values: &[f32], boundaries: &[f32], out: &mut [i64]) {
    out.par_iter_mut().with_min_len(GRAIN).zip(values).for_each(|(out, &value)| {
        *out = boundaries.partition_point(|&boundary| boundary <= value || value.is_nan()) as i64;
    });
}
