//! Training: the loop, its arguments, hooks, log lines and checkpoints. Runs a
//! [`crate::nn::Plan`] and knows nothing of devices.

pub mod checkpoint;

mod arguments;
mod hooks;
mod logging;
mod metric_line;
mod trainer;

pub use arguments::{Resume, TrainingArguments};
pub use hooks::{Hook, LoggerHook, MetricsFileHook, StepReport};
pub use logging::Logger;
pub use metric_line::{MetricLine, Metrics, Rates};
pub use trainer::{StopReason, Trainer};
