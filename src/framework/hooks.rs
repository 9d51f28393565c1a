//! What is called as training proceeds.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Logger;
use super::metric_line::{MetricLine, Metrics, Rates};
use crate::{Error, Result};

/// Is told how training proceeds. An error stops training.
pub trait Hook {
    /// A step is finished.
    fn after_step(&mut self, report: &StepReport) -> Result<()> {
        let _ = report;
        Ok(())
    }

    /// The checkpoint in the folder `path` is on disk; `step` steps are finished.
    fn after_save(&mut self, path: &Path, step: u64) -> Result<()> {
        let _ = (path, step);
        Ok(())
    }

    /// An evaluation over `rows` rows is finished; `step` steps were trained before it.
    fn after_evaluate(&mut self, step: u64, rows: usize, metrics: &Metrics) -> Result<()> {
        let _ = (step, rows, metrics);
        Ok(())
    }

    /// Training is over; `last` is the report of the last step, if there was one.
    fn end(&mut self, last: Option<&StepReport>) -> Result<()> {
        let _ = last;
        Ok(())
    }
}

/// A finished step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Steps finished before this one, restored ones included.
    pub global_step: u64,
    /// Steps finished before this one in this process.
    pub local_step: u64,
    /// The pass over the data, from 0.
    pub epoch: u64,
    /// Loss and whatever else the model reports.
    pub metrics: Metrics,
    /// Rows of the step's batch.
    pub rows: usize,
    /// From the end of the step before to the end of this one; of the first one, from asking for its
    /// batch.
    pub step_seconds: f64,
    /// The part of `step_seconds` spent waiting for a batch: on a device, for one further on.
    pub wait_seconds: f64,
}

impl StepReport {
    fn line(&self, rates: Rates) -> MetricLine<'_> {
        let Self { global_step, local_step, epoch, ref metrics, .. } = *self;
        MetricLine { gstep: global_step, lstep: local_step, epoch, metrics, rates }
    }
}

/// Logs a line every `log_steps` steps, beginning with the first, and for the last step.
pub struct LoggerHook {
    logger: Logger,
    interval: Interval,
}

impl LoggerHook {
    /// Logs every `log_steps` steps, at least 1.
    pub fn new(log_steps: u64) -> Self {
        Self { logger: Logger::new("Metric"), interval: Interval::new(log_steps) }
    }
}

impl Hook for LoggerHook {
    fn after_step(&mut self, report: &StepReport) -> Result<()> {
        if let Some(rates) = self.interval.after_step(report) {
            self.logger.info(report.line(rates));
        }
        Ok(())
    }

    fn after_evaluate(&mut self, step: u64, rows: usize, metrics: &Metrics) -> Result<()> {
        self.logger.info(format_args!("<gstep={step}> <eval_rows={rows}>{metrics}"));
        Ok(())
    }

    fn end(&mut self, last: Option<&StepReport>) -> Result<()> {
        if let (Some(report), Some(rates)) = (last, self.interval.end()) {
            self.logger.info(report.line(rates));
        }
        Ok(())
    }
}

/// Appends the steps that [`LoggerHook`] logs to `metrics.jsonl`, one JSON object a line:
/// `{"gstep":0,"lstep":0,"epoch":0,"metrics":{"loss":0.69,…},"qps":…,"step_ms":…,"samples/s":…,"data_wait":…}`.
///
/// An evaluation gets a line `{"gstep":19,"eval_rows":2047,"metrics":{"eval_loss":…}}`.
///
/// A run that resumes appends; of two lines with one `gstep` the later is the one that counts. What
/// JSON has no number for (NaN, infinity) is `null`.
pub struct MetricsFileHook {
    path: PathBuf,
    file: File,
    interval: Interval,
}

impl MetricsFileHook {
    /// Opens `<output_dir>/metrics.jsonl` for a line every `log_steps` steps, at least 1.
    pub fn new(output_dir: impl AsRef<Path>, log_steps: u64) -> Result<Self> {
        let dir = output_dir.as_ref();
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let path = dir.join("metrics.jsonl");
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(Error::io(&path))?;
        Ok(Self { path, file, interval: Interval::new(log_steps) })
    }

