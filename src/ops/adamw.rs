//! Adam with decoupled weight decay for dense parameters: torch's `AdamW` (SPEC 5.4), f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::recis_adamw_parameter;
use crate::ops::launch::launch;
use crate::{Result, ops::cpu};

/// A parameter, its moments and its gradient, all of the same size.
pub struct Parameter<'a> {
    /// What the step moves.
    pub value: &'a mut Buffer<f32>,
    /// The running mean of its gradients.
    pub exp_avg: &'a mut Buffer<f32>,
    /// The running mean of their squares.
    pub exp_avg_sq: &'a mut Buffer<f32>,
    /// Its gradient, summed over the step's batches.
    pub gradient: &'a Buffer<f32>,
}

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
    /// How many batches the gradients are summed over: the step goes by their mean.
    pub batches: usize,
}

/// What every element's update needs: computed in f64, then rounded.
#[derive(Clone, Copy, Debug)]
pub struct Coefficients {
    /// `1 / batches`.
    pub scale: f32,
    /// `1 - lr * weight_decay`.
    pub decay: f32,
    /// `lr / (1 - β₁ᵗ)`.
    pub step_size: f32,
    /// `1 - β₁`.
    pub rest1: f32,
    /// `β₂`.
    pub beta2: f32,
    /// `1 - β₂`.
    pub rest2: f32,
    /// `1 / √(1 - β₂ᵗ)`.
    pub correction: f32,
    /// Added to the denominator.
    pub eps: f32,
}

impl Options {
    /// The coefficients of the step.
    pub fn coefficients(&self) -> Coefficients {
        let Self { lr, beta1, beta2, eps, weight_decay, step, batches } = *self;
        let steps = step as f64;
        Coefficients {
            scale: 1.0 / batches as f32,
            decay: (1.0 - lr * weight_decay) as f32,
            step_size: (lr / (1.0 - beta1.powf(steps))) as f32,
            rest1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            correction: (1.0 / (1.0 - beta2.powf(steps)).sqrt()) as f32,
            eps: eps as f32,
        }
    }
}

/// For each of the parameters, `g` its mean gradient, `p *= 1 - lr wd; m += (g - m)(1 - β₁); v = β₂ v + (1 - β₂) g²;
/// p -= lr/(1 - β₁ᵗ) m / (√v/√(1 - β₂ᵗ) + eps)`.
pub fn step(parameters: &mut [Parameter<'_>], options: &Options, stream: &Stream) -> Result<()> {
    for Parameter { value, exp_avg, exp_avg_sq, gradient } in &*parameters {
        let lens = [value.len(), exp_avg.len(), exp_avg_sq.len(), gradient.len()];
        ensure(lens.iter().all(|&len| len == lens[0]), "adamw", || {
            format!("parameter, moments and gradient have {lens:?} elements")
        })?;
    }
    ensure(options.step > 0, "adamw", || "steps count from 1".into())?;
    ensure(options.batches > 0, "adamw", || "a step of no batches".into())?;
    let coefficients = options.coefficients();
    match stream.device() {
        Device::Cpu => parameters.iter_mut().try_for_each(|parameter| {
            let Parameter { value, exp_avg, exp_avg_sq, gradient } = parameter;
            let (p, m, v) = (value.on_cpu_mut()?, exp_avg.on_cpu_mut()?, exp_avg_sq.on_cpu_mut()?);
            cpu::adamw::step(p, m, v, gradient.on_cpu()?, &coefficients);
            Ok(())
        }),
        _ => {
            let raw = parameters.iter_mut().map(|parameter| {
                Ok(recis_adamw_parameter {
                    count: parameter.value.len() as i64,
                    value: parameter.value.on_mut(stream)?,
                    exp_avg: parameter.exp_avg.on_mut(stream)?,
                    exp_avg_sq: parameter.exp_avg_sq.on_mut(stream)?,
                    gradient: parameter.gradient.on(stream)?,
                })
            });
            let raw = raw.collect::<Result<Vec<_>>>()?;
            let (parameters, count) = (raw.as_ptr(), raw.len() as i64);
            let Coefficients { scale, decay, step_size, rest1, beta2, rest2, correction, eps } = coefficients;
            launch!(
                stream,
                recis_adamw_step(
                    parameters, count, scale, decay, step_size, rest1, beta2, rest2, correction, eps
                )
            )
        }
    }
}
