//! A training step: from a batch to gradients, and from those to parameters and tables.

use crate::nn::embedding::Notice;
use crate::tensor::Batch;
use crate::{Error, Result};

use super::{PendingStep, Plan, PreparedBatch};

/// What the ranks have agreed on.
#[derive(Debug)]
pub enum Turn {
    /// All go on: forward and backward of their batches are under way.
    Step(Box<PendingStep>),
    /// A rank is asked to stop. No batch was used.
    Stop,
    /// A rank has no batch any more. No batch was used.
    End,
}

/// What a rank tells the others before a step: the greatest counts.
pub(super) mod readiness {
    pub const READY: u64 = 0;
    pub const STOP: u64 = 1;
    pub const END: u64 = 2;
}

impl Plan {
    /// Says that every update takes so many batches. With several ranks the dense gradients are then added
    /// up during the last one's backward pass; else by [`Plan::apply_gradients`]. With one rank on a CUDA device, a
    /// batch of up to 2048 rows that is an update of its own is also learned from when it is trained on, as one graph,
    /// whatever [`PendingStep::wait`] then says of it, and nothing is left to apply. The result is the same; only if such a
    /// step fails for want of memory, its parameters may have moved already.
    pub fn update_every(&mut self, batches: usize) {
        self.batches_an_update = Some(batches);
    }

    /// Enqueues forward and backward of one batch; the gradients wait for [`Plan::apply_gradients`].
    /// What it says of the batch is known later on a device: ask for it when the next batch is under
    /// way, and before anything learned is kept.
    ///
    /// # Errors
    /// A batch that does not fit the model. With several ranks, also that another has stopped;
    /// [`Plan::train_or_stop`] lets them agree.
    pub fn train_batch(&mut self, batch: &Batch) -> Result<PendingStep> {
        match self.train_or_stop(Some(batch), false)? {
            Turn::Step(step) => Ok(*step),
            turn => Err(Error::Model(format!("another rank does not go on ({turn:?})"))),
        }
    }

    /// [`Plan::train_batch`] if every rank has a batch and none wants to `stop`. A batch without rows is
    /// one too when there are several ranks: its rank learns nothing from it, but counts in the mean.
    pub fn train_or_stop(&mut self, batch: Option<&Batch>, stop: bool) -> Result<Turn> {
        let batch = batch.map(|batch| self.preparer.prepare(batch)).transpose()?;
        self.train_prepared(batch, stop)
    }

    /// [`Plan::train_or_stop`] of a batch that this plan's [preparer](Plan::preparer) has prepared.
    pub fn train_prepared(&mut self, batch: Option<PreparedBatch>, stop: bool) -> Result<Turn> {
        if self.sums_begun {
            let what = "apply_gradients is due: an update was to take no more batches (update_every)";
            return Err(Error::Model(what.into()));
        }
        match batch {
            Some(batch) if !batch.by.is(&self.preparer) => {
                Err(Error::Model("a batch that another plan's preparer has prepared".into()))
            }
            Some(batch) if !stop && self.is_launched(&batch)? => self.launch(batch),
            batch => self.train(batch, stop),
        }
    }

    /// Enqueues forward and backward, if all ranks go on.
    pub(super) fn train(&mut self, batch: Option<PreparedBatch>, stop: bool) -> Result<Turn> {
        let own = match batch {
            None => readiness::END,
            Some(_) if stop => readiness::STOP,
            Some(_) => readiness::READY,
        };
        let about = batch.as_ref().map(|batch| batch.about.clone());
        let (columns, notices) = self.begin(batch, own)?;
        match notices.iter().map(|notice| notice.state).max() {
            Some(readiness::END) => return Ok(Turn::End),
            Some(readiness::STOP) => return Ok(Turn::Stop),
            _ => {}
        }
        let Some(batch) = &about else { return Ok(Turn::End) };
        self.forward(columns.as_ref(), true)?;
        let total = notices.iter().map(|notice| notice.rows).sum();
        if columns.is_some() {
            self.train_loss(batch.rows)?;
            for (_, metric) in &mut self.metrics {
                metric.update(self.network.prediction(), &self.label, &self.reading)?;
            }
        } else {
            self.loss_value.fill_bytes(0, &self.stream)?;
        }
        let Some(communicator) = self.communicator.clone() else {
            // All that a step says is there: it is read while the device goes on.
            let step = self.pending_step(batch, batch.rows, true)?;
            self.backward(batch.rows)?;
            self.pending_batches += 1;
            return Ok(Turn::Step(Box::new(step)));
        };
        self.backward(batch.rows)?;
        self.share_loss(batch.rows, total)?;
        for (_, metric) in &mut self.metrics {
            metric.all_reduce(communicator.as_ref(), &self.stream)?;
        }
        self.pending_batches += 1;
        let step = self.pending_step(batch, total as usize, true)?;
        Ok(Turn::Step(Box::new(step)))
    }

