//! A whole step of the document's model: from raw batches in the memory of the device to updated tables
//! and parameters, back to back. What a step says is waited for one step later, as the trainer does.

mod common;
#[path = "common/deepctr.rs"]
mod deepctr;

use common::{Bench, Run, Unit, Work, run};
use recis::Result;

const ROWS: usize = 1024;
/// Batches that take turns.
const BATCHES: usize = 4;
/// Steps before the first that counts, in which tables grow and memory is got.
const WARM_UP: usize = 2 * BATCHES;

fn main() {
    run(&[("step", step)]);
}

fn step(bench: &mut Bench<'_>) -> Result<()> {
    let stream = bench.stream();
    let batches = deepctr::batches((0, 1), BATCHES, ROWS, &stream)?;
    stream.synchronize()?;
    let mut plan = deepctr::plan(stream.device())?;
    let mut next = (0..BATCHES).cycle();
    let mut pending = None;
    let mut train = |run| {
        let step = match run {
            Run::Next => next.next().map(|i| plan.train_batch(&batches[i])).transpose()?,
            Run::Finish => None,
        };
        plan.apply_gradients()?;
        if let Some(before) = std::mem::replace(&mut pending, step) {
            before.wait()?;
        }
        // Behind all the work.
        if run == Run::Finish { plan.predictions().map(drop) } else { Ok(()) }
    };
    (0..WARM_UP).try_for_each(|_| train(Run::Next))?;
    bench.measure_wall(&format!("step/{ROWS}"), Work::default().counting(ROWS, Unit::Samples), train)
}
