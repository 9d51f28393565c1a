//! The DeepCTR model of RecIS's documentation, top to bottom: data, features, embeddings, model,
//! training.
//!
//! ```sh
//! cargo run --release --example deepctr -- --help
//! ```

mod fake_data;
mod keep_memory;
mod progress;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use recis::device::Device;
use recis::dist::launch::World;
use recis::dist::{self, launch};
use recis::features::{
    Bucketize, Feature, FeatureCross, Hash, HashType, Mod, SelectField, SelectFields, SequenceTruncate,
    TruncateSide,
};
use recis::framework::{Hook, Logger, Resume, StopReason, Trainer, TrainingArguments};
use recis::io::{Dataset, OrcDataset, OrcDatasetOptions, Varlen};
use recis::metrics::Auroc;
use recis::nn::{
    BceLoss, Combiner, EmbeddingOption, Initializer, Linear, Model, Plan, PlanOptions, Relu, Sequential,
    Sigmoid,
};
use recis::ops::linear::Precision;
use recis::ops::linear_tile::Reduction;
use recis::ops::partition_ids::Owner;
use recis::optim::{AdamW, SparseAdamWTF};

/// Trains DeepCTR on ORC files.
#[derive(Parser)]
struct Args {
    /// Where the training data is: directories or files, separated by commas.
    #[arg(long, default_value = "./fake_data")]
    data: String,
    /// Data to evaluate on when training is over.
    #[arg(long)]
    eval_data: Option<String>,
    /// auto, cpu or cuda:N. Of several ranks on one machine, each has the CUDA device of its number.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Starts that many ranks on this machine. torchrun, mpirun or srun can start them too.
    #[arg(long, default_value_t = 1)]
    nproc: usize,
    /// Which rank owns an embedding row: balanced spreads them evenly, slices is RecIS's way.
    #[arg(long, default_value = "balanced")]
    owner: Owner,
    /// Rows a batch.
    #[arg(long, default_value_t = 1024)]
    batch_size: usize,
    /// Files that are read at the same time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Batches that are kept ready.
    #[arg(long, default_value_t = 1)]
    prefetch: usize,
    /// Steps of the whole run; the data may end before.
    #[arg(long, default_value_t = 100)]
    train_steps: u64,
    /// Passes over the data.
    #[arg(long, default_value_t = 1)]
    train_epoch: u64,
    /// Batches whose gradients are averaged into one update.
    #[arg(long, default_value_t = 1)]
    gradient_accumulation_steps: usize,
    /// Learning rate, dense and sparse.
    #[arg(long, default_value_t = 0.001)]
    lr: f64,
    /// What the embedding rows of a step shrink by.
    #[arg(long, default_value_t = 0.01)]
    sparse_weight_decay: f64,
    /// Decides every initial value.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where checkpoints and metrics.jsonl go.
    #[arg(long, default_value = "./ckpt")]
    output_dir: PathBuf,
    /// A log line every so many steps.
    #[arg(long, default_value_t = 10)]
    log_steps: u64,
    /// A checkpoint every so many steps, and after every pass.
    #[arg(long, default_value_t = 1000)]
    save_steps: u64,
    /// How many checkpoints to keep.
    #[arg(long, default_value_t = 3)]
    max_to_keep: usize,
    /// auto continues from the newest checkpoint, never starts anew.
    #[arg(long, default_value = "auto")]
    resume: Resume,
    /// How exactly large products are computed on a GPU: fp32, tf32 or bf16.
    #[arg(long, default_value = "fp32")]
    precision: Precision,
    /// Sum the gradients of tiled embeddings in whatever order a GPU has them: not repeatable to the bit, faster in fp32.
    #[arg(long)]
    unordered: bool,
    /// Run every operation by itself.
    #[arg(long)]
    no_fuse: bool,
}

