//! From a model's declaration to the sequence of operations that a step runs.

mod inputs;
mod network;
mod pending;
mod state;

use std::collections::HashSet;
use std::fmt;

use crate::device::{Buffer, Device, Stream};
use crate::features::FeatureEngine;
use crate::metrics::Metric;
use crate::ops::unfit::Unfit;
use crate::optim::{DenseOptimizer, SparseOptimizer};
use crate::tensor::Batch;
use crate::{Error, Result};

use super::embedding::EmbeddingEngine;
use super::{Loss, Model};
use inputs::Inputs;
use network::Network;
pub use pending::{PendingStep, StepOutput};

/// How a plan runs.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Where.
    pub device: Device,
    /// Decides every initial value (42).
    pub seed: u64,
    /// Whether operations may be fused; without, every one runs by itself (true).
    pub fuse: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { device: Device::default(), seed: 42, fuse: true }
    }
}

/// A model made ready to run: its tables, parameters and buffers on one device.
pub struct Plan {
    stream: Stream,
    features: FeatureEngine,
    embeddings: EmbeddingEngine,
    inputs: Inputs,
    network: Network,
    loss: Box<dyn Loss>,
    metrics: Vec<(String, Box<dyn Metric>)>,
    dense_optimizer: Box<dyn DenseOptimizer>,
    sparse_optimizer: Box<dyn SparseOptimizer>,
    /// Batches whose gradients are waiting for [`Plan::apply_gradients`].
    pending_batches: usize,
    label: Buffer<f32>,
    loss_value: Buffer<f32>,
    d_prediction: Buffer<f32>,
    /// Takes a prediction that has no loss.
    prediction_unfit: Unfit,
}

impl Plan {
    /// Checks a declaration and makes it run.
    ///
    /// # Errors
    /// Declarations that contradict themselves, options that cannot be used, a device that is not
    /// there.
    pub fn new(
        model: Model,
        dense_optimizer: impl DenseOptimizer + 'static,
        sparse_optimizer: impl SparseOptimizer + 'static,
        options: &PlanOptions,
    ) -> Result<Self> {
        let stream = Stream::new(options.device)?;
        sparse_optimizer.check()?;
        let first_is_linear = model.layers().first().is_some_and(|layer| layer.is_linear());
        let inputs = Inputs::new(&model, options.fuse && first_is_linear, &stream)?;
        let (make, seed) = (&model.make_table, options.seed);
        let mut embeddings = EmbeddingEngine::with_tables(&model.embeddings, make, seed, &stream)?;
        embeddings.attach(&sparse_optimizer, &stream)?;
        let network = Network::new(model.dense, inputs.width(), options.seed, &stream)?;
        unique("metrics", model.metrics.iter().map(|(name, _)| name))?;
        unique("parameters", network.parameters().iter().map(|parameter| &parameter.name))?;
        let mut dense_optimizer: Box<dyn DenseOptimizer> = Box::new(dense_optimizer);
        dense_optimizer.attach(network.parameters(), &stream)?;
        Ok(Self {
            features: FeatureEngine::new(model.features)?,
            embeddings,
            inputs,
            network,
            loss: model.loss,
            metrics: model.metrics,
            dense_optimizer,
            sparse_optimizer: Box::new(sparse_optimizer),
            pending_batches: 0,
            label: Buffer::zeros(0, &stream)?,
            loss_value: Buffer::zeros(1, &stream)?,
            d_prediction: Buffer::zeros(0, &stream)?,
            prediction_unfit: Unfit::new(&stream)?,
            stream,
        })
    }

    /// The device that it runs on.
    pub fn device(&self) -> Device {
        self.stream.device()
    }

    /// Enqueues forward and backward of one batch; the gradients wait for [`Plan::apply_gradients`].
    /// What it says of the batch is known later on a device: ask for it when the next batch is under
    /// way, and before anything learned is kept.
    pub fn train_batch(&mut self, batch: &Batch) -> Result<PendingStep> {
        self.forward(batch, true)?;
        self.d_prediction.resize(batch.rows, &self.stream)?;
        let (prediction, unfit) = (self.network.prediction(), &mut self.prediction_unfit);
        let (loss, d_prediction) = (&mut self.loss_value, Some(&mut self.d_prediction));
        unfit.clear(&self.stream)?;
        self.loss.forward(prediction, &self.label, loss, d_prediction, unfit, &self.stream)?;
        for (_, metric) in &mut self.metrics {
            metric.update(prediction, &self.label, &self.stream)?;
        }
        self.backward(batch.rows)?;
        self.pending_batches += 1;
        self.pending_step(batch, &self.metrics)
    }

