//! The model of RecIS's DeepCTR document, as in `examples/deepctr.rs`, and batches of the shape of its
//! data in memory.

use rand::Rng;
use rand::rngs::StdRng;
use recis::device::Stream;
use recis::features::{
    Bucketize, Feature, FeatureCross, Hash, HashType, Mod, SelectField, SelectFields, SequenceTruncate,
    TruncateSide,
};
use recis::metrics::Auroc;
use recis::nn::{
    BceLoss, Combiner, EmbeddingOption, Initializer, Linear, Model, Plan, PlanOptions, Relu, Sequential,
    Sigmoid,
};
use recis::optim::{AdamW, SparseAdamWTF};
use recis::{Batch, DenseTensor, RaggedTensor, Result, Tensor, Values};

use crate::common::data;

/// Ids of sparse4 are below this.
const SPARSE4_IDS: i64 = 1_000_000;
/// The strings of sparse5.
const STRINGS: usize = 1000;
const STRING_LEN: usize = 10;

/// The model, ready to train as the options say.
pub fn plan(options: &PlanOptions) -> Result<Plan> {
    Plan::new(model()?, AdamW::new(0.001), SparseAdamWTF::new(0.001), options)
}

fn model() -> Result<Model> {
    let dense_arch = Sequential::new("dense_arch.dnn")
        .add(Linear::new(8 + 8 + 8 + 16 + 8 + 16000 + 16000 + 16, 128))
        .add(Relu)
        .add(Linear::new(128, 64))
        .add(Relu)
        .add(Linear::new(64, 32))
        .add(Relu)
        .add(Linear::new(32, 1))
        .add(Sigmoid);
    let dense_input =
        ["dense1", "dense2", "sparse1", "sparse2", "sparse3", "sparse4", "sparse5", "sparse1_x_sparse2"];
    Ok(Model::new(dense_arch, "label", BceLoss)
        .features(features())
        .embeddings(embeddings())
        .concat(&dense_input)
        .add_metric("auc", Auroc::new(200)?))
}

fn features() -> Vec<Feature> {
    let truncate = || SequenceTruncate {
        seq_len: data::TILE_LEN,
        truncate: true,
        truncate_side: TruncateSide::Right,
        check_length: true,
    };
    let select = |name: &str| Feature::new(name).add_op(SelectField::new(name));
    vec![
        Feature::new("dense1").add_op(SelectField::new("dense1").dim(8)),
        Feature::new("dense2")
            .add_op(SelectField::new("dense2").dim(1))
            .add_op(Bucketize(vec![0.0, 0.5, 1.0])),
        select("sparse1"),
        select("sparse2"),
        select("sparse3").add_op(Mod(10_000)),
        select("sparse4").add_op(Mod(10_000)).add_op(truncate()),
        select("sparse5").add_op(Hash(HashType::Farm)).add_op(Mod(10_000)).add_op(truncate()),
        Feature::new("sparse1_x_sparse2")
            .add_op(SelectFields::new(["sparse1", "sparse2"]))
            .add_op(FeatureCross)
            .add_op(Mod(1000)),
    ]
}

fn embeddings() -> Vec<(&'static str, EmbeddingOption)> {
    let option = |embedding_dim, shared_name: &str, combiner| EmbeddingOption {
        embedding_dim,
        shared_name: shared_name.into(),
        combiner,
        initializer: Initializer::trunc_normal(0.0, 0.01),
        ..EmbeddingOption::default()
    };
    let tile = Combiner::Tile { tile_len: data::TILE_LEN };
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

/// Batches of so many rows in the memory of the stream's device, as a dataset gives them to a rank, which
/// is given with the number of ranks: all have different ones.
pub fn batches(
    (rank, ranks): (usize, usize),
    count: usize,
    rows: usize,
    stream: &Stream,
) -> Result<Vec<Batch>> {
    let mut random = data::random(1);
    let strings: Vec<[i8; STRING_LEN]> =
        (0..STRINGS).map(|_| std::array::from_fn(|_| random.random_range(b'a'..=b'z') as i8)).collect();
    if rank > 0 {
        random = data::random(100 + rank as u64);
    }
    let first_row = |number| (number * ranks + rank) * rows;
    (0..count).map(|number| batch(first_row(number), rows, &strings, &mut random).copy_to(stream)).collect()
}

fn batch(first_row: usize, rows: usize, strings: &[[i8; STRING_LEN]], random: &mut StdRng) -> Batch {
    let mut batch = Batch::new(rows);
    let label = (0..rows).map(|_| f64::from(u8::from(random.random_bool(0.5)))).collect();
    batch.insert("label", dense(label, 1));
    for (name, width) in [("dense1", 8), ("dense2", 1)] {
        batch.insert(name, dense((0..rows * width).map(|_| random.random()).collect(), width));
    }
    // All three hold the row's number.
    for name in ["sparse1", "sparse2", "sparse3"] {
        let numbers = (first_row..first_row + rows).map(|row| row as i64).collect();
        batch.insert(name, ragged(Values::I64(Vec::into(numbers)), vec![(0..=rows as i32).collect()]));
    }
    let offsets = offsets(rows, random);
    let ids: Vec<i64> = (0..offsets[rows]).map(|_| random.random_range(0..SPARSE4_IDS)).collect();
    batch.insert("sparse4", ragged(Values::I64(ids.into()), vec![offsets]));
    let offsets = self::offsets(rows, random);
    let bytes: Vec<i8> = (0..offsets[rows]).flat_map(|_| strings[random.random_range(0..STRINGS)]).collect();
    let ends = (0..=offsets[rows]).map(|string| string * STRING_LEN as i32).collect();
    batch.insert("sparse5", ragged(Values::I8(bytes.into()), vec![offsets, ends]));
    batch
}

fn dense(values: Vec<f64>, width: usize) -> Tensor {
    Tensor::Dense(DenseTensor { rows: values.len() / width, width, values: Values::F64(values.into()) })
}

fn ragged(values: Values, offsets: Vec<Vec<i32>>) -> Tensor {
    let offsets = offsets.into_iter().map(Into::into).collect();
    Tensor::Ragged(RaggedTensor::new(values, offsets, None))
}

/// Sequences of 1 to 1999 values.
fn offsets(rows: usize, random: &mut StdRng) -> Vec<i32> {
    let mut end = 0;
    let ends = (0..rows).map(|_| {
        end += random.random_range(1..2 * data::TILE_LEN as i32);
        end
    });
    std::iter::once(0).chain(ends).collect()
}
