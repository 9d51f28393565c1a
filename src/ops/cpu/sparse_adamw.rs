//! Adam on one row.

use crate::ops::sparse_adamw::Coefficients;

/// Updates a row [embedding | exp_avg | exp_avg_sq] from its gradient.
pub fn update(row: &mut [f32], gradient: &[f32], coefficients: &Coefficients) {
    let Coefficients { alpha, decay, beta1, beta2, eps } = *coefficients;
    let dim = gradient.len();
    let (e, moments) = row.split_at_mut(dim);
    let (m, v) = moments.split_at_mut(dim);
    for (((e, m), v), &g) in e.iter_mut().zip(m).zip(v).zip(gradient) {
        *e *= decay;
        *m = *m * beta1 + g * (1.0 - beta1);
        *v = *v * beta2 + (1.0 - beta2) * g * g;
        *e += alpha * (*m / (v.sqrt() + eps));
    }
}
