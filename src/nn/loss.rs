//! Losses.

use crate::Result;
use crate::device::{Buffer, Stream};
use crate::ops::bce;
use crate::ops::unfit::Word;

/// A loss over a batch of predictions.
pub trait Loss: Send {
    /// The loss as a summary shows it.
    fn describe(&self) -> String;

    /// Writes the loss to `loss` (one element) and, if asked, its gradient to `d_prediction`;
    /// `prediction` and `label` have one value a row. `unfit` takes a prediction that has no loss.
    fn forward(
        &self,
        prediction: &Buffer<f32>,
        label: &Buffer<f32>,
        loss: &mut Buffer<f32>,
        d_prediction: Option<&mut Buffer<f32>>,
        unfit: Word<'_>,
        stream: &Stream,
    ) -> Result<()>;

    /// Whether this is exactly [`BceLoss`]: a plan may then compute it with the last layers.
    fn is_bce(&self) -> bool {
        false
    }

    /// Whether what a training step calls only enqueues work, and never waits for the device (no): if so of all that
    /// a plan has, a step may be launched as one graph.
    fn only_enqueues(&self) -> bool {
        false
    }
}

/// Binary cross-entropy of probabilities, averaged over the batch: torch's `BCELoss`.
pub struct BceLoss;

impl Loss for BceLoss {
    fn describe(&self) -> String {
        "BceLoss".into()
    }

    fn forward(
        &self,
        prediction: &Buffer<f32>,
        label: &Buffer<f32>,
        loss: &mut Buffer<f32>,
        d_prediction: Option<&mut Buffer<f32>>,
        unfit: Word<'_>,
        stream: &Stream,
    ) -> Result<()> {
        bce::forward(prediction, label, loss, d_prediction, unfit, stream)
    }

    fn is_bce(&self) -> bool {
        true
    }

    fn only_enqueues(&self) -> bool {
        true
    }
}
