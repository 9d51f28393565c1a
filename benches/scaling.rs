//! Two ranks beside one, on the document's model: processes with a CUDA device each, through NCCL, that
//! train on batches in their memory, back to back.
//!
//! `weak` is the same batch on each rank, `strong` the same batch on all together: what two ranks do in
//! both is one run, beside one rank's with one batch and with two in one. A step's exchanges are marked
//! on the stream in a run of their own, and then done again, at the same sizes, with nothing between them.
//!
//! With `RECIS_BENCH_DEVICES=cpu` the ranks are on the CPU and their batches small.

mod common;
#[path = "common/deepctr.rs"]
mod deepctr;
#[path = "common/timed.rs"]
mod timed;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use common::{Mode, Row, Unit, Work, device_name, median};
use recis::Result;
use recis::device::{Device, Stream};
use recis::dist::launch::{self, World};
use recis::dist::{self, Communicator};
use recis::nn::{Plan, PlanOptions};
use timed::{Kind, Share, Timed};

const RANKS: usize = 2;
/// Rows of a rank's batch.
const ROWS: [usize; 2] = [1024, 8192];
const ROWS_ON_CPU: [usize; 2] = [32, 64];
/// Batches that take turns.
const BATCHES: usize = 4;
const SAMPLES: usize = 10;

