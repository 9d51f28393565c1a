//! The loop: how long it runs, what it saves, and that continuing is the same as not stopping.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use recis::device::Device;
use recis::framework::{Hook, Resume, StepReport, StopReason, Trainer, TrainingArguments};

use crate::devices::devices;
use crate::model::{Memory, ROWS, arguments, batch, plan, plan_on};

fn train(args: TrainingArguments, batches: u64) -> StopReason {
    train_on(Device::Cpu, args, batches)
}

fn train_on(device: Device, args: TrainingArguments, batches: u64) -> StopReason {
    Trainer::new(plan_on(device), args, Memory::new(batches), None, vec![]).unwrap().train().unwrap()
}

/// Every file of a checkpoint.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

fn checkpoints(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("checkpoint")).unwrap().lines().map(String::from).collect()
}

#[test]
fn threads_and_repetition_change_no_bit() {
    let run = |threads| {
        let dir = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(arguments(dir.path()), 6));
        files(&dir.path().join("ckpt_6"))
    };
    let one = run(1);
    assert!(one == run(1) && one == run(2) && one == run(5));
}

#[test]
fn continuing_is_the_same_as_not_stopping() {
    devices().into_iter().for_each(continuing_is_the_same_as_not_stopping_on);
}

fn continuing_is_the_same_as_not_stopping_on(device: Device) {
    let train = |args, batches| train_on(device, args, batches);
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let args = |dir: &Path, steps| TrainingArguments { train_epoch: 3, train_steps: steps, ..arguments(dir) };
    assert_eq!(train(args(&whole, None), 5), StopReason::Epochs);
    // Stops within an epoch, at its end, and at its beginning.
    for steps in [2, 5, 6, 14] {
        assert_eq!(train(args(&parts, Some(steps)), 5), StopReason::Steps);
    }
    assert_eq!(train(args(&parts, None), 5), StopReason::Epochs);
    assert!(files(&whole.join("ckpt_15")) == files(&parts.join("ckpt_15")));
}

#[test]
fn a_run_says_why_it_stops_and_a_finished_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let args = || TrainingArguments { train_steps: Some(100), ..arguments(dir.path()) };
    assert_eq!(train(args(), 4), StopReason::Data);
    assert_eq!(checkpoints(dir.path()), ["ckpt_4"]);
    assert_eq!(train(args(), 4), StopReason::Finished);
    assert_eq!(train(TrainingArguments { train_epoch: 2, ..args() }, 4), StopReason::Data);
    assert_eq!(checkpoints(dir.path()), ["ckpt_4", "ckpt_8"]);
    assert_eq!(
        train(TrainingArguments { resume: Resume::Never, train_steps: Some(3), ..args() }, 4),
        StopReason::Steps
    );
    assert_eq!(checkpoints(dir.path()).last().unwrap(), "ckpt_3");
}

struct StopAt(u64, std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Hook for StopAt {
    fn after_step(&mut self, report: &StepReport) -> recis::Result<()> {
        self.1.store(report.global_step == self.0, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_run_that_is_asked_to_stop_saves_and_can_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(plan(), arguments(dir.path()), Memory::new(6), None, vec![]).unwrap();
    let stop = trainer.stop_flag();
    trainer.add_hook(StopAt(2, stop));
    assert_eq!(trainer.train().unwrap(), StopReason::Signal);
    assert_eq!(checkpoints(dir.path()), ["ckpt_3"]);
    assert_eq!(train(arguments(dir.path()), 6), StopReason::Epochs);
    assert_eq!(checkpoints(dir.path()), ["ckpt_3", "ckpt_6"]);
}

#[test]
fn checkpoints_come_at_their_steps_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let args = TrainingArguments { save_steps: Some(2), max_to_keep: 3, ..arguments(dir.path()) };
    train(args, 9);
    assert_eq!(checkpoints(dir.path()), ["ckpt_6", "ckpt_8", "ckpt_9"]);
    assert!(!dir.path().join("ckpt_4").exists());
}

#[test]
fn accumulation_saves_between_updates_and_uses_up_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        TrainingArguments { gradient_accumulation_steps: 3, save_steps: Some(2), ..arguments(dir.path()) };
    train(args, 7);
    // Saves due at 2, 4 and 6 happen at the next updates, 3 and 6; the seventh batch is an update of
    // its own at the end.
    assert_eq!(checkpoints(dir.path()), ["ckpt_3", "ckpt_6", "ckpt_7"]);
}

#[test]
fn evaluation_reports_the_evaluation_data_alone() {
    let dir = tempfile::tempdir().unwrap();
    let eval = Box::new(Memory::of(vec![batch(77, ROWS), batch(78, 5)]));
    let mut trainer =
        Trainer::new(plan(), arguments(dir.path()), Memory::new(30), Some(eval), vec![]).unwrap();
    trainer.train().unwrap();
    let metrics = trainer.evaluate().unwrap();
    assert_eq!(metrics.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["eval_loss", "eval_auc"]);
    assert!(metrics.get("eval_auc").unwrap() > 0.7, "{metrics:?}");
    assert_eq!(metrics, trainer.evaluate().unwrap());
    let text = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    assert!(text.contains(r#"{"gstep":30,"eval_rows":37,"metrics":{"eval_loss":"#), "{text}");
}

#[test]
fn an_added_metric_shows_in_every_line_after() {
    let dir = tempfile::tempdir().unwrap();
    recis::metrics::add_metric("mood", 0.25);
    train(arguments(dir.path()), 2);
    let text = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    assert!(text.lines().all(|line| line.contains(r#""mood":0.25"#)), "{text}");
}
