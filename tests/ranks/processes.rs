//! Ranks that are processes: this test's own program, started once for each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use recis::device::{Device, Stream};
use recis::dist::launch::{World, start_with};
use recis::dist::nccl::Nccl;
use recis::dist::{Communicator, process};
use recis::framework::{Hook, StepReport, Trainer, TrainingArguments};
use recis::ops::partition_ids::Owner;

use crate::harness::{ROWS, on_threads, part, plan_of, trace};
use crate::model::{Memory, arguments, batch};
use crate::{checkpoints, nccl, uneven};

/// What a child does, and where it leaves what it found.
const TASK: &str = "RECIS_RANKS_TASK";
const FOLDER: &str = "RECIS_RANKS_FOLDER";
/// Where the ranks are.
const PLACE: &str = "RECIS_RANKS_PLACE";
/// `rank:step` at which a child kills itself.
const KILL: &str = "RECIS_RANKS_KILL";

/// Where ranks that are processes compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Cpus,
    /// A CUDA device each, as far as there are; they meet through NCCL.
    Gpus,
}

impl Place {
    /// Where two ranks can be: on CPUs, and if there are as many, on CUDA devices.
    pub fn of_two() -> Vec<Self> {
        if gpus() < 2 {
            println!("fewer than two CUDA devices: not run there");
            return vec![Self::Cpus];
        }
        vec![Self::Cpus, Self::Gpus]
    }

    /// Starts two ranks that do `task`, and waits for them. One task at a time has the devices.
    pub fn run(self, task: &str) {
        static GPUS: Mutex<()> = Mutex::new(());
        let _turn = (self == Self::Gpus).then(|| GPUS.lock().unwrap_or_else(PoisonError::into_inner));
        let folder = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        start_with(2, &AtomicBool::new(false), |_| {
            let mut command = at(self, child(task, folder.path()));
            command.stderr(Stdio::inherit());
            command
        })
        .unwrap_or_else(|error| panic!("{task} on {self:?}: {error}"));
        println!("{task} on two {self:?}: {:.1} s", begin.elapsed().as_secs_f64());
    }
}

/// How many CUDA devices there are.
pub fn gpus() -> usize {
    Device::available().into_iter().filter(|device| matches!(device, Device::Cuda(_))).count()
}

/// Meets the other ranks of `world`; through NCCL on a CUDA device.
pub fn connect(world: &World, device: Device) -> recis::Result<Arc<dyn Communicator>> {
    let timeout = Duration::from_secs(60);
    let processes = process::connect(world, timeout)?;
    Ok(match device {
        Device::Cuda(_) => Arc::new(Nccl::connect(processes, &Stream::new(device)?, timeout)?),
        _ => Arc::new(processes),
    })
}

/// This program as a child that does `task`.
pub fn child(task: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::task_of_a_child", "--ignored", "--nocapture"]);
    command.env(TASK, task).env(FOLDER, folder).env("RAYON_NUM_THREADS", "1");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// [`child`] that kills itself when a rank has done a step.
pub fn killing(rank: usize, step: u64, folder: &Path) -> Command {
    let mut command = child("train", folder);
    command.env(KILL, format!("{rank}:{step}"));
    command
}

/// A child whose rank is elsewhere.
pub fn at(place: Place, mut child: Command) -> Command {
    child.env(PLACE, format!("{place:?}"));
    child
}

#[test]
#[ignore = "what a child of other tests does"]
fn task_of_a_child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let world = World::from_env().unwrap().unwrap();
    let device = match std::env::var(PLACE) {
        // Ranks may have to share one.
        Ok(place) if place == format!("{:?}", Place::Gpus) => Device::Cuda(world.local_rank % gpus()),
        _ => Device::Cpu,
    };
    let rank = connect(&world, device).unwrap();
    match task.as_str() {
        "trace" => {
            let trace = trace(Some(rank), device, Owner::Balanced, 5).unwrap();
            std::fs::write(folder.join(format!("{}.txt", world.rank)), format!("{trace:?}")).unwrap();
        }
        "train" => {
            let (me, ranks) = (world.rank, world.world_size);
            let plan = plan_of(Some(rank), device, Owner::Balanced).unwrap();
            let data = Memory::of((0..12).map(|seed| part(&batch(seed, ROWS), me, ranks)).collect());
            let args = TrainingArguments { save_steps: Some(3), ..arguments(&folder) };
            let mut trainer = Trainer::new(plan, args, data, None, vec![Box::new(KillAt(me))]).unwrap();
            if let Err(error) = trainer.train() {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        "learn" => nccl::learn(&rank, device),
        "deepctr" => nccl::learn_deepctr(&rank, device),
        "uneven" => uneven::end_together(&rank, device, &folder),
        "checkpoint" => checkpoints::there_and_back(&rank, device, &folder),
        other => panic!("no task {other}"),
    }
}

/// Kills the process as the system would, without a chance to say anything.
struct KillAt(usize);

impl Hook for KillAt {
    fn after_step(&mut self, report: &StepReport) -> recis::Result<()> {
        if std::env::var(KILL).is_ok_and(|at| at == format!("{}:{}", self.0, report.global_step)) {
            // SAFETY: a signal to this process.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        Ok(())
    }
}

#[test]
fn processes_learn_the_bits_that_threads_do() {
    for ranks in 2..=4 {
        let folder = tempfile::tempdir().unwrap();
        start_with(ranks, &AtomicBool::new(false), |_| child("trace", folder.path())).unwrap();
        let threads = on_threads(ranks, |rank| trace(Some(rank), Device::Cpu, Owner::Balanced, 5).unwrap());
        for (rank, trace) in threads.iter().enumerate() {
            let found = std::fs::read_to_string(folder.path().join(format!("{rank}.txt"))).unwrap();
            assert!(found == format!("{trace:?}"), "rank {rank} of {ranks}");
        }
    }
}