fn main() -> ExitCode {
    common::keep_memory::keep_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_asked = filter.is_none_or(|filter| filter.starts_with("scaling") || "scaling".contains(filter));
    if !is_asked || arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return ExitCode::SUCCESS;
    }
    match World::from_env().and_then(|world| match world {
        Some(world) => Rank::new(world, arguments.iter().any(|argument| argument == "--quick"))?.measure(),
        None => start(),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scaling: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_on_cpu() -> bool {
    std::env::var("RECIS_BENCH_DEVICES").is_ok_and(|devices| devices == "cpu")
}

/// Starts this program again as each of the ranks.
fn start() -> Result<()> {
    let gpus = Device::available().iter().filter(|device| matches!(device, Device::Cuda(_))).count();
    if gpus < RANKS && !is_on_cpu() {
        println!(
            "scaling needs {RANKS} CUDA devices, there are {gpus}; RECIS_BENCH_DEVICES=cpu measures ranks on \
             the CPU, with small batches"
        );
        return Ok(());
    }
    launch::start(RANKS, &AtomicBool::new(false))
}

struct Rank {
    world: World,
    device: Device,
    stream: Stream,
    communicator: Arc<Timed>,
    /// Steps a sample.
    steps: usize,
}

impl Rank {
    fn new(world: World, quick: bool) -> Result<Self> {
        let device = if is_on_cpu() { Device::Cpu } else { Device::Cuda(world.local_rank) };
        let communicator = Arc::new(Timed::new(dist::connect(&world, device)?));
        let steps = match (quick, device) {
            (_, Device::Cpu) => 1,
            (true, _) => BATCHES,
            (false, _) => 5 * BATCHES,
        };
        Ok(Self { world, device, stream: Stream::new(device)?, communicator, steps })
    }

    fn measure(&self) -> Result<()> {
        if self.is_first() {
            println!("{RANKS} ranks on {}", self.name());
        }
        for rows in if self.device == Device::Cpu { ROWS_ON_CPU } else { ROWS } {
            let alone =
                if self.is_first() { Some([self.alone(rows)?, self.alone(RANKS * rows)?]) } else { None };
            self.communicator.barrier()?;
            self.together(rows, alone)?;
        }
        Ok(())
    }

    fn is_first(&self) -> bool {
        self.world.rank == 0
    }

    fn name(&self) -> String {
        format!("{RANKS} x {}", device_name(self.device))
    }

    /// Seconds a step of one rank, in samples.
    fn alone(&self, rows: usize) -> Result<Vec<f64>> {
        let mut training = Training::new(deepctr::plan(self.device)?, (0, 1), rows, &self.stream)?;
        (0..SAMPLES).map(|_| training.seconds(self.steps, None)).collect()
    }

    /// What two ranks do, and what is said of it beside what one does with a rank's batch, and with both in
    /// one.
    fn together(&self, rows: usize, alone: Option<[Vec<f64>; 2]>) -> Result<()> {
        let communicator = &self.communicator;
        let ranks = Some(communicator.as_ref() as &dyn Communicator);
        let options = PlanOptions {
            device: self.device,
            communicator: Some(communicator.clone()),
            ..PlanOptions::default()
        };
        let mut plan = deepctr::plan_with(&options)?;
        plan.update_every(1);
        let mut training = Training::new(plan, (self.world.rank, RANKS), rows, &self.stream)?;
        let samples =
            (0..SAMPLES).map(|_| training.seconds(self.steps, ranks)).collect::<Result<Vec<_>>>()?;

        communicator.note(true);
        let noted = training.seconds(BATCHES, ranks)?;
        communicator.note(false);
        let shares = communicator.shares(BATCHES)?;
        let kinds = [Kind::Ids, Kind::Rows, Kind::Gradients, Kind::Sums];
        let loops = if self.device == Device::Cpu { 2 } else { 50 };
        let bare = kinds.map(|kind| communicator.alone(kind, loops, &self.stream));

        let Some(alone) = alone else { return Ok(()) };
        let share = |kind| shares.get(&kind).copied().unwrap_or_default();
        let exposed: f64 = shares.values().map(|share| share.seconds).sum();
        let exchanges = [Kind::Ids, Kind::Rows, Kind::Gradients].map(share);
        // Of a rank's distinct ids the others own their part, and gradients have the shape of rows.
        let others = (RANKS - 1) as f64 / RANKS as f64;
        let least = others * (exchanges[0].with_own + 2.0 * exchanges[2].with_own);
        let communication = vec![
            ("exposed_us", 1e6 * exposed),
            ("exposed_share", exposed / noted),
            ("exchanged_bytes", exchanges.iter().map(|share| share.bytes).sum()),
            ("least_exchanged_bytes", least),
            ("ring_sum_bytes", 2.0 * others * (share(Kind::Sums).bytes + share(Kind::Metrics).bytes)),
            ("least_ring_sum_bytes", 2.0 * others * share(Kind::Sums).bytes),
        ];
        let took = median(&mut samples.clone());
        let [one, both] = alone.each_ref().map(|samples| median(&mut samples.clone()));
        let wall = |id: &str, rows, samples: &[f64], baseline, figures: Vec<_>| {
            self.tell(
                id,
                Mode::Wall,
                Work::default().counting(rows, Unit::Samples),
                samples,
                baseline,
                figures,
            );
        };
        let ranks_rows = RANKS * rows;
        wall(&format!("scaling/weak/{rows}/w1"), rows, &alone[0], None, vec![]);
        let weak = [vec![("speedup", RANKS as f64 * one / took)], communication].concat();
        wall(&format!("scaling/weak/{rows}/w{RANKS}"), ranks_rows, &samples, None, weak);
        wall(&format!("scaling/strong/{ranks_rows}/w1"), ranks_rows, &alone[1], None, vec![]);
        let strong = vec![("speedup", both / took)];
        wall(&format!("scaling/strong/{ranks_rows}/w{RANKS}"), ranks_rows, &samples, None, strong);
        for kind in [Kind::Counts, Kind::Metrics] {
            let id = format!("scaling/weak/{rows}/w{RANKS}/{kind:?}").to_lowercase();
            self.tell(&id, Mode::Warm, Work::default(), &[share(kind).seconds], None, vec![]);
        }
        for (kind, bare) in kinds.into_iter().zip(bare) {
            let (Share { seconds, bytes, .. }, bare) = (share(kind), bare?);
            // A ring passes each part of an array on twice to all but one.
            let sent = if kind == Kind::Sums { 2.0 * others * bytes } else { bytes };
            let id = format!("scaling/weak/{rows}/w{RANKS}/{kind:?}").to_lowercase();
            let rate = ("nccl_alone_gb_s", sent / bare / 1e9);
            let work = Work::moving(sent as usize);
            self.tell(&id, Mode::Warm, work, &[seconds], Some(("the same alone", bare)), vec![rate]);
        }
        Ok(())
    }

    fn tell(
        &self,
        id: &str,
        mode: Mode,
        work: Work,
        samples: &[f64],
        baseline: Option<(&'static str, f64)>,
        figures: Vec<(&'static str, f64)>,
    ) {
        let row = Row::new(id, self.device, mode, work, samples, None, baseline);
        row.with(figures).tell(&self.name());
    }
}

/// A plan and the batches that it is trained on.
struct Training {
    plan: Plan,
    batches: Vec<recis::Batch>,
}

impl Training {
    /// Ready, and warm: tables have grown, and memory is there.
    fn new(plan: Plan, rank: (usize, usize), rows: usize, stream: &Stream) -> Result<Self> {
        let batches = deepctr::batches(rank, BATCHES, rows, stream)?;
        stream.synchronize()?;
        let mut training = Self { plan, batches };
        training.run(2 * BATCHES)?;
        Ok(training)
    }

    /// Seconds a step, out of so many; all ranks begin and end together.
    fn seconds(&mut self, steps: usize, ranks: Option<&dyn Communicator>) -> Result<f64> {
        let meet = || ranks.map_or(Ok(()), Communicator::barrier);
        meet()?;
        let begin = Instant::now();
        self.run(steps)?;
        meet()?;
        Ok(begin.elapsed().as_secs_f64() / steps as f64)
    }

    /// Steps, back to back; what each says is waited for one step later, as the trainer does.
    fn run(&mut self, steps: usize) -> Result<()> {
        let mut pending = None;
        for batch in self.batches.iter().cycle().take(steps) {
            let step = self.plan.train_batch(batch)?;
            self.plan.apply_gradients()?;
            if let Some(before) = pending.replace(step) {
                before.wait()?;
            }
        }
        // Behind all the work.
        self.plan.predictions()?;
        pending.map_or(Ok(()), |last| last.wait().map(drop))
    }
}
