//! What a model says of batches that it does not learn from.

use super::Plan;
use super::step::readiness;
use crate::metrics::Metric;
use crate::tensor::Batch;
use crate::{Error, Result};

impl Plan {
    /// The loss of a batch, nothing learned: unknown ids count as zero rows. `metrics` take the
    /// batch into account instead of the model's own.
    pub fn evaluate_batch(
        &mut self,
        batch: &Batch,
        metrics: &mut [(String, Box<dyn Metric>)],
    ) -> Result<f32> {
        let loss = self.evaluate_or_end(Some(batch), metrics)?;
        loss.ok_or_else(|| Error::Model("a batch that is there was not evaluated".into()))
    }

    /// [`Plan::evaluate_batch`] for several ranks: those without a batch help the others to their rows,
    /// and have no loss, until none has a batch; then there is `None` for all.
    pub fn evaluate_or_end(
        &mut self,
        batch: Option<&Batch>,
        metrics: &mut [(String, Box<dyn Metric>)],
    ) -> Result<Option<f32>> {
        let own = if batch.is_some() { readiness::READY } else { readiness::END };
        let prepared = batch.map(|batch| self.preparer.prepare(batch)).transpose()?;
        let (columns, notices) = self.begin(prepared, own)?;
        if notices.iter().all(|notice| notice.state == readiness::END) {
            return Ok(None);
        }
        self.forward(columns.as_ref(), false)?;
        let (Some(batch), Some(_)) = (batch, columns) else { return Ok(Some(0.0)) };
        let (prediction, unfit) = (self.network.prediction(), self.unfit.word(self.inputs.finite().len()));
        self.loss.forward(prediction, &self.label, &mut self.loss_value, None, unfit, &self.stream)?;
        for (_, metric) in metrics {
            metric.update(prediction, &self.label, &self.stream)?;
        }
        let step = self.pending_step(batch, batch.rows, false)?.wait()?;
        Ok(Some(step.local_loss.unwrap_or(step.loss)))
    }

    /// The model's metrics as they are before any batch.
    pub fn fresh_metrics(&self) -> Vec<(String, Box<dyn Metric>)> {
        self.metrics.iter().map(|(name, metric)| (name.clone(), metric.fresh())).collect()
    }

    /// The values of metrics that [`Plan::evaluate_batch`] has fed, over all ranks.
    pub fn compute(&self, metrics: &mut [(String, Box<dyn Metric>)]) -> Result<Vec<(String, f64)>> {
        if let Some(communicator) = &self.communicator {
            for (_, metric) in &mut *metrics {
                metric.all_reduce(communicator.as_ref(), &self.stream)?;
            }
        }
        metrics
            .iter()
            .map(|(name, metric)| Ok((name.clone(), metric.compute(&self.stream)?.wait()?)))
            .collect()
    }
}
