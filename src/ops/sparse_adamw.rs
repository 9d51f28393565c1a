//! Adam over the rows that a step has touched (SPEC 5.1, 5.2), f32.

use crate::Result;
use crate::device::{Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::ops::merge_gradients::Gradients;
use crate::ops::rows::Rows;
use crate::ops::{count_on, cpu, host_count};

/// How a touched row shrinks before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// By this share, whatever the learning rate: `SparseAdamWTF`.
    WithoutLr(f64),
}

/// What an update needs to know: the same for all rows of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// `-lr / (1 - β₁ᵗ) √(1 - β₂ᵗ)`.
    pub alpha: f32,
    /// What rows are multiplied by first.
    pub decay: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the denominator, after the bias correction.
    pub eps: f32,
}

impl Coefficients {
    /// Advances the powers of the betas by a step, and gives the coefficients of that step. The
    /// mixture of precisions is RecIS's.
    pub fn advance(powers: [&mut f32; 2], lr: f64, [beta1, beta2]: [f64; 2], eps: f64, decay: Decay) -> Self {
        let [power1, power2] = powers;
        *power1 = (f64::from(*power1) * beta1) as f32;
        *power2 = (f64::from(*power2) * beta2) as f32;
        let (rest1, root) = (1.0 - *power1, (1.0 - *power2).sqrt());
        let Decay::WithoutLr(weight_decay) = decay;
        Self {
            alpha: (-lr / f64::from(rest1) * f64::from(root)) as f32,
            decay: (1.0 - weight_decay) as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: eps as f32,
        }
    }
}

/// `e *= decay; m = m β₁ + g (1 - β₁); v = v β₂ + (1 - β₂) g²; e += α m / (√v + eps)` for every row,
/// stored as [embedding | exp_avg | exp_avg_sq]. Rows must differ;
/// [`crate::ops::hash_table::NO_ROW`] is passed over.
pub fn step(
    storage: &mut Rows,
    gradients: &Gradients,
    coefficients: &Coefficients,
    stream: &Stream,
) -> Result<()> {
    let Gradients { rows, values, count } = gradients;
    storage.check(rows, values.len())?;
    ensure(storage.slots() == 3, "sparse_adamw", || {
        format!("rows have {} slots; the step needs embedding, exp_avg and exp_avg_sq", storage.slots())
    })?;
    match stream.device() {
        Device::Cpu => {
            let count = host_count("sparse_adamw", count.as_ref(), rows.len())?;
            let (layout, dim) = (storage.layout(), storage.dim());
            let (rows, values) = (&rows.on_cpu()?[..count], values.on_cpu()?);
            cpu::rows::for_each_row(storage.on_cpu_mut()?, layout, rows, |row, i| {
                cpu::sparse_adamw::update(row, &values[i * dim..][..dim], coefficients);
            });
            Ok(())
        }
        _ => {
            let storage = storage.raw(stream)?;
            let (capacity, rows) = (rows.len() as i64, rows.on(stream)?);
            let (count, values) = (count_on(count.as_ref(), stream)?, values.on(stream)?);
            let Coefficients { alpha, decay, beta1, beta2, eps } = *coefficients;
            launch!(
                stream,
                recis_sparse_adamw_step(
                    &storage, rows, capacity, count, values, alpha, decay, beta1, beta2, eps
                )
            )
        }
    }
}
