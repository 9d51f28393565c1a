//! Input that cannot be used: an error that says what, where and what to do.

use recis::device::Device;
use recis::framework::{Trainer, TrainingArguments};
use recis::metrics::Auroc;
use recis::nn::{BceLoss, Combiner, EmbeddingOption, Initializer, Linear, Model, Sequential, Sigmoid};
use recis::optim::{AdamW, SparseAdamWTF};
use recis::{Batch, Tensor, Values};

use crate::model::{self, Memory, ROWS, arguments, batch, dense, ids, plan, plan_with, train};

/// The error of training on a batch that `change` has spoilt.
fn spoilt(change: impl FnOnce(&mut Batch)) -> String {
    let mut batch = batch(1, ROWS);
    change(&mut batch);
    train(&mut plan(), &batch).unwrap_err().to_string()
}

#[test]
fn values_that_are_not_finite() {
    let with = |name: &'static str, width: usize, at: usize, value: f32| {
        spoilt(|batch| {
            let mut values = vec![0.5; ROWS * width];
            values[at] = value;
            batch.insert(name, dense(values, width));
        })
    };
    assert_eq!(
        with("label", 1, 3, f32::NAN),
        "column 'label', memory, row 1003: the value is NaN; it must be finite"
    );
    assert_eq!(
        with("dense1", 8, 17, f32::NEG_INFINITY),
        "column 'dense1', memory, row 1002: the value is -inf; it must be finite"
    );
}

#[test]
fn columns_that_are_not_what_the_model_needs() {
    let mut without = Batch::new(ROWS);
    batch(1, ROWS)
        .columns()
        .filter(|(name, _)| *name != "sparse4")
        .for_each(|(name, t)| without.insert(name, t.clone()));
    assert_eq!(
        train(&mut plan(), &without).unwrap_err().to_string(),
        "column 'sparse4': not in the batch, which has label, dense1, dense2, sparse1, sparse2, sparse3, sparse5"
    );
    assert_eq!(
        spoilt(|batch| batch.insert("dense1", dense(vec![0.5; ROWS * 7], 7))),
        "feature 'dense1': SelectField wants 8 values in every row of column 'dense1', this is dense f32 [32, 7]"
    );
    assert_eq!(
        spoilt(|batch| batch.insert("sparse5", ids(&vec![vec![1]; ROWS]))),
        "feature 'sparse5': Hash needs strings read as bytes (trans_int8), this is ragged i64 [32, ?]"
    );
    assert_eq!(
        spoilt(|batch| batch.insert("sparse1", dense(vec![0.5; ROWS], 1))),
        "feature 'sparse1_x_sparse2': FeatureCross needs rows of ids, this is dense f32 [32, 1]"
    );
    assert_eq!(
        spoilt(|batch| batch.insert("label", ids(&vec![vec![1]; ROWS]))),
        "column 'label': the network needs a dense column, this is ragged i64 [32, ?]"
    );
    assert_eq!(train(&mut plan(), &Batch::new(0)).unwrap_err().to_string(), "batch: it has no rows");
    let short = spoilt(|batch| batch.insert("sparse4", ids(&vec![vec![1]; ROWS - 1])));
    assert_eq!(short, "column 'sparse4': 31 rows in a batch of 32");
}

#[test]
fn lists_in_lists() {
    use recis::RaggedTensor;
    let nested = |values: Values, levels: &[Vec<i32>]| {
        let offsets = levels.iter().map(|level| level.clone().into()).collect();
        Tensor::Ragged(RaggedTensor::new(values, offsets, None))
    };
    let every: Vec<i32> = (0..=ROWS as i32).collect();
    let ids = || Values::I64(vec![1; ROWS].into());
    assert_eq!(
        spoilt(|batch| batch.insert("sparse3", nested(ids(), &[every.clone(), every.clone()]))),
        "feature 'sparse3': an embedding needs one list of ids a row, this is ragged i64 [32, ?, ?]"
    );
    assert_eq!(
        spoilt(|batch| batch.insert("sparse5", nested(Values::I8(vec![1; ROWS].into()), &[every]))),
        "feature 'sparse5': Hash needs rows of strings, this is ragged i8 [32, ?]"
    );
    let ragged = model::ids(&vec![vec![1; 8]; ROWS]);
    assert_eq!(
        spoilt(|batch| batch.insert("dense1", ragged)),
        "feature 'dense1': SelectField wants 8 values in every row of column 'dense1', this is ragged i64 [32, ?]"
    );
}

#[test]
fn damaged_offsets() {
    let error = spoilt(|batch| {
        let Tensor::Ragged(mut ragged) = ids(&vec![vec![1]; ROWS]) else { unreachable!() };
        ragged.values = Values::I64(vec![1].into());
        batch.insert("sparse2", Tensor::Ragged(ragged));
    });
    assert_eq!(error, "feature_cross: offsets end at 32, but there are 1 values");
}

