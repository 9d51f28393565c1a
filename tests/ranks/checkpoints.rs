//! What some ranks have saved, others load.

use std::path::Path;
use std::sync::Arc;

use recis::device::Device;
use recis::dist::Communicator;
use recis::framework::checkpoint::{self, Snapshot};
use recis::framework::{StopReason, Trainer, TrainingArguments};
use recis::nn::ModelSnapshot;
use recis::ops::partition_ids::Owner;

use crate::harness::{ROWS, Rank, on_threads, part, plan_of};
use crate::model::{Memory, arguments, batch};
use crate::processes::Place;

/// Trains to step `steps`, on so many ranks.
fn train(dir: &Path, ranks: usize, steps: u64, owner: Owner) -> u64 {
    on_threads(ranks, |rank| train_on(Some(rank), Device::Cpu, dir, steps, owner))[0]
}

/// A rank's part of that.
fn train_on(rank: Rank, device: Device, dir: &Path, steps: u64, owner: Owner) -> u64 {
    let (me, ranks) = rank.as_ref().map_or((0, 1), |rank| (rank.rank(), rank.world_size()));
    let data = Memory::of((0..6).map(|seed| part(&batch(seed, ROWS), me, ranks)).collect());
    let args = TrainingArguments { train_steps: Some(steps), train_epoch: 9, ..arguments(dir) };
    let plan = plan_of(rank, device, owner).unwrap();
    let mut trainer = Trainer::new(plan, args, data, None, vec![]).unwrap();
    assert_eq!(trainer.train().unwrap(), StopReason::Steps);
    trainer.global_step()
}

fn model(snapshot: Snapshot) -> ModelSnapshot {
    ModelSnapshot { tables: snapshot.tables, arrays: snapshot.arrays }
}

#[test]
fn any_number_of_ranks_loads_what_any_number_saved() {
    for from in 1..=4 {
        let dir = tempfile::tempdir().unwrap();
        train(dir.path(), from, 4, Owner::Balanced);
        let saved = model(checkpoint::load(dir.path().join("ckpt_4")).unwrap());
        assert!(saved.tables.iter().all(|table| !table.ids.is_empty() && table.slots.len() == 3));
        for to in 1..=4 {
            for owner in [Owner::Balanced, Owner::Slices] {
                let found = on_threads(to, |rank| {
                    let mut plan = plan_of(Some(rank), Device::Cpu, owner).unwrap();
                    plan.restore(saved.clone()).unwrap();
                    let rows: usize = plan.table_sizes().unwrap().iter().map(|(_, size)| size).sum();
                    (rows, plan.snapshot().unwrap())
                });
                assert_eq!(found[0].1, saved, "from {from} ranks to {to}, {owner:?}");
                let rows: usize = saved.tables.iter().map(|table| table.ids.len()).sum();
                assert_eq!(found.iter().map(|(rows, _)| rows).sum::<usize>(), rows);
            }
        }
        // And without a communicator.
        let mut plan = plan_of(None, Device::Cpu, Owner::Balanced).unwrap();
        plan.restore(saved.clone()).unwrap();
        assert_eq!(plan.snapshot().unwrap(), saved);
    }
}

#[test]
fn two_processes_load_what_one_saved_and_one_what_two_did() {
    Place::of_two().into_iter().for_each(|place| place.run("checkpoint"));
}

/// What a rank of two does there.
pub fn there_and_back(rank: &Arc<dyn Communicator>, device: Device, folder: &Path) {
    let (of_two, of_one) = (folder.join("two"), folder.join("one"));
    let load = |dir: &Path| model(checkpoint::load(dir.join("ckpt_4")).unwrap());
    train_on(Some(rank.clone()), device, &of_two, 4, Owner::Balanced);
    rank.barrier().unwrap();
    if rank.rank() == 0 {
        let (saved, mut plan) = (load(&of_two), plan_of(None, device, Owner::Balanced).unwrap());
        plan.restore(saved.clone()).unwrap();
        assert!(plan.snapshot().unwrap() == saved, "one rank has what two saved");
        train_on(None, device, &of_one, 4, Owner::Balanced);
    }
    rank.barrier().unwrap();
    for owner in [Owner::Balanced, Owner::Slices] {
        let (saved, mut plan) = (load(&of_one), plan_of(Some(rank.clone()), device, owner).unwrap());
        plan.restore(saved.clone()).unwrap();
        let found = plan.snapshot().unwrap();
        assert!(rank.rank() > 0 || found == saved, "two ranks have what one saved, {owner:?}");
    }
    // And what one has saved, two go on from.
    assert_eq!(train_on(Some(rank.clone()), device, &of_one, 6, Owner::Balanced), 6);
}

#[test]
fn continuing_on_as_many_ranks_is_the_same_as_not_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    train(&whole, 3, 8, Owner::Balanced);
    for steps in [2, 6, 8] {
        assert_eq!(train(&parts, 3, steps, Owner::Balanced), steps);
    }
    let load = |dir: &Path| checkpoint::load(dir.join("ckpt_8")).unwrap();
    assert!(load(&whole) == load(&parts));
}

#[test]
fn another_number_of_ranks_begins_an_unfinished_pass_anew() {
    let dir = tempfile::tempdir().unwrap();
    // Two batches into the second pass.
    assert_eq!(train(dir.path(), 2, 8, Owner::Balanced), 8);
    assert_eq!(train(dir.path(), 3, 10, Owner::Slices), 10);
    let positions = |step: u64| {
        let snapshot = checkpoint::load(checkpoint::path(dir.path(), step)).unwrap();
        let positions = snapshot.progress["rank_positions"].as_array().unwrap().clone();
        positions.iter().map(|position| position["rows"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(positions(8), [24, 24]);
    assert_eq!(positions(10), [16, 16, 16]);
}