fn get_dataset(
    args: &Args,
    paths: &str,
    (device, world): (Device, Option<&World>),
    drop_remainder: bool,
) -> recis::Result<OrcDataset> {
    let mut dataset = OrcDataset::new(OrcDatasetOptions {
        batch_size: args.batch_size,
        worker_idx: world.map_or(0, |world| world.rank),
        worker_num: world.map_or(1, |world| world.world_size),
        read_threads_num: args.threads,
        prefetch: args.prefetch,
        drop_remainder,
        device,
        ..OrcDatasetOptions::default()
    })?;
    dataset.add_path(paths)?;
    // Columns of a fixed length, with what stands in for an empty row.
    dataset.fixedlen_feature("label", &[0.0])?;
    dataset.fixedlen_feature("dense1", &[0.0; 8])?;
    dataset.fixedlen_feature("dense2", &[0.0])?;
    // Columns of varying length.
    for name in ["sparse1", "sparse2", "sparse3", "sparse4"] {
        dataset.varlen_feature(name, Varlen::default())?;
    }
    // Strings: read as bytes and hashed by a feature below. `hash_type: Some(HashType::Farm)`
    // would hash them while reading, but clears the top bit of each hash, as RecIS does.
    dataset.varlen_feature("sparse5", Varlen { trans_int8: true, ..Varlen::default() })?;
    Ok(dataset)
}

fn get_feature_conf() -> Vec<Feature> {
    let truncate = || SequenceTruncate {
        seq_len: 1000,
        truncate: true,
        truncate_side: TruncateSide::Right,
        check_length: true,
    };
    vec![
        Feature::new("dense1").add_op(SelectField::new("dense1").dim(8)),
        Feature::new("dense2")
            .add_op(SelectField::new("dense2").dim(1))
            .add_op(Bucketize(vec![0.0, 0.5, 1.0])),
        Feature::new("sparse1").add_op(SelectField::new("sparse1")),
        Feature::new("sparse2").add_op(SelectField::new("sparse2")),
        Feature::new("sparse3").add_op(SelectField::new("sparse3")).add_op(Mod(10_000)),
        Feature::new("sparse4").add_op(SelectField::new("sparse4")).add_op(Mod(10_000)).add_op(truncate()),
        Feature::new("sparse5")
            .add_op(SelectField::new("sparse5"))
            .add_op(Hash(HashType::Farm))
            .add_op(Mod(10_000))
            .add_op(truncate()),
        Feature::new("sparse1_x_sparse2")
            .add_op(SelectFields::new(["sparse1", "sparse2"]))
            .add_op(FeatureCross)
            .add_op(Mod(1000)),
    ]
}

fn get_embedding_conf() -> Vec<(&'static str, EmbeddingOption)> {
    let option = |embedding_dim, shared_name: &str, combiner| EmbeddingOption {
        embedding_dim,
        shared_name: shared_name.into(),
        combiner,
        initializer: Initializer::trunc_normal(0.0, 0.01),
        ..EmbeddingOption::default()
    };
    let tile = Combiner::Tile { tile_len: 1000 };
    vec![
        // dense2's buckets and sparse1's ids are rows of the same table.
        ("dense2", option(8, "sparse1", Combiner::Sum)),
        ("sparse1", option(8, "sparse1", Combiner::Sum)),
        ("sparse2", option(16, "sparse2", Combiner::Sum)),
        ("sparse3", option(8, "sparse3", Combiner::Sum)),
        ("sparse4", option(16, "sparse4", tile)),
        ("sparse5", option(16, "sparse5", tile)),
        ("sparse1_x_sparse2", option(16, "sparse1_x_sparse2", Combiner::Mean)),
    ]
}

fn deepctr() -> recis::Result<Model> {
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
        .features(get_feature_conf())
        .embeddings(get_embedding_conf())
        .concat(&dense_input)
        .add_metric("auc", Auroc::new(200)?))
}

