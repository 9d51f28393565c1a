//! Seeded numbers and the comparison of floats.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recis::device::Buffer;

pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub fn floats(rng: &mut StdRng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random::<f32>() - 0.5).collect()
}

pub fn buffer(rng: &mut StdRng, n: usize) -> Buffer<f32> {
    floats(rng, n).into()
}

/// The largest error of `values` against an f64 reference, in units of f32's precision at the
/// magnitude `scale`.
pub fn ulps(values: &[f32], reference: &[f64], scale: f64) -> f64 {
    assert_eq!(values.len(), reference.len());
    let error = values.iter().zip(reference).map(|(&v, r)| (f64::from(v) - r).abs());
    error.fold(0.0, f64::max) / (f64::from(f32::EPSILON) * scale)
}
