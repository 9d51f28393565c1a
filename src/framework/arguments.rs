//! What a training run is told.

use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, Result};

/// How long to train, and what to write on the way. Names and defaults are RecIS's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingArguments {
    /// Batches whose gradients are averaged into one update.
    pub gradient_accumulation_steps: usize,
    /// Where checkpoints and `metrics.jsonl` go.
    pub output_dir: PathBuf,
    /// A log line every so many steps; the last step gets one in any case.
    pub log_steps: u64,
    /// Bounds the steps of the whole run, restored ones included; `None`: the data does.
    pub train_steps: Option<u64>,
    /// Bounds the passes over the data of the whole run, restored ones included.
    pub train_epoch: u64,
    /// Bounds the steps of an evaluation; `None`: the data does.
    pub eval_steps: Option<u64>,
    /// A checkpoint every so many steps, and after every pass over the data; `None`: after every pass.
    pub save_steps: Option<u64>,
    /// How many checkpoints to keep, the newest ones.
    pub max_to_keep: usize,
    /// Over how many files the tables of a checkpoint are spread.
    pub save_concurrency_per_rank: usize,
    /// What to do about checkpoints that are there already.
    pub resume: Resume,
}

/// What to do about checkpoints that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Continue from the newest one, if there is one.
    #[default]
    Auto,
    /// Start anew.
    Never,
}

/// Reads `auto` or `never`.
impl FromStr for Resume {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "never" => Ok(Self::Never),
            _ => Err(Error::option("resume", format!("'{name}' is unknown; one of auto, never"))),
        }
    }
}

impl Default for TrainingArguments {
    fn default() -> Self {
        Self {
            gradient_accumulation_steps: 1,
            output_dir: "output_dir".into(),
            log_steps: 100,
            train_steps: None,
            train_epoch: 1,
            eval_steps: None,
            save_steps: Some(1000),
            max_to_keep: 5,
            save_concurrency_per_rank: 4,
            resume: Resume::Auto,
        }
    }
}

impl TrainingArguments {
    /// Fails with [`Error::Option`], naming the field, if a value makes no sense.
    pub fn validate(&self) -> Result<()> {
        let at_least_one = [
            ("gradient_accumulation_steps", self.gradient_accumulation_steps as u64),
            ("log_steps", self.log_steps),
            ("train_epoch", self.train_epoch),
            ("max_to_keep", self.max_to_keep as u64),
            ("save_concurrency_per_rank", self.save_concurrency_per_rank as u64),
        ];
        if let Some((field, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::option(field, "is 0; use 1 or more"));
        }
        let optional = [
            ("train_steps", self.train_steps, "for as many steps as the data has"),
            ("eval_steps", self.eval_steps, "for as many steps as the data has"),
            ("save_steps", self.save_steps, "for a checkpoint after every pass only"),
        ];
        if let Some((field, _, none)) = optional.into_iter().find(|(_, value, _)| *value == Some(0)) {
            return Err(Error::option(field, format!("is 0; use 1 or more, or None {none}")));
        }
        if self.output_dir.as_os_str().is_empty() {
            return Err(Error::option("output_dir", "is empty; use '.' for the current directory"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_field() {
        type Change = fn(&mut TrainingArguments);
        let cases: [(&str, Change); 9] = [
            ("gradient_accumulation_steps", |a| a.gradient_accumulation_steps = 0),
            ("output_dir", |a| a.output_dir = PathBuf::new()),
            ("log_steps", |a| a.log_steps = 0),
            ("train_steps", |a| a.train_steps = Some(0)),
            ("train_epoch", |a| a.train_epoch = 0),
            ("eval_steps", |a| a.eval_steps = Some(0)),
            ("save_steps", |a| a.save_steps = Some(0)),
            ("max_to_keep", |a| a.max_to_keep = 0),
            ("save_concurrency_per_rank", |a| a.save_concurrency_per_rank = 0),
        ];
        TrainingArguments::default().validate().unwrap();
        for (field, change) in cases {
            let mut arguments = TrainingArguments::default();
            change(&mut arguments);
            let error = arguments.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
    }
}
