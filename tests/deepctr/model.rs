//! The small model, and batches for it.

use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recis::device::Device;
use recis::features::{
    Bucketize, Feature, FeatureCross, Hash, HashType, Mod, SelectField, SelectFields, SequenceTruncate,
    TruncateSide,
};
use recis::framework::TrainingArguments;
use recis::io::{BatchIter, Dataset};
use recis::metrics::Auroc;
use recis::nn::{
    BceLoss, Combiner, EmbeddingOption, Initializer, Linear, Model, Plan, PlanOptions, Relu, Sequential,
    Sigmoid, StepOutput,
};
use recis::optim::{AdamW, SparseAdamWTF};
use recis::{Batch, DenseTensor, Position, RaggedTensor, Result, Source, Tensor, Values};

pub const TILE_LEN: usize = 6;
pub const ROWS: usize = 32;

pub fn features() -> Vec<Feature> {
    let truncate = || SequenceTruncate {
        seq_len: TILE_LEN,
        truncate_side: TruncateSide::Right,
        ..SequenceTruncate::default()
    };
    vec![
        Feature::new("dense1").add_op(SelectField::new("dense1").dim(8)),
        Feature::new("dense2")
            .add_op(SelectField::new("dense2").dim(1))
            .add_op(Bucketize(vec![0.0, 0.5, 1.0])),
        Feature::new("sparse1").add_op(SelectField::new("sparse1")),
        Feature::new("sparse2").add_op(SelectField::new("sparse2")),
        Feature::new("sparse3").add_op(SelectField::new("sparse3")).add_op(Mod(50)),
        Feature::new("sparse4").add_op(SelectField::new("sparse4")).add_op(Mod(50)).add_op(truncate()),
        Feature::new("sparse5")
            .add_op(SelectField::new("sparse5"))
            .add_op(Hash(HashType::Farm))
            .add_op(Mod(50))
            .add_op(truncate()),
        Feature::new("sparse1_x_sparse2")
            .add_op(SelectFields::new(["sparse1", "sparse2"]))
            .add_op(FeatureCross)
            .add_op(Mod(20)),
    ]
}

pub fn embeddings() -> Vec<(&'static str, EmbeddingOption)> {
    let option = |embedding_dim, shared_name: &str, combiner| EmbeddingOption {
        embedding_dim,
        shared_name: shared_name.into(),
        combiner,
        initializer: Initializer::trunc_normal(0.0, 0.1),
        ..EmbeddingOption::default()
    };
    let tile = Combiner::Tile { tile_len: TILE_LEN };
    vec![
        ("dense2", option(8, "sparse1", Combiner::Sum)),
        ("sparse1", option(8, "sparse1", Combiner::Sum)),
        ("sparse2", option(16, "sparse2", Combiner::Sum)),
        ("sparse3", option(8, "sparse3", Combiner::Sum)),
        ("sparse4", option(16, "sparse4", tile)),
        ("sparse5", option(16, "sparse5", tile)),
        ("sparse1_x_sparse2", option(16, "sparse1_x_sparse2", Combiner::Mean)),
    ]
}

pub const INPUTS: [&str; 8] =
    ["dense1", "dense2", "sparse1", "sparse2", "sparse3", "sparse4", "sparse5", "sparse1_x_sparse2"];

pub fn model() -> Model {
    let dense = Sequential::new("dense_arch.dnn")
        .add(Linear::new(8 + 8 + 8 + 16 + 8 + 2 * TILE_LEN * 16 + 16, 16))
        .add(Relu)
        .add(Linear::new(16, 8))
        .add(Relu)
        .add(Linear::new(8, 4))
        .add(Relu)
        .add(Linear::new(4, 1))
        .add(Sigmoid);
    Model::new(dense, "label", BceLoss)
        .features(features())
        .embeddings(embeddings())
        .concat(&INPUTS)
        .add_metric("auc", Auroc::new(200).unwrap())
}

pub fn plan_with(model: Model, fuse: bool, device: Device) -> Result<Plan> {
    plan_of(model, &PlanOptions { fuse, device, ..PlanOptions::default() })
}

pub fn plan_of(model: Model, options: &PlanOptions) -> Result<Plan> {
    Plan::new(model, AdamW::new(0.01), SparseAdamWTF::new(0.01), options)
}

pub fn plan_on(device: Device) -> Plan {
    plan_with(model(), true, device).unwrap()
}

pub fn plan() -> Plan {
    plan_on(Device::Cpu)
}

