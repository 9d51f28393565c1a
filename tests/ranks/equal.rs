//! Several ranks learn what one does.

use recis::device::Device;
use recis::nn::ModelSnapshot;
use recis::ops::partition_ids::Owner;

use crate::harness::{ROWS, STEPS, Trace, auc_counts, on_threads, part, plan_of, trace, trace_of};
use crate::model::batch;

#[test]
fn any_number_of_ranks_learns_what_one_does() {
    let alone = trace(None, Device::Cpu, Owner::Balanced, STEPS).unwrap();
    for (ranks, owner) in [
        (1, Owner::Balanced),
        (2, Owner::Balanced),
        (2, Owner::Slices),
        (3, Owner::Balanced),
        (3, Owner::Slices),
        (4, Owner::Balanced),
    ] {
        let traces = on_threads(ranks, |rank| trace(Some(rank), Device::Cpu, owner, STEPS).unwrap());
        check(&alone, &traces, &format!("{ranks} ranks, {owner:?}"));
    }
}

#[test]
fn kernels_of_two_ranks_learn_what_one_cpu_does() {
    let alone = trace(None, Device::Cpu, Owner::Balanced, 3).unwrap();
    let traces = on_threads(2, |rank| trace(Some(rank), Device::Simt, Owner::Balanced, 3).unwrap());
    check(&alone, &traces, "2 ranks of kernels");
}

#[test]
fn the_same_ranks_learn_the_same_bits() {
    let run = || on_threads(3, |rank| trace(Some(rank), Device::Cpu, Owner::Balanced, 5).unwrap());
    assert!(run() == run());
}

#[test]
fn sums_begun_early_are_the_same() {
    let run = |early: bool| {
        on_threads(2, |rank| {
            let mut plan = plan_of(Some(rank), Device::Cpu, Owner::Balanced).unwrap();
            if early {
                plan.update_every(1);
            }
            trace_of(plan, 5).unwrap()
        })
    };
    assert!(run(true) == run(false));
}

#[test]
fn sums_begun_early_are_of_all_batches_of_an_update() {
    let run = |said: Option<usize>| {
        on_threads(2, |rank| {
            let me = rank.rank();
            let mut plan = plan_of(Some(rank), Device::Cpu, Owner::Balanced).unwrap();
            said.into_iter().for_each(|batches| plan.update_every(batches));
            // The data ends within an update.
            for update in [&[0, 1, 2][..], &[3, 4, 5], &[6]] {
                for &seed in update {
                    plan.train_batch(&part(&batch(seed, ROWS), me, 2)).unwrap().wait().unwrap();
                }
                if said == Some(update.len()) {
                    let error = plan.train_batch(&part(&batch(9, ROWS), me, 2)).unwrap_err().to_string();
                    assert!(error.contains("apply_gradients is due"), "{error}");
                }
                plan.apply_gradients().unwrap();
            }
            plan.snapshot().unwrap()
        })
    };
    assert!(run(Some(3)) == run(None));
}

/// Compares what several ranks have learned with what one did.
pub fn check(alone: &Trace, traces: &[Trace], what: &str) {
    for trace in traces {
        assert_eq!(trace.losses, traces[0].losses, "{what}: all ranks know the same loss");
        assert_eq!(trace.aucs, traces[0].aucs, "{what}: all ranks know the same AUC");
    }
    let pairs = alone.losses.iter().zip(&traces[0].losses).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let worst = furthest(pairs);
    assert!(worst <= 1e-5, "{what}: a loss is {worst} off");
    let worst = model_distance(&alone.model, &traces[0].model, what);
    assert!(worst <= 1e-4, "{what}: a parameter or embedding is {worst} off");
    println!("{what}: parameters and tables at most {worst:e} off");

    for (counter, expected) in auc_counts(traces) {
        let array = traces[0].model.arrays.iter().find(|a| a.name == format!("auc_metric.{counter}"));
        let recis::nn::ArrayData::I64(found) = &array.unwrap().data else { panic!("counts are i64") };
        assert_eq!(found, &expected, "{what}: {counter}");
    }
    for (i, (name, all)) in alone.sizes.iter().enumerate() {
        let sizes: Vec<usize> = traces.iter().map(|trace| trace.sizes[i].1).collect();
        assert_eq!(sizes.iter().sum::<usize>(), *all, "{what}: rows of table {name} on each rank {sizes:?}");
    }
}

/// The greatest difference between two models' tables, moments and parameters.
pub fn model_distance(a: &ModelSnapshot, b: &ModelSnapshot, what: &str) -> f64 {
    let mut worst = 0.0f64;
    for (a, b) in a.tables.iter().zip(&b.tables) {
        assert_eq!((&a.name, &a.ids), (&b.name, &b.ids), "{what}");
        for ((_, a), (_, b)) in a.slots.iter().zip(&b.slots) {
            worst = worst.max(furthest(a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)))));
        }
    }
    for (a, b) in a.arrays.iter().zip(&b.arrays) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape), "{what}");
        if let (recis::nn::ArrayData::F32(a), recis::nn::ArrayData::F32(b)) = (&a.data, &b.data) {
            worst = worst.max(furthest(a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)))));
        }
    }
    worst
}

pub fn furthest(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
