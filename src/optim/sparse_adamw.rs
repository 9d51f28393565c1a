use super::adamw::check_adam;
use crate::Result;
use crate::device::Stream;
use crate::ops::merge_gradients::Gradients;
use crate::ops::rows::Rows;
use crate::ops::sparse_adamw::{self, Coefficients, Decay};

/// Updates the rows of a table that a step has touched.
pub trait SparseOptimizer: Send {
    /// Begins the names of what the optimizer keeps: `sparse_adamw_tf`.
    fn prefix(&self) -> &'static str;

    /// What it keeps a row beside the embedding: `exp_avg`, `exp_avg_sq`. New rows start at 0.
    fn slots(&self) -> &'static [&'static str];

    /// Checks the options.
    fn check(&self) -> Result<()>;

    /// Updates the rows that have gradients.
    fn step(
        &self,
        state: &mut SparseState,
        rows: &mut Rows,
        gradients: &Gradients,
        stream: &Stream,
    ) -> Result<()>;

    /// Whether what a training step calls only enqueues work, and never waits for the device (no): if so of all that
    /// a plan has, a step may be launched as one graph.
    fn only_enqueues(&self) -> bool {
        false
    }
}

/// What an optimizer keeps for a whole physical table: powers of the betas, advanced at every step
/// in which the table had a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseState {
    /// `beta1` to the number of steps.
    pub beta1_power: f32,
    /// `beta2` to the number of steps.
    pub beta2_power: f32,
}

impl Default for SparseState {
    fn default() -> Self {
        Self { beta1_power: 1.0, beta2_power: 1.0 }
    }
}

/// Adam over touched rows with a decay that the learning rate does not scale (SPEC 5.1): at every
/// touch a row first shrinks by `weight_decay`, 1 % by default.
#[derive(Clone, Copy, Debug)]
pub struct SparseAdamWTF {
    /// Learning rate (1e-3).
    pub lr: f64,
    /// Decay of the first moment (0.9).
    pub beta1: f64,
    /// Decay of the second moment (0.999).
    pub beta2: f64,
    /// Added to the denominator, outside the bias correction (1e-8).
    pub eps: f64,
    /// Rows shrink by this at every touch (1e-2).
    pub weight_decay: f64,
}

impl SparseAdamWTF {
    /// The defaults with this learning rate.
    pub fn new(lr: f64) -> Self {
        Self { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 }
    }
}

impl SparseOptimizer for SparseAdamWTF {
    fn prefix(&self) -> &'static str {
        "sparse_adamw_tf"
    }

    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn check(&self) -> Result<()> {
        check_adam("SparseAdamWTF", self.lr, [self.beta1, self.beta2], self.eps, self.weight_decay)
    }

    fn step(
        &self,
        state: &mut SparseState,
        rows: &mut Rows,
        gradients: &Gradients,
        stream: &Stream,
    ) -> Result<()> {
        let coefficients = Coefficients::advance(
            [&mut state.beta1_power, &mut state.beta2_power],
            self.lr,
            [self.beta1, self.beta2],
            self.eps,
            Decay::WithoutLr(self.weight_decay),
        );
        sparse_adamw::step(rows, gradients, &coefficients, stream)
    }

    fn only_enqueues(&self) -> bool {
        true
    }
}
