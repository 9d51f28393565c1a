//! Where training stands, kept in checkpoints and taken from them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Trainer;
use crate::framework::Resume;
use crate::framework::checkpoint::{self, Snapshot};
use crate::snapshot::ModelSnapshot;
use crate::tensor::Position;
use crate::{Error, Result};

/// Where training stands; a checkpoint keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Batches trained on.
    pub(super) step: u64,
    /// Passes over the data that are complete.
    pub(super) epoch: u64,
    /// Where the pass that is not complete has got to.
    pub(super) position: Option<Position>,
    /// The same for each of several ranks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rank_positions: Vec<Option<Position>>,
}

impl Trainer {
    /// Takes the newest checkpoint of the output directory, if the arguments allow it and there is
    /// one. [`Trainer::train`] does this first; call it to evaluate without training.
    pub fn restore(&mut self) -> Result<()> {
        if self.args.resume == Resume::Never || self.progress.step > 0 {
            return Ok(());
        }
        if let Some(path) = self.newest_checkpoint()? {
            let snapshot = checkpoint::load(&path)?;
            let unfit = |what: String| Error::Checkpoint { path: path.clone(), what };
            self.progress = serde_json::from_value(snapshot.progress)
                .map_err(|e| unfit(format!("state.json: the progress cannot be read: {e}")))?;
            let model = ModelSnapshot { tables: snapshot.tables, arrays: snapshot.arrays };
            self.plan.restore(model).map_err(|e| {
                unfit(format!("it is of another model: {e}. Use another output_dir, or resume=never"))
            })?;
            self.logger.info(format!("restored {}: {} steps done", path.display(), self.progress.step));
            self.take_own_position();
        }
        Ok(())
    }

    /// The newest checkpoint: of several ranks all take the one that the first finds.
    fn newest_checkpoint(&self) -> Result<Option<PathBuf>> {
        let dir = &self.args.output_dir;
        let Some(communicator) = self.plan.communicator() else { return checkpoint::latest(dir) };
        let found = if communicator.rank() == 0 { checkpoint::latest(dir)? } else { None };
        let name = found.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let all = self.plan.gather(name.unwrap_or_default().as_bytes())?;
        let name = all.into_iter().next().unwrap_or_default();
        Ok((!name.is_empty()).then(|| dir.join(String::from_utf8_lossy(&name).as_ref())))
    }

    /// Of the positions that a checkpoint keeps, takes this rank's. Where another number of ranks saved
    /// in the middle of a pass, nobody can say what each of these has seen of it.
    fn take_own_position(&mut self) {
        let (rank, ranks) = self.plan.communicator().map_or((0, 1), |c| (c.rank(), c.world_size()));
        let Progress { position, rank_positions, .. } = &mut self.progress;
        let saved = std::mem::take(rank_positions);
        let saved = if saved.is_empty() { vec![position.take()] } else { saved };
        if saved.len() == ranks {
            *position = saved.into_iter().nth(rank).flatten();
        } else if saved.iter().any(Option::is_some) {
            *position = None;
            self.logger.warning(format!(
                "the checkpoint was written in the middle of a pass by {} ranks, and these are {ranks}: the pass \
                 begins anew",
                saved.len()
            ));
        }
    }

    /// Whether a multiple of `save_steps` lies in the steps since the last update.
    pub(super) fn save_is_due(&self) -> bool {
        let (step, span) = (self.progress.step, self.args.gradient_accumulation_steps as u64);
        self.args.save_steps.is_some_and(|every| step / every > step.saturating_sub(span) / every)
    }

    pub(super) fn save(&mut self) -> Result<()> {
        (self.last_report, self.waited) = (None, 0.0);
        let ModelSnapshot { tables, arrays } = self.plan.snapshot()?;
        let step = self.progress.step;
        let unwritable = |e: serde_json::Error| Error::Checkpoint {
            path: self.args.output_dir.clone(),
            what: format!("progress: {e}"),
        };
        let mut progress = self.progress.clone();
        if self.plan.communicator().is_some() {
            let own = serde_json::to_vec(&progress.position.take()).map_err(unwritable)?;
            let all = self.plan.gather(&own)?;
            let all = all.iter().map(|position| serde_json::from_slice(position));
            progress.rank_positions = all.collect::<Result<_, _>>().map_err(unwritable)?;
        }
        let progress = serde_json::to_value(&progress).map_err(unwritable)?;
        let snapshot = Snapshot { step, tables, arrays, progress };
        let args = &self.args;
        let path = match self.plan.communicator() {
            Some(communicator) if communicator.rank() > 0 => checkpoint::path(&args.output_dir, step),
            _ => checkpoint::save(
                &args.output_dir,
                &snapshot,
                args.max_to_keep,
                args.save_concurrency_per_rank,
            )?,
        };
        if let Some(communicator) = self.plan.communicator() {
            // Nobody goes on from what is not on disk.
            communicator.barrier()?;
        }
        if self.plan.communicator().is_none_or(|communicator| communicator.rank() == 0) {
            self.logger.info(format!("saved {}", path.display()));
        }
        self.hooks.iter_mut().try_for_each(|hook| hook.after_save(&path, step))
    }
}
