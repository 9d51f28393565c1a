//! Adam with decoupled weight decay.

use rayon::prelude::*;

use super::GRAIN;
use crate::ops::adamw::Coefficients;

/// One step over all elements.
pub fn step(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], coefficients: &Coefficients) {
    let Coefficients { scale, decay, step_size, rest1, beta2, rest2, correction, eps } = *coefficients;
    let chunks = p.par_chunks_mut(GRAIN).zip(m.par_chunks_mut(GRAIN)).zip(v.par_chunks_mut(GRAIN));
    chunks.zip(g.par_chunks(GRAIN)).for_each(|(((p, m), v), g)| {
        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * scale;
            *m += (g - *m) * rest1;
            *v = beta2 * *v + rest2 * g * g;
            *p = *p * decay - step_size * (*m / (v.sqrt() * correction + eps));
        }
    });
}