/// Forward and backward of a batch, and what it says.
pub fn train(plan: &mut Plan, batch: &Batch) -> Result<StepOutput> {
    plan.train_batch(batch)?.wait()
}

/// A ragged column of rows.
pub fn ragged<T: Clone>(rows: &[Vec<T>]) -> (Vec<T>, Vec<i32>) {
    let mut offsets = vec![0];
    rows.iter().for_each(|row| offsets.push(offsets[offsets.len() - 1] + row.len() as i32));
    (rows.concat(), offsets)
}

pub fn ids(rows: &[Vec<i64>]) -> Tensor {
    let (values, offsets) = ragged(rows);
    Tensor::Ragged(RaggedTensor::new(Values::I64(values.into()), vec![offsets.into()], None))
}

pub fn strings(rows: &[Vec<String>]) -> Tensor {
    let (strings, outer) = ragged(rows);
    let bytes: Vec<Vec<i8>> = strings.iter().map(|s| s.bytes().map(|b| b as i8).collect()).collect();
    let (values, inner) = ragged(&bytes);
    let offsets = vec![outer.into(), inner.into()];
    Tensor::Ragged(RaggedTensor::new(Values::I8(values.into()), offsets, None))
}

pub fn dense(values: Vec<f32>, width: usize) -> Tensor {
    Tensor::Dense(DenseTensor { rows: values.len() / width, width, values: Values::F32(values.into()) })
}

/// A batch of random rows; the label follows the first value of dense1.
pub fn batch(seed: u64, rows: usize) -> Batch {
    let mut rng = StdRng::seed_from_u64(seed);
    let dense1: Vec<f32> = (0..rows * 8).map(|_| rng.random()).collect();
    let label = dense1.chunks(8).map(|row| f32::from(u8::from(row[0] > 0.5))).collect();
    let mut one = |range: std::ops::Range<i64>| -> Vec<Vec<i64>> {
        (0..rows).map(|_| vec![rng.random_range(range.clone())]).collect()
    };
    let (sparse1, sparse2, sparse3) = (one(0..40), one(-20..20), one(i64::MIN..i64::MAX));
    let sequence = |rng: &mut StdRng| -> Vec<i64> {
        (0..rng.random_range(0..10)).map(|_| rng.random_range(0..1000)).collect()
    };
    let sparse4: Vec<_> = (0..rows).map(|_| sequence(&mut rng)).collect();
    let sparse5: Vec<Vec<String>> =
        (0..rows).map(|_| sequence(&mut rng).iter().map(|id| format!("word {id}")).collect()).collect();
    let mut batch = Batch::new(rows);
    batch.insert("label", dense(label, 1));
    batch.insert("dense1", dense(dense1, 8));
    batch.insert("dense2", dense((0..rows).map(|_| rng.random()).collect(), 1));
    batch.insert("sparse1", ids(&sparse1));
    batch.insert("sparse2", ids(&sparse2));
    batch.insert("sparse3", ids(&sparse3));
    batch.insert("sparse4", ids(&sparse4));
    batch.insert("sparse5", strings(&sparse5));
    batch.sources = vec![Source { file: Path::new("memory").into(), first_row: seed * 1000, rows }];
    batch
}

/// Batches in memory, and where each ends.
pub struct Memory(pub Arc<Vec<Batch>>);

impl Memory {
    pub fn new(batches: u64) -> Self {
        Self::of((0..batches).map(|seed| batch(seed, ROWS)).collect())
    }

    pub fn of(mut batches: Vec<Batch>) -> Self {
        let mut rows = 0;
        for batch in &mut batches {
            rows += batch.rows as u64;
            batch.end = Some(Position { rows, file: "memory".into(), row: rows - 1 });
        }
        Self(Arc::new(batches))
    }
}

impl Dataset for Memory {
    fn iterate(&self, after: Option<&Position>) -> Result<BatchIter> {
        let done = after.map_or(0, |position| position.rows);
        let batches = self.0.clone();
        let next = (0..batches.len()).map(move |i| batches[i].clone());
        Ok(Box::new(next.filter(move |batch| batch.end.as_ref().is_some_and(|end| end.rows > done)).map(Ok)))
    }
}

pub fn arguments(output_dir: &Path) -> TrainingArguments {
    TrainingArguments {
        output_dir: output_dir.into(),
        save_concurrency_per_rank: 2,
        ..TrainingArguments::default()
    }
}
