//! The logistic function.

use rayon::prelude::*;

use super::GRAIN;

/// `y = 1 / (1 + exp(-x))`.
pub fn forward(x: &[f32], y: &mut [f32]) {
    y.par_iter_mut().with_min_len(GRAIN).zip(x).for_each(|(y, &x)| *y = 1.0 / (1.0 + (-x).exp()));
}

/// `dx = dy y (1 - y)`: zero where the output is exactly 0 or 1.
pub fn backward(y: &[f32], d_y: &[f32], d_x: &mut [f32]) {
    d_x.par_iter_mut()
        .with_min_len(GRAIN)
        .zip(y.par_iter().zip(d_y))
        .for_each(|(d_x, (&y, &d_y))| *d_x = d_y * (y * (1.0 - y)));
}
