//! A training step and its update as one graph: for a small batch the host takes longer to launch kernels one by one
//! than the device to run them.

use crate::Result;
use crate::device::{Graph, Stream};

use super::{Plan, PreparedBatch, Turn};

/// Rows of a batch, at most: for more, a device takes longer than the host takes to launch, and what one step has
/// before another would only wait for the graph.
const MOST_ROWS: usize = 2048;

impl Plan {
    /// A graph for the work of these streams, unless something in a step may wait for the device.
    pub(super) fn graph(&self) -> Result<Option<Graph>> {
        let (nodes, metrics) = (&self.network.nodes, &self.metrics);
        let only_enqueues = self.communicator.is_none()
            && nodes.iter().all(|node| node.layer.only_enqueues())
            && metrics.iter().all(|(_, metric)| metric.only_enqueues())
            && self.loss.only_enqueues()
            && self.dense_optimizer.only_enqueues()
            && self.sparse_optimizer.only_enqueues();
        if !only_enqueues {
            return Ok(None);
        }
        let own = [&self.stream, &self.beside, &self.spare, &self.reading];
        Graph::new(&own.into_iter().chain(self.embeddings.streams()).collect::<Vec<_>>())
    }

    /// Whether a batch is trained on and learned from at once, in a graph. Makes room for its ids.
    pub(super) fn is_launched(&mut self, batch: &PreparedBatch) -> Result<bool> {
        let is_one_update = self.batches_an_update == Some(1) && self.pending_batches == 0;
        let is_small = batch.about.rows <= MOST_ROWS;
        match &batch.content {
            Some((_, ids)) if self.graph.is_some() && is_one_update && is_small => {
                self.embeddings.reserve(ids, &self.stream)
            }
            _ => Ok(false),
        }
    }

    /// Trains on a batch and learns from it.
    pub(super) fn launch(&mut self, batch: PreparedBatch) -> Result<Turn> {
        self.stream.wait(&batch.done)?;
        let preparer = self.preparer.clone();
        let behind: Vec<&Stream> = preparer.streams().collect();
        let Some(mut graph) = self.graph.take() else { return self.train(Some(batch), false) };
        self.is_recorded = true;
        let turn = graph.launch(&behind, || {
            let turn = self.train(Some(batch), false)?;
            self.apply_gradients()?;
            Ok(turn)
        });
        self.is_recorded = false;
        self.graph = Some(graph);
        turn
    }
}
