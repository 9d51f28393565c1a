//! True and false positives and negatives at evenly spaced thresholds, and the area under the ROC
//! curve that they give (SPEC 6.1).

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::{Result, ops::cpu};

/// What is counted at each threshold, in this order: labels that are positive and predicted above it,
/// negative and above, negative and not above, positive and not above.
pub const COUNTS: [&str; 4] = ["tp", "fp", "tn", "fn"];

/// The thresholds: `-1e-7`, then `i / (n - 1)`, then `1 + 1e-7`. At least 3 of
/// them, whatever `num_thresholds`.
pub fn thresholds(num_thresholds: usize) -> Vec<f32> {
    let num_thresholds = num_thresholds.max(3);
    let last = num_thresholds - 1;
    let threshold = |i| match i {
        0 => -1e-7,
        i if i == last => 1.0 + 1e-7,
        i => i as f64 / last as f64,
    };
    (0..num_thresholds).map(|i| threshold(i) as f32).collect()
}

/// Adds a batch to `counts`, [[`COUNTS`], thresholds]. A prediction is positive if it is strictly above a
/// threshold, which NaN never is, a label if it is not 0.
///
/// # Errors
/// Sizes that do not fit together, and fewer than 3 thresholds.
pub fn update(
    prediction: &Buffer<f32>,
    label: &Buffer<f32>,
    thresholds: &Buffer<f32>,
    counts: &mut Buffer<i64>,
    stream: &Stream,
) -> Result<()> {
    ensure(prediction.len() == label.len(), "auroc", || {
        format!("{} predictions for {} labels", prediction.len(), label.len())
    })?;
    let fits = thresholds.len() > 2 && counts.len() == COUNTS.len() * thresholds.len();
    ensure(fits, "auroc", || {
        format!("{} counts for {} thresholds, of which 3 are needed", counts.len(), thresholds.len())
    })?;
    match stream.device() {
        Device::Cpu => {
            cpu::auroc::update(
                prediction.on_cpu()?,
                label.on_cpu()?,
                thresholds.on_cpu()?,
                counts.on_cpu_mut()?,
            );
            Ok(())
        }
        _ => {
            let (count, threshold_count) = (prediction.len() as i64, thresholds.len() as i64);
            let (prediction, label) = (prediction.on(stream)?, label.on(stream)?);
            let (thresholds, counts) = (thresholds.on(stream)?, counts.on_mut(stream)?);
            launch!(stream, recis_auroc_update(prediction, label, count, thresholds, threshold_count, counts))
        }
    }
}

/// The area under the curve through the counts, [[`COUNTS`], thresholds], by the trapezoid rule.
pub fn score(counts: &[i64]) -> f32 {
    const EPSILON: f32 = 1e-6;
    let thresholds = counts.len() / COUNTS.len();
    let [tp, fp, tn, fn_] = [0, 1, 2, 3].map(|i| &counts[i * thresholds..][..thresholds]);
    let recall = |i: usize| (tp[i] as f32 + EPSILON) / ((tp[i] + fn_[i]) as f32 + EPSILON);
    let fall_out = |i: usize| fp[i] as f32 / ((fp[i] + tn[i]) as f32 + EPSILON);
    (1..tp.len()).map(|i| (fall_out(i - 1) - fall_out(i)) * (recall(i - 1) + recall(i)) / 2.0).sum()
}
