//! Adam with decoupled weight decay for dense parameters: torch's `AdamW` (SPEC 5.4), f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Result, ops::cpu};

/// The options of a step.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Parameters shrink by `lr * weight_decay`.
    pub weight_decay: f64,
    /// Which step this is, from 1.
    pub step: u64,
}

/// `p *= 1 - lr wd; m += (g - m)(1 - β₁); v = β₂ v + (1 - β₂) g²;
/// p -= lr/(1 - β₁ᵗ) m / (√v/√(1 - β₂ᵗ) + eps)`. All four arrays have the same size.
pub fn step(
    parameter: &mut Buffer<f32>,
    exp_avg: &mut Buffer<f32>,
    exp_avg_sq: &mut Buffer<f32>,
    gradient: &Buffer<f32>,
    options: &Options,
    stream: &Stream,
) -> Result<()> {
    let lens = [parameter.len(), exp_avg.len(), exp_avg_sq.len(), gradient.len()];
    ensure(lens.iter().all(|&len| len == lens[0]), "adamw", || {
        format!("parameter, moments and gradient have {lens:?} elements")
    })?;
    ensure(options.step > 0, "adamw", || "steps count from 1".into())?;
    match stream.device() {
        Device::Cpu => {
            let (p, m, v) = (parameter.host_mut(), exp_avg.host_mut(), exp_avg_sq.host_mut());
            cpu::adamw::step(p, m, v, gradient.host(), options);
        }
    }
    Ok(())
}
