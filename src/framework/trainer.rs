//! The training loop.

mod ahead;
mod progress;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::{Hook, Logger, LoggerHook, Metrics, MetricsFileHook, StepReport, TrainingArguments};
use crate::io::Dataset;
use crate::metrics::added_metrics;
use crate::nn::{PendingStep, Plan, StepOutput, Turn};
use crate::{Error, Result};
use ahead::{BatchesAhead, NextBatch};
use progress::Progress;

/// Trains a model on a dataset: epochs, updates, hooks, checkpoints, and resuming from them.
pub struct Trainer {
    plan: Plan,
    args: TrainingArguments,
    train_dataset: Box<dyn Dataset>,
    eval_dataset: Option<Box<dyn Dataset>>,
    hooks: Vec<Box<dyn Hook>>,
    stop: Arc<AtomicBool>,
    progress: Progress,
    local_step: u64,
    logger: Logger,
    /// Steps that have been enqueued and not yet told of.
    pending: VecDeque<Pending>,
    /// When the last step was told of, if nothing else was done since.
    last_report: Option<Instant>,
    /// Seconds spent waiting for batches since then.
    waited: f64,
}

/// A step that a device is working on.
struct Pending {
    step: PendingStep,
    /// All but what the step says.
    report: StepReport,
    asked: Instant,
    /// Where its batch begins, for messages.
    place: String,
}

/// A step that is finished: its report without what it says, when its batch was asked for, and what
/// it says.
type Finished = (StepReport, Instant, StepOutput);

/// Steps a device is given before the host waits for the first of them: it then has one to work on
/// while the host enqueues the next.
const STEPS_AHEAD: usize = 1;

/// Why training stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// `train_steps` steps are done.
    Steps,
    /// `train_epoch` passes over the data are done.
    Epochs,
    /// The data of all passes gave fewer than `train_steps` steps.
    Data,
    /// The program was asked to stop; training can be continued.
    Signal,
    /// The run was finished when it began.
    Finished,
}

impl Trainer {
    /// A trainer with the hooks that log: one line every `log_steps` steps on the terminal and in
    /// `<output_dir>/metrics.jsonl`. Of several ranks the first has them; each calls its own hooks.
    ///
    /// With several ranks, each has a trainer, with the same arguments and its own part of the data,
    /// and an `output_dir` that all of them can read.
    ///
    /// # Errors
    /// Arguments that make no sense, an output directory that cannot be written.
    pub fn new(
        mut plan: Plan,
        args: TrainingArguments,
        train_dataset: impl Dataset + 'static,
        eval_dataset: Option<Box<dyn Dataset>>,
        mut hooks: Vec<Box<dyn Hook>>,
    ) -> Result<Self> {
        args.validate()?;
        plan.update_every(args.gradient_accumulation_steps);
        if plan.communicator().is_none_or(|communicator| communicator.rank() == 0) {
            hooks.push(Box::new(LoggerHook::new(args.log_steps)));
            hooks.push(Box::new(MetricsFileHook::new(&args.output_dir, args.log_steps)?));
        }
        Ok(Self {
            plan,
            args,
            train_dataset: Box::new(train_dataset),
            eval_dataset,
            hooks,
            stop: Arc::default(),
            progress: Progress::default(),
            local_step: 0,
            logger: Logger::new("Trainer"),
            pending: VecDeque::new(),
            last_report: None,
            waited: 0.0,
        })
    }

    /// Adds a hook behind those that are there.
    pub fn add_hook(&mut self, hook: impl Hook + 'static) {
        self.hooks.push(Box::new(hook));
    }

    /// Set this from anywhere, a signal handler say: training then finishes its update, saves, and
    /// returns [`StopReason::Signal`]; an evaluation ends with what it has.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// The plan that is trained.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Batches trained on so far, restored ones included.
    pub fn global_step(&self) -> u64 {
        self.progress.step
    }

