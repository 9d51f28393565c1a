//! Adam over the rows that a step has touched (SPEC 5.1, 5.2), f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::rows::Rows;
use crate::{Result, ops::cpu};

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
/// stored as [embedding | exp_avg | exp_avg_sq]; `gradients` [rows, dim]. Rows must differ;
/// [`crate::ops::hash_table::NO_ROW`] is passed over.
pub fn step(
    storage: &mut Rows,
    rows: &Buffer<u32>,
    gradients: &Buffer<f32>,
    coefficients: &Coefficients,
    stream: &Stream,
) -> Result<()> {
    storage.check(rows, gradients.len())?;
    ensure(storage.slots() == 3, "sparse_adamw", || {
        format!("rows have {} slots; the step needs embedding, exp_avg and exp_avg_sq", storage.slots())
    })?;
    match stream.device() {
        Device::Cpu => {
            let dim = storage.dim();
            let layout = cpu::rows::Layout { dim, slots: 3 };
            let mut blocks: Vec<&mut [f32]> = storage.blocks.iter_mut().map(Buffer::host_mut).collect();
            cpu::rows::for_each_row(&mut blocks, layout, rows.host(), |row, i| {
                cpu::sparse_adamw::update(row, &gradients.host()[i * dim..][..dim], coefficients);
            });
        }
    }
    Ok(())
}
