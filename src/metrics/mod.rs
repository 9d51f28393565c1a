//! Metrics over the predictions of many batches.

mod added;
mod auroc;

pub use added::add_metric;
pub(crate) use added::added_metrics;
pub use auroc::Auroc;

use crate::Result;
use crate::device::{Buffer, Stream};
use crate::dist::Communicator;

/// A number that a device may still be computing.
pub struct Reading(Box<dyn FnOnce() -> Result<f64> + Send>);

impl Reading {
    /// A number that is known.
    pub fn new(value: f64) -> Self {
        Self(Box::new(move || Ok(value)))
    }

    /// The number that `read` gives, waiting for whatever it needs.
    pub fn later(read: impl FnOnce() -> Result<f64> + Send + 'static) -> Self {
        Self(Box::new(read))
    }

    /// The number. Waits for it.
    pub fn wait(self) -> Result<f64> {
        (self.0)()
    }
}

/// A number computed from all predictions and labels seen so far.
pub trait Metric: Send {
    /// Takes a batch into account; `prediction` and `label` have one value a row.
    fn update(&mut self, prediction: &Buffer<f32>, label: &Buffer<f32>, stream: &Stream) -> Result<()>;

    /// Adds up what all ranks have seen so far: [`Metric::compute`] and [`Metric::state`] are then over
    /// all of them. All ranks call it together.
    fn all_reduce(&mut self, communicator: &dyn Communicator, stream: &Stream) -> Result<()>;

    /// The metric over everything seen so far. Enqueues what is needed to know it, and does not wait.
    fn compute(&self, stream: &Stream) -> Result<Reading>;

    /// The same metric without what it has seen: evaluation uses it, so that training's counts
    /// stay training's.
    fn fresh(&self) -> Box<dyn Metric>;

    /// Named counters, for a checkpoint.
    fn state(&self, stream: &Stream) -> Result<Vec<(&'static str, Vec<i64>)>>;

    /// Takes counters back. Of several ranks rank 0 gets them, the others zeros.
    ///
    /// # Errors
    /// Counters of another metric or size.
    fn restore(&mut self, state: &[(&'static str, Vec<i64>)], stream: &Stream) -> Result<()>;

    /// Whether what a training step calls only enqueues work, and never waits for the device (no): if so of all that
    /// a plan has, a step may be launched as one graph.
    fn only_enqueues(&self) -> bool {
        false
    }
}