    /// Moves parameters and tables by the mean gradient of the batches since the last call.
    pub fn apply_gradients(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.pending_batches);
        if batches == 0 {
            return Ok(());
        }
        let mut ranks = 1;
        if let Some(communicator) = &self.communicator {
            if !std::mem::take(&mut self.sums_begun) {
                self.network.begin_sums(communicator.as_ref(), &self.stream)?;
            }
            communicator.join_sums(&self.spare)?;
            ranks = communicator.world_size();
        }
        // Beside what does not want them before the next batch's forward pass.
        self.network.order_by(&self.spare)?;
        self.dense_optimizer.step(self.network.parameters_mut(), batches * ranks, &self.spare)?;
        self.embeddings.step(self.sparse_optimizer.as_ref(), batches, &self.stream)
    }

    /// Takes a batch, and tells the other ranks. The columns of a batch with rows, and what all ranks had to
    /// say.
    pub(super) fn begin(
        &mut self,
        batch: Option<PreparedBatch>,
        state: u64,
    ) -> Result<(Option<Batch>, Vec<Notice>)> {
        let mut columns = None;
        // All that the last step's metrics and read-backs have read, and what streams beside have: one wait for them, where
        // nothing is held up.
        let read = [self.loss_value.order(), self.label.order(), self.network.prediction().order()];
        let beside = self.is_recorded.then(|| self.network.nodes[0].d_y.order());
        self.stream.write_all([self.unfit.order()].into_iter().chain(read).chain(beside))?;
        if !std::mem::take(&mut self.unfit_is_clear) {
            self.unfit.clear(&self.stream)?;
        }
        let (mut ids, mut rows) = (None, 0);
        if let Some(PreparedBatch { about, content, .. }) = batch {
            if about.rows == 0 && self.communicator.is_none() {
                return Err(Error::Data { place: "batch".into(), what: "it has no rows".into() });
            }
            rows = about.rows as u64;
            if let Some((found, found_ids)) = content {
                let stream = if self.is_recorded { &self.reading } else { &self.stream };
                self.inputs.read_label(&found, &mut self.label, &mut self.unfit, stream)?;
                (columns, ids) = (Some(found), Some(found_ids));
            }
        }
        self.embeddings.take(ids, &self.preparer.0.stream)?;
        let notices = self.embeddings.announce(Notice { state, rows }, &self.stream)?;
        Ok((columns, notices))
    }

    /// From a rank's columns to the prediction, behind the rows that they want; without columns only other ranks' rows.
    pub(super) fn forward(&mut self, columns: Option<&Batch>, train: bool) -> Result<()> {
        // In a graph, all that needs no rows runs beside their lookup. Else memory stays with one stream, and what is
        // wrong with a rank's columns does not keep it from helping the others to their rows.
        if self.is_recorded
            && let Some(columns) = columns
        {
            self.inputs.copy_columns(columns, &mut self.unfit, &self.reading)?;
        }
        self.embeddings.fetch(train, &self.stream)?;
        let Some(columns) = columns else { return Ok(()) };
        if !self.is_recorded {
            self.inputs.copy_columns(columns, &mut self.unfit, &self.stream)?;
        }
        let [ahead, beside] = if self.is_recorded { [&self.spare, &self.beside] } else { [&self.stream; 2] };
        self.network.prepare(&self.inputs, &self.embeddings, columns.rows, self.is_recorded, ahead)?;
        self.inputs.combine(&self.embeddings, &self.stream, beside)?;
        self.network.forward(&self.inputs, &self.embeddings, columns.rows, train, &self.stream)?;
        if train {
            // Beside the layers behind the first one.
            self.embeddings.begin_backward(&self.spare)?;
        }
        Ok(())
    }
}