    /// Moves parameters and tables by the mean gradient of the batches since the last call.
    pub fn apply_gradients(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.pending_batches);
        if batches == 0 {
            return Ok(());
        }
        let parameters = self.network.average_gradients(batches, &self.stream)?;
        self.dense_optimizer.step(parameters, &self.stream)?;
        self.embeddings.step(self.sparse_optimizer.as_ref(), batches, &self.stream)
    }

    /// The loss of a batch, nothing learned: unknown ids count as zero rows. `metrics` take the
    /// batch into account instead of the model's own.
    pub fn evaluate_batch(
        &mut self,
        batch: &Batch,
        metrics: &mut [(String, Box<dyn Metric>)],
    ) -> Result<f32> {
        self.forward(batch, false)?;
        let (prediction, unfit) = (self.network.prediction(), &mut self.prediction_unfit);
        unfit.clear(&self.stream)?;
        self.loss.forward(prediction, &self.label, &mut self.loss_value, None, unfit, &self.stream)?;
        for (_, metric) in metrics {
            metric.update(prediction, &self.label, &self.stream)?;
        }
        Ok(self.pending_step(batch, &[])?.wait()?.loss)
    }

    /// The model's metrics as they are before any batch.
    pub fn fresh_metrics(&self) -> Vec<(String, Box<dyn Metric>)> {
        self.metrics.iter().map(|(name, metric)| (name.clone(), metric.fresh())).collect()
    }

    /// The values of metrics that [`Plan::evaluate_batch`] has fed.
    pub fn compute(&self, metrics: &[(String, Box<dyn Metric>)]) -> Result<Vec<(String, f64)>> {
        metrics
            .iter()
            .map(|(name, metric)| Ok((name.clone(), metric.compute(&self.stream)?.wait()?)))
            .collect()
    }

    /// The predictions of the last batch.
    pub fn predictions(&self) -> Result<Vec<f32>> {
        self.network.prediction().to_vec(&self.stream)
    }

    /// The number of ids in each logical table.
    pub fn table_sizes(&self) -> Result<Vec<(&str, usize)>> {
        self.embeddings.sizes(&self.stream)
    }

    fn forward(&mut self, batch: &Batch, train: bool) -> Result<()> {
        if batch.rows == 0 {
            return Err(Error::Data { place: "batch".into(), what: "it has no rows".into() });
        }
        if let Some((name, tensor)) = batch.columns().find(|(_, tensor)| tensor.rows() != batch.rows) {
            let what = format!("{} rows in a batch of {}", tensor.rows(), batch.rows);
            return Err(Error::Data { place: format!("column '{name}'"), what });
        }
        let columns = self.features.forward(&batch.copy_to(&self.stream)?, &self.stream)?;
        self.inputs.read_label(&columns, &mut self.label, &self.stream)?;
        self.embeddings.lookup(&columns, train, &self.stream)?;
        self.inputs.gather(&columns, &self.embeddings, &self.stream)?;
        self.network.forward(&self.inputs, &self.embeddings, batch.rows, &self.stream)
    }

    /// Enqueues the reading of what a step says.
    fn pending_step(&self, batch: &Batch, metrics: &[(String, Box<dyn Metric>)]) -> Result<PendingStep> {
        let finite = self.inputs.finite();
        Ok(PendingStep {
            batch: batch.without_columns(),
            finite: finite
                .map(|(name, unfit)| Ok((name.into(), unfit.read_back(&self.stream)?)))
                .collect::<Result<_>>()?,
            prediction: self.prediction_unfit.read_back(&self.stream)?,
            loss: self.loss_value.read_back(&self.stream)?,
            metrics: metrics
                .iter()
                .map(|(name, metric)| Ok((name.clone(), metric.compute(&self.stream)?)))
                .collect::<Result<_>>()?,
        })
    }

    fn backward(&mut self, rows: usize) -> Result<()> {
        let accumulate = self.pending_batches > 0;
        let (inputs, embeddings) = (&mut self.inputs, &mut self.embeddings);
        self.network.backward(inputs, embeddings, &self.d_prediction, rows, accumulate, &self.stream)?;
        inputs.scatter_gradients(embeddings, &self.stream)?;
        embeddings.finish_backward(&self.stream)
    }
}

/// Fails if a name comes twice: a checkpoint could not tell its bearers apart.
fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::Model(format!("two {what} are named '{name}'")));
        }
    }
    Ok(())
}

/// The operations of a step, in order.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "features\n{}", self.features)?;
        writeln!(f, "embeddings\n{}", self.embeddings)?;
        writeln!(f, "network\n{}{}", self.inputs, self.network)?;
        write!(f, "loss\n  {}", self.loss.describe())
    }
}
