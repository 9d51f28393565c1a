//! From a model's declaration to the sequence of operations that a step runs.

mod backward;
mod evaluate;
mod inputs;
mod launch;
mod network;
mod pending;
mod prepare;
mod state;
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
use crate::tensor::Batch;
use crate::{Error, Result};

use super::embedding::{EmbeddingEngine, Notice, Sharding};
use super::{Loss, Model};
use inputs::Inputs;
use network::Network;
pub use pending::{PendingStep, StepOutput};
use prepare::Ahead;
pub use prepare::{PreparedBatch, Preparer};

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
    /// The same: the update of the parameters, and what the first layer prepares of them.
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
    /// Whether a graph is recorded, which has the update too.
    records_update: bool,
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

/// What the ranks have agreed on.
#[derive(Debug)]
pub enum Turn {
    /// All go on: forward and backward of their batches are under way.
    Step(Box<PendingStep>),
    /// A rank is asked to stop. No batch was used.
    Stop,
    /// A rank has no batch any more. No batch was used.
    End,
}

/// What a rank tells the others before a step: the greatest counts.
mod readiness {
    pub const READY: u64 = 0;
    pub const STOP: u64 = 1;
    pub const END: u64 = 2;
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
            records_update: false,
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

    /// Says that every update takes so many batches. With several ranks the dense gradients are then added
    /// up during the last one's backward pass; else by [`Plan::apply_gradients`]. With one rank on a CUDA device, a
    /// batch of up to 2048 rows that is an update of its own is also learned from when it is trained on, as one graph,
    /// whatever [`PendingStep::wait`] then says of it, and nothing is left to apply. The result is the same; only if such a
    /// step fails for want of memory, its parameters may have moved already.
    pub fn update_every(&mut self, batches: usize) {
        self.batches_an_update = Some(batches);
    }

    /// Enqueues forward and backward of one batch; the gradients wait for [`Plan::apply_gradients`].
    /// What it says of the batch is known later on a device: ask for it when the next batch is under
    /// way, and before anything learned is kept.
    ///
    /// # Errors
    /// A batch that does not fit the model. With several ranks, also that another has stopped;
    /// [`Plan::train_or_stop`] lets them agree.
    pub fn train_batch(&mut self, batch: &Batch) -> Result<PendingStep> {
        match self.train_or_stop(Some(batch), false)? {
            Turn::Step(step) => Ok(*step),
            turn => Err(Error::Model(format!("another rank does not go on ({turn:?})"))),
        }
    }

    /// Prepares batches for this plan, on any thread.
    pub fn preparer(&self) -> Preparer {
        self.preparer.clone()
    }

    /// [`Plan::train_batch`] if every rank has a batch and none wants to `stop`. A batch without rows is
    /// one too when there are several ranks: its rank learns nothing from it, but counts in the mean.
    pub fn train_or_stop(&mut self, batch: Option<&Batch>, stop: bool) -> Result<Turn> {
        let batch = batch.map(|batch| self.preparer.prepare(batch)).transpose()?;
        self.train_prepared(batch, stop)
    }

    /// [`Plan::train_or_stop`] of a batch that this plan's [preparer](Plan::preparer) has prepared.
    pub fn train_prepared(&mut self, batch: Option<PreparedBatch>, stop: bool) -> Result<Turn> {
        if self.sums_begun {
            let what = "apply_gradients is due: an update was to take no more batches (update_every)";
            return Err(Error::Model(what.into()));
        }
        match batch {
            Some(batch) if !batch.by.is(&self.preparer) => {
                Err(Error::Model("a batch that another plan's preparer has prepared".into()))
            }
            Some(batch) if !stop && self.is_launched(&batch)? => self.launch(batch),
            batch => self.train(batch, stop),
        }
    }