    fn write(&mut self, line: impl Serialize) -> Result<()> {
        let json = serde_json::to_string(&line).map_err(|e| Error::io(&self.path)(e.into()))?;
        // One write a line: whoever reads along sees whole lines.
        self.file.write_all(format!("{json}\n").as_bytes()).map_err(Error::io(&self.path))
    }
}

impl Hook for MetricsFileHook {
    fn after_step(&mut self, report: &StepReport) -> Result<()> {
        match self.interval.after_step(report) {
            Some(rates) => self.write(report.line(rates)),
            None => Ok(()),
        }
    }

    fn after_evaluate(&mut self, step: u64, rows: usize, metrics: &Metrics) -> Result<()> {
        self.write(EvaluationLine { gstep: step, eval_rows: rows, metrics })
    }

    fn end(&mut self, last: Option<&StepReport>) -> Result<()> {
        match (last, self.interval.end()) {
            (Some(report), Some(rates)) => self.write(report.line(rates)),
            _ => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct EvaluationLine<'a> {
    gstep: u64,
    eval_rows: usize,
    metrics: &'a Metrics,
}

/// The steps since the previous line.
struct Interval {
    log_steps: u64,
    steps: u64,
    rows: usize,
    seconds: f64,
    wait_seconds: f64,
}

impl Interval {
    fn new(log_steps: u64) -> Self {
        Self { log_steps: log_steps.max(1), steps: 0, rows: 0, seconds: 0.0, wait_seconds: 0.0 }
    }

    /// Counts a step. If it gets a line: the rates for it.
    fn after_step(&mut self, report: &StepReport) -> Option<Rates> {
        self.steps += 1;
        self.rows += report.rows;
        self.seconds += report.step_seconds;
        self.wait_seconds += report.wait_seconds;
        if report.local_step.is_multiple_of(self.log_steps) { self.end() } else { None }
    }

    /// The rates of the steps that no line covers yet, if any; the next interval begins.
    fn end(&mut self) -> Option<Rates> {
        let Self { steps, rows, seconds, wait_seconds, .. } =
            std::mem::replace(self, Self::new(self.log_steps));
        (steps > 0).then(|| Rates {
            qps: steps as f64 / seconds,
            step_ms: seconds * 1e3 / steps as f64,
            samples_per_second: rows as f64 / seconds,
            data_wait: wait_seconds / seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: u64) -> StepReport {
        let mut metrics = Metrics::new();
        metrics.set("loss", f64::NAN);
        metrics.set("auc", 0.5);
        let (rows, step_seconds, wait_seconds) = (100, 0.25, 0.125);
        StepReport {
            global_step: 30 + step,
            local_step: step,
            metrics,
            rows,
            step_seconds,
            wait_seconds,
            ..StepReport::default()
        }
    }

    /// Runs 19 steps with 10 to a line: lines for 0, 10 and 18.
    fn run(hook: &mut dyn Hook) {
        (0..19).for_each(|step| hook.after_step(&report(step)).unwrap());
        hook.end(Some(&report(18))).unwrap();
    }

    #[test]
    fn an_interval_ends_at_every_log_step_and_at_the_end() {
        let mut interval = Interval::new(10);
        let lines: Vec<u64> = (0..19).filter(|&step| interval.after_step(&report(step)).is_some()).collect();
        assert_eq!(lines, [0, 10]);
        let rates = interval.end().unwrap();
        assert_eq!(rates, Rates { qps: 4.0, step_ms: 250.0, samples_per_second: 400.0, data_wait: 0.5 });
        assert_eq!(interval.end(), None);
    }

    #[test]
    fn the_metrics_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        run(&mut MetricsFileHook::new(dir.path().join("new"), 10).unwrap());
        run(&mut MetricsFileHook::new(dir.path().join("new"), 10).unwrap());
        let text = fs::read_to_string(dir.path().join("new/metrics.jsonl")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(
            lines[1],
            r#"{"gstep":40,"lstep":10,"epoch":0,"metrics":{"loss":null,"auc":0.5},"qps":4.0,"step_ms":250.0,"samples/s":400.0,"data_wait":0.5}"#
        );
        assert!(lines[2].starts_with(r#"{"gstep":48,"lstep":18,"#));
    }
}