    /// Trains to the end of the run, beginning from the newest checkpoint if the arguments say so.
    /// `train_steps` and `train_epoch` bound the whole run; a run that is finished is left alone.
    ///
    /// Several ranks do this together. A pass over the data ends for all of them when the first has no
    /// batch left.
    pub fn train(&mut self) -> Result<StopReason> {
        self.restore()?;
        if let Some(reason) = self.finished() {
            self.logger.info(format!(
                "the run is finished ({reason}, {} steps, {} epochs): nothing to do. Raise train_steps or \
                 train_epoch to go on, or start anew with resume=never",
                self.progress.step, self.progress.epoch
            ));
            return Ok(StopReason::Finished);
        }
        let mut last = None;
        let reason = loop {
            if let Some(reason) = self.finished() {
                break reason;
            }
            let reason = self.train_epoch(&mut last)?;
            self.plan.apply_gradients()?;
            self.tell_of(0, &mut last)?;
            if let Some(reason) = reason {
                self.save()?;
                break reason;
            }
            self.progress.epoch += 1;
            self.progress.position = None;
            self.save()?;
        };
        self.hooks.iter_mut().try_for_each(|hook| hook.end(last.as_ref()))?;
        self.logger.info(format!(
            "stopped after {} steps and {} epochs: {reason}",
            self.progress.step, self.progress.epoch
        ));
        Ok(reason)
    }

