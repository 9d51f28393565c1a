//! Ranks whose data differ: nobody waits for ever.

use std::path::Path;
use std::sync::Arc;

use recis::Batch;
use recis::device::Device;
use recis::dist::Communicator;
use recis::framework::{Metrics, StopReason, Trainer};
use recis::nn::StepOutput;
use recis::nn::embedding::GradReduceBy;
use recis::ops::partition_ids::Owner;

use crate::harness::{on_threads, part, plan_of, plan_with, rows};
use crate::model::{Memory, arguments, batch, embeddings, ids, model};
use crate::processes::Place;

/// Trains each rank on its batches.
fn train(data: impl Fn(usize) -> Vec<Batch> + Sync, ranks: usize) -> Vec<recis::Result<(StopReason, u64)>> {
    let dir = tempfile::tempdir().unwrap();
    on_threads(ranks, |rank| {
        let batches = Memory::of(data(rank.rank()));
        let mut trainer = trainer(rank, Device::Cpu, dir.path(), batches, None);
        let reason = trainer.train()?;
        Ok((reason, trainer.global_step()))
    })
}

fn trainer(
    rank: Arc<dyn Communicator>,
    device: Device,
    dir: &Path,
    train: Memory,
    eval: Option<Memory>,
) -> Trainer {
    let plan = plan_of(Some(rank), device, Owner::Balanced).unwrap();
    let eval = eval.map(|eval| Box::new(eval) as Box<dyn recis::io::Dataset>);
    Trainer::new(plan, arguments(dir), train, eval, vec![]).unwrap()
}

fn batches(first: u64, count: u64) -> Vec<Batch> {
    (first..first + count).map(|seed| batch(seed, 8)).collect()
}

#[test]
fn the_rank_with_the_fewest_batches_ends_the_pass() {
    let found = train(|rank| batches(10 * rank as u64, [5, 3, 4][rank]), 3);
    for found in found {
        assert_eq!(found.unwrap(), (StopReason::Epochs, 3));
    }
}

#[test]
fn a_rank_without_data_is_an_error_for_all() {
    for found in train(|rank| batches(0, [3, 0][rank]), 2) {
        let error = found.unwrap_err().to_string();
        assert!(error.contains("no batch to one of the 2 ranks"), "{error}");
    }
}

#[test]
fn batches_may_be_empty_and_of_different_sizes() {
    for found in train(of_different_sizes, 2) {
        assert_eq!(found.unwrap(), (StopReason::Epochs, 4));
    }
}

/// Four batches of two ranks, some without rows.
fn of_different_sizes(rank: usize) -> Vec<Batch> {
    (0..4)
        .map(|step| rows(&batch(step, 12), 0, [[3, 1], [0, 5], [0, 0], [12, 0]][step as usize][rank]))
        .collect()
}

/// The first step of two ranks, each with its batch: what the first says, and the first moments of the
/// first table, added up.
fn first_step(
    reduce_by: GradReduceBy,
    device: Device,
    data: impl Fn(usize) -> Batch + Sync,
) -> (StepOutput, f32) {
    let found = on_threads(2, |rank| {
        let mut embeddings = embeddings();
        embeddings.iter_mut().for_each(|(_, option)| option.grad_reduce_by = reduce_by);
        let data = data(rank.rank());
        let mut plan =
            plan_with(model().embeddings(embeddings), Some(rank), device, Owner::Balanced).unwrap();
        let output = plan.train_batch(&data).unwrap().wait().unwrap();
        plan.apply_gradients().unwrap();
        let table = &plan.snapshot().unwrap().tables[0];
        let moment = table.slots.iter().find(|(name, _)| name.ends_with("exp_avg")).unwrap();
        (output, moment.1.iter().map(|value| value.abs()).sum())
    });
    found.into_iter().next().unwrap()
}

#[test]
fn gradients_are_averaged_over_all_ranks_or_over_those_that_have_one() {
    for device in [Device::Cpu, Device::Simt] {
        for (reduce_by, share) in [(GradReduceBy::Worker, 0.5), (GradReduceBy::Id, 1.0)] {
            let end = |rank: usize| if rank == 0 { 8 } else { 0 };
            let (one, half) = first_step(reduce_by, device, |rank| rows(&batch(1, 8), 0, end(rank)));
            let (both, whole) = first_step(reduce_by, device, |_| batch(1, 8));
            // The loss is the mean over rows, and the same.
            assert!((one.loss - both.loss).abs() < 1e-6 && (one.rows, both.rows) == (8, 16));
            assert!((half / whole - share).abs() < 1e-4, "{reduce_by:?} on {device}: {}", half / whole);
        }
    }
}

#[test]
fn a_table_may_have_no_ids_on_a_rank_or_on_any() {
    for first in [0, 1] {
        for found in train(|rank| without_ids(rank, first), 2) {
            assert_eq!(found.unwrap(), (StopReason::Epochs, 3));
        }
    }
}

/// Three batches of a rank; from rank `first` on, tables have no ids in them.
fn without_ids(rank: usize, first: usize) -> Vec<Batch> {
    let mut batches = batches(10 * rank as u64, 3);
    if rank >= first {
        for batch in &mut batches {
            for name in ["sparse1", "sparse2", "sparse3", "sparse4"] {
                batch.insert(name, ids(&vec![vec![]; 8]));
            }
        }
    }
    batches
}

#[test]
fn two_processes_with_uneven_data_end_together() {
    Place::of_two().into_iter().for_each(|place| place.run("uneven"));
}

/// What a rank of two does there.
pub fn end_together(rank: &Arc<dyn Communicator>, device: Device, folder: &Path) {
    let me = rank.rank();
    for (name, data, steps) in [
        ("fewest", batches(10 * me as u64, [5, 3][me]), 3),
        ("sizes", of_different_sizes(me), 4),
        ("ids on one", without_ids(me, 1), 3),
        ("ids on none", without_ids(me, 0), 3),
    ] {
        let mut trainer = trainer(rank.clone(), device, &folder.join(name), Memory::of(data), None);
        assert_eq!(trainer.train().unwrap(), StopReason::Epochs, "{name}");
        assert_eq!(trainer.global_step(), steps, "{name}");
    }
}

#[test]
fn evaluation_covers_all_rows_of_all_ranks() {
    let evaluate = |ranks: usize| -> Vec<Metrics> {
        let dir = tempfile::tempdir().unwrap();
        on_threads(ranks, |rank| {
            let me = rank.rank();
            let train = Memory::of((0..3).map(|seed| part(&batch(seed, 12), me, ranks)).collect());
            // Rank 0 has every batch but those that others have one of.
            let eval = (20..25u64)
                .filter(|seed| if me == 0 { *seed >= 19 + ranks as u64 } else { *seed == 19 + me as u64 });
            let mut trainer = trainer(
                rank,
                Device::Cpu,
                dir.path(),
                train,
                Some(Memory::of(eval.map(|s| batch(s, 9)).collect())),
            );
            trainer.train().unwrap();
            trainer.evaluate().unwrap()
        })
    };
    let alone = evaluate(1).remove(0);
    for ranks in 2..=3 {
        for found in evaluate(ranks) {
            for name in ["eval_loss", "eval_auc"] {
                let (a, b) = (alone.get(name).unwrap(), found.get(name).unwrap());
                assert!((a - b).abs() < 1e-4, "{ranks} ranks: {name} {b}, of one {a}");
            }
        }
    }
}
