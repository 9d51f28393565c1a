//! Ranks that are processes: this test's own program, started once for each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use recis::device::Device;
use recis::dist::launch::{World, start_with};
use recis::dist::process;
use recis::framework::{Hook, StepReport, Trainer, TrainingArguments};
use recis::ops::partition_ids::Owner;

use crate::harness::{ROWS, on_threads, part, plan_of, trace};
use crate::model::{Memory, arguments, batch};

/// What a child does, and where it leaves what it found.
const TASK: &str = "RECIS_RANKS_TASK";
const FOLDER: &str = "RECIS_RANKS_FOLDER";
/// `rank:step` at which a child kills itself.
const KILL: &str = "RECIS_RANKS_KILL";

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

#[test]
#[ignore = "what a child of other tests does"]
fn task_of_a_child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let world = World::from_env().unwrap().unwrap();
    if task == "nccl" {
        return crate::nccl::on_a_device(&world);
    }
    let rank = Arc::new(process::connect(&world, Duration::from_secs(60)).unwrap());
    match task.as_str() {
        "trace" => {
            let trace = trace(Some(rank), Device::Cpu, Owner::Balanced, 5).unwrap();
            std::fs::write(folder.join(format!("{}.txt", world.rank)), format!("{trace:?}")).unwrap();
        }
        "train" => {
            let (me, ranks) = (world.rank, world.world_size);
            let plan = plan_of(Some(rank), Device::Cpu, Owner::Balanced).unwrap();
            let data = Memory::of((0..12).map(|seed| part(&batch(seed, ROWS), me, ranks)).collect());
            let args = TrainingArguments { save_steps: Some(3), ..arguments(&folder) };
            let mut trainer = Trainer::new(plan, args, data, None, vec![Box::new(KillAt(me))]).unwrap();
            if let Err(error) = trainer.train() {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
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