    /// Enqueues forward and backward, if all ranks go on.
    fn train(&mut self, batch: Option<PreparedBatch>, stop: bool) -> Result<Turn> {
        let own = match batch {
            None => readiness::END,
            Some(_) if stop => readiness::STOP,
            Some(_) => readiness::READY,
        };
        let about = batch.as_ref().map(|batch| batch.about.clone());
        let (columns, notices) = self.begin(batch, own)?;
        match notices.iter().map(|notice| notice.state).max() {
            Some(readiness::END) => return Ok(Turn::End),
            Some(readiness::STOP) => return Ok(Turn::Stop),
            _ => {}
        }
        let Some(batch) = &about else { return Ok(Turn::End) };
        self.forward(columns.as_ref(), true)?;
        let total = notices.iter().map(|notice| notice.rows).sum();
        if columns.is_some() {
            self.train_loss(batch.rows)?;
            for (_, metric) in &mut self.metrics {
                metric.update(self.network.prediction(), &self.label, &self.reading)?;
            }
        } else {
            self.loss_value.fill_bytes(0, &self.stream)?;
        }
        let Some(communicator) = self.communicator.clone() else {
            // All that a step says is there: it is read while the device goes on.
            let step = self.pending_step(batch, batch.rows, true)?;
            self.backward(batch.rows)?;
            self.pending_batches += 1;
            return Ok(Turn::Step(Box::new(step)));
        };
        self.backward(batch.rows)?;
        self.share_loss(batch.rows, total)?;
        for (_, metric) in &mut self.metrics {
            metric.all_reduce(communicator.as_ref(), &self.stream)?;
        }
        self.pending_batches += 1;
        let step = self.pending_step(batch, total as usize, true)?;
        Ok(Turn::Step(Box::new(step)))
    }

    /// Moves parameters and tables by the mean gradient of the batches since the last call.
    pub fn apply_gradients(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.pending_batches);
        if batches == 0 {
            return Ok(());
        }
        let mut ranks = 1;
        if let Some(communicator) = &self.communicator {
            if !std::mem::take(&mut self.sums_begun) {
                self.network.begin_sums(communicator.as_ref(), &self.stream)?;
            }
            communicator.join_sums(&self.spare)?;
            ranks = communicator.world_size();
        }
        // Beside what does not want them before the next batch's forward pass.
        self.network.order_by(&self.spare)?;
        self.dense_optimizer.step(self.network.parameters_mut(), batches * ranks, &self.spare)?;
        self.embeddings.step(self.sparse_optimizer.as_ref(), batches, &self.stream)
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

    /// Takes a batch, and tells the other ranks. The columns of a batch with rows, and what all ranks had to
    /// say.
    fn begin(&mut self, batch: Option<PreparedBatch>, state: u64) -> Result<(Option<Batch>, Vec<Notice>)> {
        let mut columns = None;
        // All that the last step's metrics and read-backs have read: one wait for them, where nothing is held up.
        let read = [self.loss_value.order(), self.label.order(), self.network.prediction().order()];
        self.stream.write_all([self.unfit.order()].into_iter().chain(read))?;
        if !std::mem::take(&mut self.unfit_is_clear) {
            self.unfit.clear(&self.stream)?;
        }
        let (mut ids, mut rows) = (None, 0);
        if let Some(PreparedBatch { about, content, .. }) = batch {
            if about.rows == 0 && self.communicator.is_none() {
                return Err(Error::Data { place: "batch".into(), what: "it has no rows".into() });
            }
            rows = about.rows as u64;
            if let Some((found, found_ids)) = content {
                let stream = if self.records_update { &self.reading } else { &self.stream };
                self.inputs.read_label(&found, &mut self.label, &mut self.unfit, stream)?;
                (columns, ids) = (Some(found), Some(found_ids));
            }
        }
        self.embeddings.take(ids, &self.preparer.0.stream)?;
        let notices = self.embeddings.announce(Notice { state, rows }, &self.stream)?;
        Ok((columns, notices))
    }

    fn forward(&mut self, columns: Option<&Batch>, train: bool) -> Result<()> {
        // In a graph, all that needs no rows runs beside their lookup. Else memory stays with one stream, and what is
        // wrong with a rank's columns does not keep it from helping the others to their rows.
        if self.records_update
            && let Some(columns) = columns
        {
            self.inputs.copy_columns(columns, &mut self.unfit, &self.reading)?;
        }
        self.embeddings.fetch(train, &self.stream)?;
        let Some(columns) = columns else { return Ok(()) };
        if !self.records_update {
            self.inputs.copy_columns(columns, &mut self.unfit, &self.stream)?;
        }
        let [ahead, beside] =
            if self.records_update { [&self.spare, &self.beside] } else { [&self.stream; 2] };
        self.network.prepare(&self.inputs, &self.embeddings, columns.rows, self.records_update, ahead)?;
        self.inputs.combine(&self.embeddings, &self.stream, beside)?;
        self.network.forward(&self.inputs, &self.embeddings, columns.rows, train, &self.stream)
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
