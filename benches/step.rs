//! A whole step of the document's model: from raw batches in the memory of the device to updated tables
//! and parameters, back to back. What a step says is waited for one step later, and a second thread prepares the
//! batches to come, as the trainer does.
//!
//! On a CUDA device a row also says the most memory in use, tables and scratch included, the batches not.

mod common;
#[path = "common/deepctr.rs"]
mod deepctr;

use std::sync::mpsc::sync_channel;
use std::thread;

use common::{Bench, Memory, Run, Unit, Work, data, run};
use recis::nn::{PlanOptions, Turn};
use recis::ops::linear::Precision;
use recis::ops::linear_tile::Reduction::{self, Repeatable, Unordered};
use recis::{Error, Result};

/// Batches that take turns.
const BATCHES: usize = 4;
/// Steps before the first that counts, in which tables grow and memory is got.
const WARM_UP: usize = 2 * BATCHES;

fn main() {
    run(&[
        ("step/1024/fp32", |bench| step(bench, 1024, Precision::Fp32, Repeatable)),
        ("step/1024/tf32", |bench| step_on_cuda(bench, 1024, Precision::Tf32, Repeatable)),
        ("step/1024/bf16", |bench| step_on_cuda(bench, 1024, Precision::Bf16, Repeatable)),
        ("step/1024/fp32/unordered", |bench| step_on_cuda(bench, 1024, Precision::Fp32, Unordered)),
        ("step/1024/tf32/unordered", |bench| step_on_cuda(bench, 1024, Precision::Tf32, Unordered)),
        ("step/1024/bf16/unordered", |bench| step_on_cuda(bench, 1024, Precision::Bf16, Unordered)),
        ("step/256/fp32", |bench| step(bench, 256, Precision::Fp32, Repeatable)),
        ("step/4096/fp32", |bench| step_on_cuda(bench, 4096, Precision::Fp32, Repeatable)),
        ("step/16384/fp32", |bench| step_on_cuda(bench, 16384, Precision::Fp32, Repeatable)),
    ]);
}

/// What a host computes in f32 all the same, or not in seconds.
fn step_on_cuda(
    bench: &mut Bench<'_>,
    rows: usize,
    precision: Precision,
    reduction: Reduction,
) -> Result<()> {
    if bench.is_cpu() { Ok(()) } else { step(bench, rows, precision, reduction) }
}

fn step(bench: &mut Bench<'_>, rows: usize, precision: Precision, reduction: Reduction) -> Result<()> {
    let stream = bench.stream();
    let batches = deepctr::batches((0, 1), BATCHES, rows, &stream)?;
    stream.synchronize()?;
    let memory = Memory::now(&stream);
    let options = PlanOptions { device: stream.device(), precision, reduction, ..PlanOptions::default() };
    let mut plan = deepctr::plan(&options)?;
    plan.update_every(1);
    let preparer = plan.preparer();
    let (give, prepared) = sync_channel(1);
    let prepare = thread::spawn(move || {
        let mut batches = batches.iter().cycle();
        while batches.next().is_some_and(|batch| give.send(preparer.prepare(batch)).is_ok()) {}
    });
    let mut pending = None;
    let mut train = |run| {
        let mut step = None;
        if run == Run::Next
            && let Ok(batch) = prepared.recv()
            && let Turn::Step(begun) = plan.train_prepared(Some(batch?), false)?
        {
            step = Some(begun);
        }
        plan.apply_gradients()?;
        if let Some(before) = std::mem::replace(&mut pending, step) {
            before.wait()?;
        }
        if run == Run::Finish { plan.synchronize() } else { Ok(()) }
    };
    (0..WARM_UP).try_for_each(|_| train(Run::Next))?;
    let how = match reduction {
        Repeatable => "",
        Unordered => "/unordered",
    };
    let work = Work::default().counting(rows, Unit::Samples).taking(memory);
    bench.measure_wall(&format!("step/{rows}/{}{how}", data::precision_name(precision)), work, train)?;
    drop(prepared);
    prepare.join().map_err(|_| Error::Model("the thread that prepares batches has panicked".into()))
}
