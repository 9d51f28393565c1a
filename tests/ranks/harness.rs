//! Runs the small model on several ranks.

use std::sync::Arc;
use std::time::Duration;

use recis::device::{Device, Stream};
use recis::dist::{Communicator, local};
use recis::metrics::{Auroc, Metric};
use recis::nn::{Model, Plan, PlanOptions};
use recis::ops::partition_ids::Owner;
use recis::optim::{AdamW, SparseAdamWTF};
use recis::{Batch, DenseTensor, RaggedTensor, Result, Tensor, Values};

use crate::model::{batch, model};

/// Rows of a batch of all ranks together: 1, 2, 3 and 4 ranks can share them evenly.
pub const ROWS: usize = 24;
pub const STEPS: u64 = 20;
/// The document's.
const LR: f64 = 0.001;

pub type Rank = Option<Arc<dyn Communicator>>;

pub fn plan_of(rank: Rank, device: Device, owner: Owner) -> Result<Plan> {
    plan_with(model(), rank, device, owner)
}

pub fn plan_with(model: Model, rank: Rank, device: Device, owner: Owner) -> Result<Plan> {
    let options = PlanOptions { device, communicator: rank, owner, ..PlanOptions::default() };
    Plan::new(model, AdamW::new(LR), SparseAdamWTF::new(LR), &options)
}

/// Runs `rank` on as many threads, each with its communicator; what they return, in order.
pub fn on_threads<T: Send>(ranks: usize, rank: impl Fn(Arc<dyn Communicator>) -> T + Sync) -> Vec<T> {
    let communicators = local::ranks(ranks, Duration::from_secs(60));
    std::thread::scope(|scope| {
        let rank = &rank;
        let threads: Vec<_> =
            communicators.into_iter().map(|c| scope.spawn(move || rank(Arc::new(c)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// What a rank saw of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub losses: Vec<f32>,
    pub aucs: Vec<f64>,
    /// Of this rank's rows.
    pub predictions: Vec<Vec<f32>>,
    pub model: recis::nn::ModelSnapshot,
    pub sizes: Vec<(String, usize)>,
}

/// Trains on this rank's part of every batch.
pub fn trace(rank: Rank, device: Device, owner: Owner, steps: u64) -> Result<Trace> {
    trace_of(plan_of(rank, device, owner)?, steps)
}

/// [`trace`] of a plan that has seen nothing yet.
pub fn trace_of(mut plan: Plan, steps: u64) -> Result<Trace> {
    let (number, ranks) = plan.communicator().map_or((0, 1), |c| (c.rank(), c.world_size()));
    let (mut losses, mut aucs, mut predictions) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..steps {
        let output = plan.train_batch(&part(&batch(step, ROWS), number, ranks))?.wait()?;
        plan.apply_gradients()?;
        losses.push(output.loss);
        aucs.push(output.metrics[0].1);
        predictions.push(plan.predictions()?);
    }
    let sizes = plan.table_sizes()?.into_iter().map(|(name, size)| (name.to_string(), size)).collect();
    Ok(Trace { losses, aucs, predictions, model: plan.snapshot()?, sizes })
}

/// AUC counts of predictions, recomputed by one metric.
pub fn auc_counts(traces: &[Trace]) -> Vec<(&'static str, Vec<i64>)> {
    let (mut auc, stream) = (Auroc::new(200).unwrap(), Stream::default());
    for step in 0..traces[0].losses.len() {
        let all: Vec<f32> = traces.iter().flat_map(|trace| trace.predictions[step].clone()).collect();
        let batch = batch(step as u64, ROWS);
        let Values::F32(labels) = batch.get("label").unwrap().values() else { panic!("labels are f32") };
        auc.update(&all.into(), labels, &stream).unwrap();
    }
    auc.state(&stream).unwrap()
}

/// The rows of a batch that are one of several ranks'.
pub fn part(batch: &Batch, rank: usize, ranks: usize) -> Batch {
    rows(batch, batch.rows * rank / ranks, batch.rows * (rank + 1) / ranks)
}

/// Some rows of a batch.
pub fn rows(batch: &Batch, first: usize, end: usize) -> Batch {
    let mut part = Batch::new(end - first);
    for (name, tensor) in batch.columns() {
        part.insert(name, tensor_rows(tensor, first, end));
    }
    part
}

fn tensor_rows(tensor: &Tensor, first: usize, end: usize) -> Tensor {
    match tensor {
        Tensor::Dense(dense) => {
            let values = slice(&dense.values, first * dense.width, end * dense.width);
            Tensor::Dense(DenseTensor { rows: end - first, width: dense.width, values })
        }
        Tensor::Ragged(ragged) => {
            let (mut first, mut end) = (first, end);
            let mut levels = Vec::new();
            for offsets in &ragged.offsets {
                let level = &offsets.host()[first..=end];
                levels.push(level.iter().map(|offset| offset - level[0]).collect::<Vec<i32>>().into());
                (first, end) = (level[0] as usize, level[level.len() - 1] as usize);
            }
            Tensor::Ragged(RaggedTensor::new(slice(&ragged.values, first, end), levels, None))
        }
    }
}

fn slice(values: &Values, first: usize, end: usize) -> Values {
    match values {
        Values::F32(values) => Values::F32(values.host()[first..end].to_vec().into()),
        Values::F64(values) => Values::F64(values.host()[first..end].to_vec().into()),
        Values::I64(values) => Values::I64(values.host()[first..end].to_vec().into()),
        Values::I8(values) => Values::I8(values.host()[first..end].to_vec().into()),
    }
}
