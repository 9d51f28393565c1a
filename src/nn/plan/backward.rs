//! From the loss back to the gradients of all that learns.

use super::Plan;
use crate::Result;

impl Plan {
    /// Enqueues the backward pass of a batch of so many rows; of none there is nothing to learn.
    pub(super) fn backward(&mut self, rows: usize) -> Result<()> {
        let accumulate = self.pending_batches > 0;
        let (inputs, embeddings) = (&mut self.inputs, &mut self.embeddings);
        let (network, d_prediction, stream) = (&mut self.network, &self.d_prediction, &self.stream);
        // Else memory stays with one stream.
        let beside = if self.is_recorded { &self.spare } else { stream };
        if rows > 0 {
            network.backward(d_prediction, rows, accumulate, stream)?;
            // What learns from the runs alone does so beside the rest; that is little work, and begins first.
            let runs = if inputs.is_fused() { &self.beside } else { stream };
            network.backward_runs(inputs, d_prediction, rows, accumulate, runs)?;
            inputs.scatter_gradients(embeddings, runs)?;
            network.backward_bias(inputs, d_prediction, rows, accumulate, beside)?;
            network.backward_weight(inputs, embeddings, d_prediction, rows, accumulate, stream)?;
        } else if !accumulate {
            network.clear_gradients(stream)?;
        }
        // All that the parameters learn is there: it travels while the embeddings' gradients are made.
        if let (Some(communicator), Some(batches)) = (&self.communicator, self.batches_an_update)
            && batches == self.pending_batches + 1
        {
            network.begin_sums(communicator.as_ref(), stream)?;
            self.sums_begun = true;
        }
        if rows > 0 {
            network.backward_tiles(inputs, embeddings, d_prediction, rows, stream, beside)?;
        }
        embeddings.finish_backward(stream)
    }
}
