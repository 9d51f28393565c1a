//! From a model's declaration to the sequence of operations that a step runs.

mod backward;
mod evaluate;
mod inputs;
mod launch;
mod network;
mod pending;
mod prepare;
mod state;
mod step;
mod tail;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::device::{Buffer, Device, Graph, Stream};
use crate::dist::{Communicator, gather_bytes};
use crate::features::FeatureEngine;
use crate::metrics::Metric;
use crate::ops::linear::Precision;
use crate::ops::linear_tile::Reduction;
use crate::ops::partition_ids::Owner;
use crate::ops::unfit::Unfit;
use crate::optim::{DenseOptimizer, SparseOptimizer};
use crate::{Error, Result};

use super::embedding::{EmbeddingEngine, Sharding};
use super::{Loss, Model};
use inputs::Inputs;
use network::Network;
pub use pending::{PendingStep, StepOutput};
use prepare::Ahead;
pub use prepare::{PreparedBatch, Preparer};
pub use step::Turn;

/// How a plan runs.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Where.
    pub device: Device,
    /// Decides every initial value (42).
    pub seed: u64,
    /// How exactly a device computes large products of matrices (fp32).
    pub precision: Precision,
    /// Whether sums over the ids of a tile must be the same in every run (repeatable). They always are
    /// without `fuse`.
    pub reduction: Reduction,
    /// Whether operations may be fused; without, every one runs by itself (true).
    pub fuse: bool,
    /// The ranks that train the model together (none: one rank). Tables are spread over them, all else
    /// is kept by each; all of them make the plan and call it together.
    pub communicator: Option<Arc<dyn Communicator>>,
    /// Which rank owns which rows (balanced).
    pub owner: Owner,
}

impl Default for PlanOptions {
    fn default() -> Self {
        let device = Device::default();
        Self {
            device,
            seed: 42,
            precision: Precision::Fp32,
            reduction: Reduction::Repeatable,
            fuse: true,
            communicator: None,
            owner: Owner::Balanced,
        }
    }
}

