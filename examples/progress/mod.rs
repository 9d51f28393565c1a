//! A progress bar for the terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use recis::Result;
use recis::framework::{Hook, StepReport};

/// A bar on stderr if that is a terminal, and nothing otherwise.
///
/// Log lines go to the same terminal, so the bar makes room for them: it goes before the hook that
/// logs, and takes itself away in the steps that get a line.
pub struct ProgressHook {
    bar: ProgressBar,
    log_steps: u64,
}

impl ProgressHook {
    /// A bar for `steps` steps, or one without an end; `log_steps` as in the training arguments.
    pub fn new(steps: Option<u64>, log_steps: u64) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(4);
        let bar = ProgressBar::with_draw_target(steps, target);
        let template = match steps {
            Some(_) => "{bar:30} {pos}/{len} steps, {per_sec}, {eta} left{msg}",
            None => "{spinner} {pos} steps, {per_sec}{msg}",
        };
        Self { bar: bar.with_style(style(template)), log_steps: log_steps.max(1) }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Hook for ProgressHook {
    fn after_step(&mut self, report: &StepReport) -> Result<()> {
        self.bar.set_position(report.global_step + 1);
        if let Some(loss) = report.metrics.get("loss") {
            self.bar.set_message(format!(", loss {loss:.4}"));
        }
        if report.local_step.is_multiple_of(self.log_steps) && !self.bar.is_hidden() {
            // Clears the line that the bar is on; the next step draws it again, below the log line.
            eprint!("\r\x1b[2K");
        }
        Ok(())
    }

    fn end(&mut self, _: Option<&StepReport>) -> Result<()> {
        self.bar.finish_and_clear();
        Ok(())
    }
}
