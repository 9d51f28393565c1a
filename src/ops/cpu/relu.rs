//! Rectification.

use rayon::prelude::*;

use super::GRAIN;

/// `y = max(x, 0)`, NaN staying NaN.
pub fn forward(x: &[f32], y: &mut [f32]) {
    // Written so that NaN fails the comparison and is kept, as torch does.
    y.par_iter_mut().with_min_len(GRAIN).zip(x).for_each(|(y, &x)| *y = if x < 0.0 { 0.0 } else { x });
}

/// `dx = dy` where `y > 0`, else 0.
pub fn backward(y: &[f32], d_y: &[f32], d_x: &mut [f32]) {
    d_x.par_iter_mut()
        .with_min_len(GRAIN)
        .zip(y.par_iter().zip(d_y))
        .for_each(|(d_x, (&y, &d_y))| *d_x = if y > 0.0 { d_y } else { 0.0 });
}
