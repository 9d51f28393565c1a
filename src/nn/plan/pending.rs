//! What a step says, read from the device without holding it up.

use std::fmt;
use std::sync::Arc;

use super::Plan;
use crate::device::ReadBack;
use crate::dist::Reduce;
use crate::metrics::Reading;
use crate::ops::scale;
use crate::ops::unfit::{Found, Unfit};
use crate::tensor::Batch;
use crate::{Error, Result};

/// What a step tells.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutput {
    /// The batch's loss; with several ranks the mean over the rows of all of them.
    pub loss: f32,
    /// With several ranks: the loss of this rank's batch, 0 without rows.
    pub local_loss: Option<f32>,
    /// The rows of the batch; with several ranks, of all of them.
    pub rows: usize,
    /// The model's metrics, in order.
    pub metrics: Vec<(String, f64)>,
}

/// A step on its way: what it says is there when the device has got to it.
#[must_use = "it says whether the batch was fit to learn from"]
pub struct PendingStep {
    /// Where the batch came from, for messages.
    pub(super) batch: Batch,
    /// The columns whose values must be finite.
    pub(super) finite: Arc<[String]>,
    /// What was found in them, and behind them in the predictions.
    pub(super) unfit: ReadBack<u64>,
    pub(super) loss: ReadBack<f32>,
    pub(super) local_loss: Option<ReadBack<f32>>,
    pub(super) rows: usize,
    pub(super) metrics: Vec<(String, Reading)>,
}

impl fmt::Debug for PendingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingStep({} rows)", self.batch.rows)
    }
}

impl PendingStep {
    /// Whether the loss is there, and whether the batch was fit: [`PendingStep::wait`] then waits for the
    /// metrics at most.
    pub fn is_ready(&self) -> bool {
        // Enqueued behind what is checked.
        self.loss.is_ready()
    }

    /// Waits for what the step says. With one rank that may be known before its backward pass has ended:
    /// [`Plan::synchronize`] waits for all work.
    ///
    /// # Errors
    /// A value of the batch or a prediction that nothing can be learned from, and what has gone wrong on
    /// the device up to there.
    pub fn wait(self) -> Result<StepOutput> {
        let found = Unfit::found(self.unfit)?;
        for (name, found) in self.finite.iter().zip(&found) {
            if let Some(Found { row, value }) = *found {
                let place = format!("column '{name}', {}", self.batch.place(row));
                return Err(Error::Data { place, what: format!("the value is {value}; it must be finite") });
            }
        }
        if let Some(Some(Found { row, value })) = found.last() {
            return Err(Error::shape(
                "loss",
                format!("the prediction of row {row} is {value}, outside [0, 1]"),
            ));
        }
        let metrics = self.metrics.into_iter().map(|(name, reading)| Ok((name, reading.wait()?)));
        let metrics = metrics.collect::<Result<_>>()?;
        let first = |values: Vec<f32>| values.first().copied().unwrap_or(f32::NAN);
        let local_loss = self.local_loss.map(ReadBack::wait).transpose()?.map(first);
        Ok(StepOutput { loss: first(self.loss.wait()?), local_loss, rows: self.rows, metrics })
    }
}

impl Plan {
    /// The loss over the rows of all ranks.
    pub(super) fn share_loss(&mut self, rows: usize, total: u64) -> Result<()> {
        let Some(communicator) = &self.communicator else { return Ok(()) };
        self.shared_loss.copy_from(&self.loss_value, &self.stream)?;
        let share = rows as f32 / total.max(1) as f32;
        scale::forward(&mut self.shared_loss, share, &self.stream)?;
        communicator.all_reduce((&mut self.shared_loss).into(), Reduce::Sum, &self.stream)
    }

    /// Enqueues the reading of what a step says, the metrics too if it is one of training.
    pub(super) fn pending_step(&mut self, batch: &Batch, rows: usize, train: bool) -> Result<PendingStep> {
        let (shared, reading) = (self.communicator.is_some(), &self.reading);
        let unfit = self.unfit.read_back(reading)?;
        self.unfit.clear(reading)?;
        self.unfit_is_clear = true;
        let loss = if shared { &self.shared_loss } else { &self.loss_value };
        let metrics = self.metrics.iter().filter(|_| train);
        Ok(PendingStep {
            batch: batch.without_columns(),
            finite: self.inputs.finite().clone(),
            unfit,
            loss: loss.read_back(reading)?,
            local_loss: shared.then(|| self.loss_value.read_back(reading)).transpose()?,
            rows,
            metrics: metrics
                .map(|(name, metric)| Ok((name.clone(), metric.compute(reading)?)))
                .collect::<Result<_>>()?,
        })
    }
}
