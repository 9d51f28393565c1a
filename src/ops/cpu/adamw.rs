//! Adam with decoupled weight decay.

use rayon::prelude::*;

use super::GRAIN;
use crate::ops::adamw::Options;

/// One step over all elements.
pub fn step(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], options: &Options) {
    let Options { lr, beta1, beta2, eps, weight_decay, step } = *options;
    let steps = step as f64;
    let decay = (1.0 - lr * weight_decay) as f32;
    let step_size = (lr / (1.0 - beta1.powf(steps))) as f32;
    let correction = (1.0 / (1.0 - beta2.powf(steps)).sqrt()) as f32;
    let [rest1, beta2, rest2, eps] = [1.0 - beta1, beta2, 1.0 - beta2, eps].map(|x| x as f32);
    let chunks = p.par_chunks_mut(GRAIN).zip(m.par_chunks_mut(GRAIN)).zip(v.par_chunks_mut(GRAIN));
    chunks.zip(g.par_chunks(GRAIN)).for_each(|(((p, m), v), g)| {
        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
            *m += (g - *m) * rest1;
            *v = beta2 * *v + rest2 * g * g;
            *p = *p * decay - step_size * (*m / (v.sqrt() * correction + eps));
        }
    });
}