fn train(args: &Args, logger: &Logger) -> recis::Result<()> {
    let world = World::from_env()?;
    if args.nproc > 1 && world.is_none() {
        make_missing_data(args, logger)?;
        let stop = Arc::new(AtomicBool::new(false));
        stop_on_signal(stop.clone(), logger);
        return launch::start(args.nproc, &stop);
    }
    let (mut device, mut reason) = Device::choose(&args.device)?;
    if let (Some(world), Device::Cuda(_)) = (&world, device) {
        (device, reason) = (Device::Cuda(world.local_rank), "the one of its local rank".into());
    }
    let communicator = world.as_ref().map(|world| dist::connect(world, device)).transpose()?;
    match &world {
        Some(World { rank, world_size, .. }) => {
            logger.info(format!("rank {rank} of {world_size}, device {device}: {reason}"));
        }
        None => logger.info(format!("device {device}: {reason}")),
    }
    // Of several ranks, the first makes the data.
    if world.as_ref().is_none_or(|world| world.rank == 0) {
        make_missing_data(args, logger)?;
    }
    if let Some(communicator) = &communicator {
        communicator.barrier()?;
    }

    let place = (device, world.as_ref());
    let train_dataset = get_dataset(args, &args.data, place, true)?;
    let eval_dataset = match &args.eval_data {
        Some(paths) => Some(Box::new(get_dataset(args, paths, place, false)?) as Box<dyn Dataset>),
        None => None,
    };
    let sparse_optim =
        SparseAdamWTF { weight_decay: args.sparse_weight_decay, ..SparseAdamWTF::new(args.lr) };
    let options = PlanOptions {
        device,
        seed: args.seed,
        precision: args.precision,
        reduction: if args.unordered { Reduction::Unordered } else { Reduction::Repeatable },
        fuse: !args.no_fuse,
        communicator: communicator.clone(),
        owner: args.owner,
    };
    let plan = Plan::new(deepctr()?, AdamW::new(args.lr), sparse_optim, &options)?;
    let is_first = communicator.as_ref().is_none_or(|communicator| communicator.rank() == 0);
    if is_first {
        logger.info(format!("DeepCTR\n{plan}"));
    }

    let train_config = TrainingArguments {
        gradient_accumulation_steps: args.gradient_accumulation_steps,
        output_dir: args.output_dir.clone(),
        log_steps: args.log_steps,
        train_steps: Some(args.train_steps),
        train_epoch: args.train_epoch,
        save_steps: Some(args.save_steps),
        max_to_keep: args.max_to_keep,
        save_concurrency_per_rank: 2,
        resume: args.resume,
        ..TrainingArguments::default()
    };
    let mut hooks: Vec<Box<dyn Hook>> = Vec::new();
    if is_first {
        hooks.push(Box::new(progress::ProgressHook::new(Some(args.train_steps), train_config.log_steps)));
    }
    let mut trainer = Trainer::new(plan, train_config, train_dataset, eval_dataset, hooks)?;
    stop_on_signal(trainer.stop_flag(), logger);
    let reason = trainer.train()?;
    let on_rank = world.as_ref().map_or(String::new(), |world| format!(" on rank {}", world.rank));
    for (table, ids) in trainer.plan().table_sizes()? {
        logger.info(format!("table {table}: {ids} ids{on_rank}"));
    }
    if let Some(communicator) = &communicator {
        let steps = trainer.global_step();
        logger.info(format!("sent{on_rank} in {steps} steps: {:?} bytes", communicator.sent()));
    }
    if args.eval_data.is_some() && reason != StopReason::Signal {
        trainer.evaluate()?;
    }
    Ok(())
}

/// Sets `stop` when the program is asked to end.
fn stop_on_signal(stop: Arc<AtomicBool>, logger: &Logger) {
    if let Err(error) = ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed)) {
        logger.warning(format!("ctrl-c ends the program without a checkpoint: {error}"));
    }
}

/// Makes the document's data if the default directory is not there.
fn make_missing_data(args: &Args, logger: &Logger) -> recis::Result<()> {
    let default = "./fake_data";
    if args.data == default && !PathBuf::from(default).exists() {
        logger.info(format!("no data in {default}: making the document's ten files"));
        fake_data::generate(&fake_data::FakeData {
            output: default.into(),
            ..fake_data::FakeData::default()
        })?;
    }
    Ok(())
}

fn main() -> ExitCode {
    keep_memory::keep_memory();
    Logger::init();
    let logger = Logger::new("deepctr");
    match train(&Args::parse(), &logger) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logger.error(error);
            ExitCode::FAILURE
        }
    }
}