fn refused(change: impl FnOnce(&mut Vec<(&'static str, EmbeddingOption)>)) -> String {
    let mut embeddings = model::embeddings();
    change(&mut embeddings);
    plan_with(model::model().embeddings(embeddings), true, Device::Cpu).err().unwrap().to_string()
}

#[test]
fn declarations_that_contradict_themselves() {
    assert_eq!(
        refused(|options| options[1].1.initializer = Initializer::Constant(1.0)),
        "model: table 'sparse1' has two different options: feature 'sparse1' wants dim 8, constant(1), Worker, \
         feature 'dense2' dim 8, trunc_normal(0, 0.1, -2, 2), Worker"
    );
    assert_eq!(
        refused(|options| options[0].1.embedding_dim = 0),
        "model: embedding option of feature 'dense2': embedding_dim is 0"
    );
    assert_eq!(
        refused(|options| options[0].1.initializer = Initializer::trunc_normal(0.0, -1.0)),
        "model: embedding option of feature 'dense2': initializer: trunc_normal(0, -1, -2, 2) is no distribution"
    );
    assert_eq!(
        refused(|options| options[4].1.combiner = Combiner::Tile { tile_len: 7 }),
        "model: Linear(256 -> 16) is given rows of 272 values"
    );
    assert_eq!(
        refused(|options| options.push(("nobody", EmbeddingOption::default()))),
        "model: 'nobody' has an embedding option but is not concatenated"
    );
    assert_eq!(
        refused(|options| options.truncate(6)),
        "model: 'sparse1_x_sparse2' is concatenated without an embedding option: say its width with SelectField's dim"
    );
    assert_eq!(
        plan_with(model::model().add_metric("auc", Auroc::new(3).unwrap()), true, Device::Cpu)
            .err()
            .unwrap()
            .to_string(),
        "model: two metrics are named 'auc'"
    );
    let two_outputs = Sequential::new("d").add(Linear::new(8, 2)).add(Sigmoid);
    let model = Model::new(two_outputs, "label", BceLoss).features(model::features()).concat(&["dense1"]);
    assert_eq!(
        plan_with(model, true, Device::Cpu).err().unwrap().to_string(),
        "model: the network ends in 2 values a row; it must end in 1"
    );
}

#[test]
fn options_that_make_no_sense() {
    let plan = |lr, beta| {
        let sparse = SparseAdamWTF { beta1: beta, ..SparseAdamWTF::new(0.01) };
        recis::nn::Plan::new(model::model(), AdamW::new(lr), sparse, &Default::default())
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(plan(f64::NAN, 0.9), "AdamW lr: NaN; it must be finite and at least 0");
    let mut dense = AdamW::new(0.1);
    dense.eps = 0.0;
    let error = recis::nn::Plan::new(model::model(), dense, SparseAdamWTF::new(0.1), &Default::default());
    assert_eq!(error.err().unwrap().to_string(), "AdamW eps: 0; it must be finite and above 0");
    assert_eq!(plan(0.1, 1.0), "SparseAdamWTF betas: 1; it must be at least 0 and below 1");
    assert_eq!(Auroc::new(2).unwrap_err().to_string(), "Auroc num_thresholds: 2; it must be above 2");
    assert_eq!(
        "gpu".parse::<Device>().unwrap_err().to_string(),
        "device gpu: unknown; one of auto, cpu, cuda:N"
    );
    // Whatever is missing (kernels, the driver, a device of that number), it says so.
    let error = Device::choose("cuda:99").unwrap_err().to_string();
    assert!(error.starts_with("device cuda:99: "), "{error}");
}

#[test]
fn data_without_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(plan(), arguments(dir.path()), Memory::new(0), None, vec![]).unwrap();
    let error = trainer.train().unwrap_err().to_string();
    assert_eq!(error, "the training data: it gave no batch; with drop_remainder it may be shorter than one");
    assert!(!dir.path().join("checkpoint").exists(), "nothing is saved that would count as a finished run");
}

fn trainer(args: TrainingArguments) -> recis::Result<Trainer> {
    Trainer::new(plan(), args, Memory::new(2), None, vec![])
}

#[test]
fn an_output_directory_that_cannot_be_written() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = trainer(arguments(&file.path().join("x"))).err().unwrap().to_string();
    assert!(error.starts_with(&file.path().join("x").display().to_string()), "{error}");
    assert!(error.contains("Not a directory"), "{error}");
}

#[test]
fn a_checkpoint_that_is_damaged_or_of_another_model() {
    let dir = tempfile::tempdir().unwrap();
    trainer(arguments(dir.path())).unwrap().train().unwrap();
    let args = || TrainingArguments { train_epoch: 2, ..arguments(dir.path()) };

    let mut embeddings = model::embeddings();
    embeddings[6].1.shared_name = "renamed".into();
    let other = plan_with(model::model().embeddings(embeddings), true, Device::Cpu).unwrap();
    let error =
        Trainer::new(other, args(), Memory::new(2), None, vec![]).unwrap().train().unwrap_err().to_string();
    assert!(error.contains("ckpt_2: it is of another model: model: table 'renamed' is missing"), "{error}");

    let file = dir.path().join("ckpt_2/dense.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = trainer(args()).unwrap().train().unwrap_err().to_string();
    assert!(error.contains("dense.safetensors") && error.contains("crc32"), "{error}");
}

#[test]
fn evaluation_without_data() {
    let dir = tempfile::tempdir().unwrap();
    let error = trainer(arguments(dir.path())).unwrap().evaluate().unwrap_err().to_string();
    assert_eq!(error, "eval_dataset: is missing, but evaluate was called");
}
