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

use std::collections::BTreeMap;
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
/// The share of anything spread evenly that other ranks have.
const OTHERS: f64 = (RANKS - 1) as f64 / RANKS as f64;
/// What is also measured alone.
const KINDS: [Kind; 4] = [Kind::Ids, Kind::Rows, Kind::Gradients, Kind::Sums];

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
            let together = self.together(rows)?;
            if let Some(alone) = alone {
                self.say(rows, &alone, &together);
            }
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
        let options = PlanOptions { device: self.device, ..PlanOptions::default() };
        let mut training = Training::new(deepctr::plan(&options)?, (0, 1), rows, &self.stream)?;
        (0..SAMPLES).map(|_| training.seconds(self.steps, None)).collect()
    }

    /// What two ranks do.
    fn together(&self, rows: usize) -> Result<Together> {
        let communicator = &self.communicator;
        let options = PlanOptions {
            device: self.device,
            communicator: Some(communicator.clone()),
            ..PlanOptions::default()
        };
        let plan = deepctr::plan(&options)?;
        let mut training = Training::new(plan, (self.world.rank, RANKS), rows, &self.stream)?;
        // Sums that the step waits for at once tell how long they take.
        let in_turn = self.run(&mut training)?;
        training.plan.update_every(1);
        let beside = self.run(&mut training)?;
        let loops = if self.device == Device::Cpu { 2 } else { 50 };
        let alone = KINDS.map(|kind| communicator.alone(kind, loops, &self.stream));
        let alone = alone.into_iter().collect::<Result<_>>()?;
        Ok(Together { in_turn, beside, alone })
    }

    fn run(&self, training: &mut Training) -> Result<Steps> {
        let ranks = Some(self.communicator.as_ref() as &dyn Communicator);
        let samples = (0..SAMPLES).map(|_| training.seconds(self.steps, ranks)).collect::<Result<_>>()?;
        self.communicator.note(true);
        let noted = training.seconds(BATCHES, ranks)?;
        self.communicator.note(false);
        Ok(Steps { samples, noted, shares: self.communicator.shares(BATCHES)? })
    }

    /// Says what two ranks do beside what one does with a rank's batch, and with both in one.
    fn say(&self, rows: usize, [one, both]: &[Vec<f64>; 2], together: &Together) {
        let Together { in_turn, beside, alone } = together;
        let took = beside.median();
        let speedup = |seconds: &[f64], factor: usize| {
            ("speedup", factor as f64 * median(&mut seconds.to_vec()) / took)
        };
        let wall = |case: String, rows, samples: &[f64], figures| {
            let (id, work) = (format!("scaling/{case}"), Work::default().counting(rows, Unit::Samples));
            self.tell(&id, Mode::Wall, work, samples, None, figures);
        };
        let all = RANKS * rows;
        let exposed: f64 = beside.shares.values().map(|share| share.seconds).sum();
        let exchanges = [Kind::Ids, Kind::Rows, Kind::Gradients].map(|kind| beside.share(kind));
        let [ids, _, gradients] = exchanges;
        let [sums, metrics] = [Kind::Sums, Kind::Metrics].map(|kind| beside.share(kind));
        let figures = vec![
            speedup(one, RANKS),
            ("exposed_us", 1e6 * exposed),
            ("exposed_share", exposed / beside.noted),
            ("exchanged_bytes", exchanges.iter().map(|share| share.bytes).sum()),
            // Of a rank's distinct ids the others own their part; gradients have the shape of rows.
            ("least_exchanged_bytes", OTHERS * (ids.with_own + 2.0 * gradients.with_own)),
            ("ring_sum_bytes", 2.0 * OTHERS * (sums.bytes + metrics.bytes)),
            ("least_ring_sum_bytes", 2.0 * OTHERS * sums.bytes),
            ("us_with_sums_in_turn", 1e6 * in_turn.median()),
        ];
        wall(format!("weak/{rows}/w1"), rows, one, vec![]);
        wall(format!("weak/{rows}/w{RANKS}"), all, &beside.samples, figures);
        wall(format!("strong/{all}/w1"), all, both, vec![]);
        wall(format!("strong/{all}/w{RANKS}"), all, &beside.samples, vec![speedup(both, 1)]);

        let id = |kind: Kind| format!("scaling/weak/{rows}/w{RANKS}/{kind:?}").to_lowercase();
        for kind in [Kind::Counts, Kind::Metrics] {
            let seconds = [beside.share(kind).seconds];
            self.tell(&id(kind), Mode::Warm, Work::default(), &seconds, None, vec![]);
        }
        for (kind, &alone) in KINDS.into_iter().zip(alone) {
            let Share { seconds, bytes, .. } = beside.share(kind);
            let (seconds, bytes, exposed) = match kind {
                // A ring passes each part of an array on twice to all but one.
                Kind::Sums => (in_turn.share(kind).seconds, 2.0 * OTHERS * bytes, seconds),
                _ => (seconds, bytes, seconds),
            };
            let figures = vec![("exposed_us", 1e6 * exposed), ("alone_gb_s", bytes / alone / 1e9)];
            let (work, baseline) = (Work::moving(bytes as usize), Some(("the same alone", alone)));
            self.tell(&id(kind), Mode::Warm, work, &[seconds], baseline, figures);
        }
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

/// What was measured of two ranks.
struct Together {
    /// Steps that wait for their sums at once.
    in_turn: Steps,
    /// Steps with the sums beside them, as the trainer has them.
    beside: Steps,
    /// Seconds of a step's operations of [`KINDS`], with nothing beside them.
    alone: Vec<f64>,
}

struct Steps {
    /// Seconds a step.
    samples: Vec<f64>,
    /// Seconds a step while notes are taken, and what was noted.
    noted: f64,
    shares: BTreeMap<Kind, Share>,
}

impl Steps {
    fn median(&self) -> f64 {
        median(&mut self.samples.clone())
    }

    fn share(&self, kind: Kind) -> Share {
        self.shares.get(&kind).copied().unwrap_or_default()
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
        self.plan.synchronize()?;
        pending.map_or(Ok(()), |last| last.wait().map(drop))
    }
}
