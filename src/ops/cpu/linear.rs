//! A fully connected layer.

use rayon::prelude::*;

use super::gemm::{Mat, MatMut, gemm};
use crate::ops::linear::Size;

/// Rows of a product that one task computes.
pub(super) const ROW_BLOCK: usize = 256;
/// Columns of a weight gradient that one task computes.
const COLUMN_BLOCK: usize = 512;

/// `y = x Wᵀ + b`; `weight` is [outputs, inputs].
pub fn forward(x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32], size: Size) {
    let Size { inputs, outputs, .. } = size;
    let weight = Mat::new(weight, outputs, inputs, inputs).t();
    y.par_chunks_mut(ROW_BLOCK * outputs).enumerate().for_each(|(block, y)| {
        let rows = y.len() / outputs;
        y.chunks_exact_mut(outputs).for_each(|y| y.copy_from_slice(bias));
        let x = Mat::new(&x[block * ROW_BLOCK * inputs..], rows, inputs, inputs);
        gemm(MatMut::new(y, rows, outputs, outputs), x, weight, true);
    });
}

/// `dW = dyᵀ x` and `db = Σ dy`, or added to what is there.
pub fn backward_weight(
    x: &[f32],
    d_y: &[f32],
    d_weight: &mut [f32],
    d_bias: &mut [f32],
    size: Size,
    accumulate: bool,
) {
    let Size { rows, inputs, outputs, .. } = size;
    let d_yt = Mat::new(d_y, rows, outputs, outputs).t();
    let d_weight = MatMut::new(d_weight, outputs, inputs, inputs);
    (0..inputs.div_ceil(COLUMN_BLOCK)).into_par_iter().for_each(|block| {
        let first = block * COLUMN_BLOCK;
        let last = inputs.min(first + COLUMN_BLOCK);
        // SAFETY: every block has columns of its own.
        let d_weight = unsafe { d_weight.columns(first..last) };
        let x = if rows == 0 { x } else { &x[first..] };
        gemm(d_weight, d_yt, Mat::new(x, rows, last - first, inputs), accumulate);
    });
    backward_bias(d_y, d_bias, accumulate);
}

/// `db = Σ dy` over the rows, or added to what is there.
pub fn backward_bias(d_y: &[f32], d_bias: &mut [f32], accumulate: bool) {
    let outputs = d_bias.len();
    let mut sums = vec![0.0f64; outputs];
    for d_y in d_y.chunks_exact(outputs) {
        sums.iter_mut().zip(d_y).for_each(|(sum, &d)| *sum += f64::from(d));
    }
    for (d_bias, sum) in d_bias.iter_mut().zip(sums) {
        *d_bias = if accumulate { *d_bias + sum as f32 } else { sum as f32 };
    }
}

/// `dx = dy W`.
pub fn backward_input(d_y: &[f32], weight: &[f32], d_x: &mut [f32], size: Size) {
    let Size { inputs, outputs, .. } = size;
    let weight = Mat::new(weight, outputs, inputs, inputs);
    d_x.par_chunks_mut(ROW_BLOCK * inputs).enumerate().for_each(|(block, d_x)| {
        let rows = d_x.len() / inputs;
        let d_y = Mat::new(&d_y[block * ROW_BLOCK * outputs..], rows, outputs, outputs);
        gemm(MatMut::new(d_x, rows, inputs, inputs), d_y, weight, false);
    });
}