    /// The mean loss and the metrics over the evaluation dataset, as `eval_loss`, `eval_auc` and so
    /// on. Nothing is learned, and the metrics of training are left alone.
    ///
    /// # Errors
    /// There is no evaluation dataset, or it has no batch.
    pub fn evaluate(&mut self) -> Result<Metrics> {
        let dataset = self.eval_dataset.as_ref();
        let dataset =
            dataset.ok_or_else(|| Error::option("eval_dataset", "is missing, but evaluate was called"))?;
        let mut counters = self.plan.fresh_metrics();
        let (mut loss, mut rows) = (0.0, 0);
        let limit = self.args.eval_steps.unwrap_or(u64::MAX);
        let mut batches = dataset.iterate(None)?.take(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut stopped = false;
        loop {
            let batch = if stopped { None } else { batches.next().transpose()? };
            let batch = batch.filter(|_| {
                stopped = self.stop.load(Ordering::Relaxed) && rows > 0;
                !stopped
            });
            if batch.is_none() && self.plan.communicator().is_none() {
                break;
            }
            // Of several ranks, those that are at the end of theirs help the others.
            let Some(of_batch) = self.plan.evaluate_or_end(batch.as_ref(), &mut counters)? else { break };
            let batch_rows = batch.map_or(0, |batch| batch.rows);
            loss += f64::from(of_batch) * batch_rows as f64;
            rows += batch_rows;
        }
        if stopped {
            self.logger.warning(format!("asked to stop: the evaluation covers the first {rows} rows"));
        }
        (loss, rows) = self.plan.over_all_ranks(loss, rows)?;
        if rows == 0 {
            return Err(Error::option(
                "eval_dataset",
                "has no batch; with drop_remainder it may be too short",
            ));
        }
        let mut metrics = Metrics::new();
        metrics.set("eval_loss", loss / rows as f64);
        for (name, value) in self.plan.compute(&mut counters)? {
            metrics.set(format!("eval_{name}"), value);
        }
        let step = self.progress.step;
        self.hooks.iter_mut().try_for_each(|hook| hook.after_evaluate(step, rows, &metrics))?;
        Ok(metrics)
    }

    fn finished(&self) -> Option<StopReason> {
        let Progress { step, epoch, .. } = self.progress;
        if self.args.train_steps.is_some_and(|steps| step >= steps) {
            Some(StopReason::Steps)
        } else if epoch >= self.args.train_epoch {
            Some(if self.args.train_steps.is_some() { StopReason::Data } else { StopReason::Epochs })
        } else {
            None
        }
    }

    /// Trains to the end of the data, or until there is a reason to stop before.
    fn train_epoch(&mut self, last: &mut Option<StepReport>) -> Result<Option<StopReason>> {
        let first_step = self.progress.step;
        let batches = self.train_dataset.iterate(self.progress.position.as_ref())?;
        let mut batches = BatchesAhead::new(batches, self.plan.preparer())?;
        let mut micro_batches = 0;
        loop {
            let asked = Instant::now();
            let batch = batches.next()?;
            if batch.is_none() && self.plan.communicator().is_none() {
                break;
            }
            self.waited += asked.elapsed().as_secs_f64();
            let report = StepReport {
                global_step: self.progress.step,
                local_step: self.local_step,
                epoch: self.progress.epoch,
                metrics: Metrics::new(),
                rows: 0,
                step_seconds: 0.0,
                wait_seconds: 0.0,
            };
            let (place, end, prepared) = match batch {
                Some(NextBatch { place, end, prepared }) => (place, end, Some(prepared)),
                None => (String::from("the end of the data"), None, None),
            };
            let is_there = prepared.is_some();
            // One rank stops when it has saved its last step, below; several when all know of it.
            let updated = micro_batches % self.args.gradient_accumulation_steps == 0;
            let stop = self.plan.communicator().is_some_and(|communicator| {
                communicator.set_step(report.global_step);
                updated && self.stop.load(Ordering::Relaxed)
            });
            let turn = prepared.transpose().and_then(|prepared| self.plan.train_prepared(prepared, stop));
            let step = match turn.map_err(|e| in_batch(e, report.global_step, &place))? {
                Turn::Step(step) => *step,
                Turn::Stop => return Ok(Some(StopReason::Signal)),
                Turn::End => break,
            };
            if !is_there {
                break;
            }
            self.pending.push_back(Pending { step, report, asked, place });
            micro_batches += 1;
            let finished = self.finished_steps(STEPS_AHEAD)?;
            let applied = micro_batches % self.args.gradient_accumulation_steps == 0;
            if applied {
                self.plan.apply_gradients()?;
            }
            self.report(finished, last)?;
            self.progress.step += 1;
            self.progress.position = end;
            self.local_step += 1;
            if self.args.train_steps.is_some_and(|steps| self.progress.step >= steps) {
                return Ok(Some(StopReason::Steps));
            }
            // A checkpoint holds no gradients: stopping and saving wait for the next update.
            if applied && self.plan.communicator().is_none() && self.stop.load(Ordering::Relaxed) {
                return Ok(Some(StopReason::Signal));
            }
            if applied && self.save_is_due() {
                self.tell_of(0, last)?;
                self.save()?;
            }
        }
        if self.progress.step == first_step && self.progress.position.is_none() {
            let what = match self.plan.communicator() {
                None => "it gave no batch; with drop_remainder it may be shorter than one".into(),
                Some(ranks) => format!(
                    "it gave no batch to one of the {} ranks; are there fewer files than ranks, or, with \
                     drop_remainder, less than a batch for one?",
                    ranks.world_size()
                ),
            };
            return Err(Error::Data { place: "the training data".into(), what });
        }
        Ok(None)
    }

    /// Takes the steps that are finished, waiting for all but the last `ahead`.
    ///
    /// # Errors
    /// What a batch was unfit for. On a device more may have been learned by then; nothing of it has
    /// been saved, since saving waits for all steps.
    fn finished_steps(&mut self, ahead: usize) -> Result<Vec<Finished>> {
        let mut finished = Vec::new();
        while self.pending.front().is_some_and(|front| self.pending.len() > ahead || front.step.is_ready()) {
            let Some(Pending { step, report, asked, place }) = self.pending.pop_front() else { break };
            let output = step.wait().map_err(|e| in_batch(e, report.global_step, &place))?;
            finished.push((report, asked, output));
        }
        Ok(finished)
    }

    /// Tells the hooks of finished steps.
    fn report(&mut self, finished: Vec<Finished>, last: &mut Option<StepReport>) -> Result<()> {
        for (mut report, asked, output) in finished {
            report.rows = output.rows;
            report.metrics.set("loss", output.loss);
            if let Some(loss) = output.local_loss {
                report.metrics.set("local_loss", loss);
            }
            let metrics = output.metrics.into_iter().chain(added_metrics());
            metrics.for_each(|(name, value)| report.metrics.set(name, value));
            // Steps overlap on a device: what counts is how long after the one before.
            report.step_seconds = self.last_report.unwrap_or(asked).elapsed().as_secs_f64();
            report.wait_seconds = std::mem::take(&mut self.waited);
            self.last_report = Some(Instant::now());
            self.hooks.iter_mut().try_for_each(|hook| hook.after_step(&report))?;
            *last = Some(report);
        }
        Ok(())
    }

    /// Waits for all steps but the last `ahead`, and tells the hooks of them.
    fn tell_of(&mut self, ahead: usize, last: &mut Option<StepReport>) -> Result<()> {
        let finished = self.finished_steps(ahead)?;
        self.report(finished, last)
    }
}

/// Names the step and the batch in which an operation refused what it was given.
fn in_batch(error: Error, step: u64, place: &str) -> Error {
    match error {
        Error::Shape { .. } => Error::Data {
            place: format!("step {step}, the batch that begins at {place}"),
            what: error.to_string(),
        },
        other => other,
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steps => "train_steps is reached",
            Self::Epochs => "train_epoch is reached",
            Self::Data => "the data of all epochs is used up before train_steps",
            Self::Signal => "asked to stop",
            Self::Finished => "finished before",
        })
    }
}