/// A model made ready to run: its tables, parameters and buffers on one device.
pub struct Plan {
    stream: Stream,
    /// For what runs beside the rest: the gradients of the first layer's runs.
    beside: Stream,
    /// The same: the update of the parameters, what the first layer prepares of them, and zeros for the gradients of
    /// embeddings. In a graph also all small sums, of which no product is in need.
    spare: Stream,
    /// For the metrics and what is read back.
    reading: Stream,
    preparer: Preparer,
    embeddings: EmbeddingEngine,
    inputs: Inputs,
    network: Network,
    loss: Box<dyn Loss>,
    metrics: Vec<(String, Box<dyn Metric>)>,
    dense_optimizer: Box<dyn DenseOptimizer>,
    sparse_optimizer: Box<dyn SparseOptimizer>,
    /// Batches whose gradients are waiting for [`Plan::apply_gradients`].
    pending_batches: usize,
    /// How many an update takes, if that is known.
    batches_an_update: Option<usize>,
    /// Whether their dense gradients are being added up over the ranks.
    sums_begun: bool,
    /// Whether a step is recorded as a graph: what does not depend on each other then has streams of its own.
    is_recorded: bool,
    label: Buffer<f32>,
    loss_value: Buffer<f32>,
    d_prediction: Buffer<f32>,
    /// Takes what of a batch is not finite, column by column, and behind them a prediction that has no loss.
    unfit: Unfit,
    unfit_is_clear: bool,
    communicator: Option<Arc<dyn Communicator>>,
    /// For a step and its update, if a CUDA device can do them without the host.
    graph: Option<Graph>,
    /// The loss over all ranks.
    shared_loss: Buffer<f32>,
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
        let stream = Stream::urgent(options.device)?;
        sparse_optimizer.check()?;
        let first_is_linear = model.layers().first().is_some_and(|layer| layer.is_linear());
        let inputs = Inputs::new(&model, options.fuse && first_is_linear, &stream)?;
        let (make, seed) = (&model.make_table, options.seed);
        let mut embeddings = EmbeddingEngine::with_tables(&model.embeddings, make, seed, &stream)?;
        embeddings.attach(&sparse_optimizer, &stream)?;
        embeddings.gather(inputs.gathered().map(|(name, _)| name))?;
        let mut network =
            Network::new(model.dense, inputs.width(), options.precision, options.seed, &stream)?;
        network.reduction = options.reduction;
        if options.fuse && model.loss.is_bce() {
            network.fuse_tail();
        }
        if let Some(communicator) = options.communicator.clone() {
            network.broadcast(communicator.as_ref(), &stream)?;
            embeddings.shard(Sharding { communicator, owner: options.owner });
        }
        if options.communicator.is_none() {
            embeddings.run_beside(&stream)?;
        }
        let mut features = FeatureEngine::new(model.features)?;
        features.run_beside(&stream)?;
        let unfit = Unfit::new(inputs.finite().len() + 1, &stream)?;
        unique("metrics", model.metrics.iter().map(|(name, _)| name))?;
        unique("parameters", network.parameters().iter().map(|parameter| &parameter.name))?;
        let mut dense_optimizer: Box<dyn DenseOptimizer> = Box::new(dense_optimizer);
        dense_optimizer.attach(network.parameters(), &stream)?;
        let (partitioner, ahead) = (embeddings.partitioner(), Stream::new(options.device)?);
        let preparer = Preparer(Arc::new(Ahead { features, partitioner, stream: ahead }));
        let mut plan = Self {
            preparer,
            embeddings,
            inputs,
            network,
            loss: model.loss,
            metrics: model.metrics,
            dense_optimizer,
            sparse_optimizer: Box::new(sparse_optimizer),
            pending_batches: 0,
            batches_an_update: None,
            sums_begun: false,
            is_recorded: false,
            label: Buffer::zeros(0, &stream)?,
            loss_value: Buffer::zeros(1, &stream)?,
            d_prediction: Buffer::zeros(0, &stream)?,
            unfit,
            communicator: options.communicator.clone(),
            shared_loss: Buffer::zeros(1, &stream)?,
            beside: Stream::urgent(options.device)?,
            spare: Stream::urgent(options.device)?,
            reading: Stream::new(options.device)?,
            unfit_is_clear: true,
            graph: None,
            stream,
        };
        plan.graph = plan.graph()?;
        Ok(plan)
    }

    /// The device that it runs on.
    pub fn device(&self) -> Device {
        self.stream.device()
    }

    /// Waits until all work enqueued so far has finished, that on streams beside the plan's own too.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn synchronize(&self) -> Result<()> {
        self.stream.synchronize()?;
        self.beside.synchronize()?;
        self.spare.synchronize()?;
        self.reading.synchronize()?;
        self.preparer.streams().try_for_each(Stream::synchronize)?;
        self.embeddings.synchronize()
    }

    /// The ranks that train the model together, if there are several.
    pub fn communicator(&self) -> Option<&dyn Communicator> {
        self.communicator.as_deref()
    }

    /// Prepares batches for this plan, on any thread.
    pub fn preparer(&self) -> Preparer {
        self.preparer.clone()
    }

    /// A sum and a count over all ranks.
    pub fn over_all_ranks(&self, sum: f64, count: usize) -> Result<(f64, usize)> {
        let Some(communicator) = &self.communicator else { return Ok((sum, count)) };
        let own = Buffer::from_vec(vec![sum.to_bits(), count as u64], &self.stream)?;
        let mut all = Buffer::zeros(0, &self.stream)?;
        communicator.all_gather((&own).into(), (&mut all).into(), &self.stream)?;
        let all = all.to_vec(&self.stream)?;
        let sum = all.iter().step_by(2).map(|&bits| f64::from_bits(bits)).sum();
        Ok((sum, all.iter().skip(1).step_by(2).sum::<u64>() as usize))
    }

    /// The bytes of all ranks, in order; one rank's own without others.
    pub fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        match &self.communicator {
            Some(communicator) => gather_bytes(communicator.as_ref(), bytes, &self.stream),
            None => Ok(vec![bytes.to_vec()]),
        }
    }

    /// The predictions of the last batch.
    pub fn predictions(&self) -> Result<Vec<f32>> {
        self.network.prediction().to_vec(&self.stream)
    }

    /// The number of ids in each logical table; with several ranks, of those that this one owns.
    pub fn table_sizes(&self) -> Result<Vec<(&str, usize)>> {
        self.embeddings.sizes(&self.stream)
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
        writeln!(f, "features\n{}", self.preparer.0.features)?;
        writeln!(f, "embeddings\n{}", self.embeddings)?;
        writeln!(f, "network\n{}{}", self.inputs, self.network)?;
        write!(f, "loss\n  {}", self.loss.describe())
    }
}
