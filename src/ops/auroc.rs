//! True and false positives and negatives at evenly spaced thresholds, and the area under the ROC
//! curve that they give (SPEC 6.1).

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Result, ops::cpu};

/// Counts at each threshold, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Positive labels predicted above the threshold.
    pub tp: Vec<i64>,
    /// Negative labels predicted above the threshold.
    pub fp: Vec<i64>,
    /// Negative labels predicted at or below the threshold.
    pub tn: Vec<i64>,
    /// Positive labels predicted at or below the threshold.
    pub fn_: Vec<i64>,
}

impl Counts {
    /// Zeros at `num_thresholds` thresholds.
    pub fn new(num_thresholds: usize) -> Self {
        let zeros = || vec![0; num_thresholds];
        Self { tp: zeros(), fp: zeros(), tn: zeros(), fn_: zeros() }
    }
}

/// The thresholds: `-1e-7`, then `i / (n - 1)`, then `1 + 1e-7`. `num_thresholds` is above 2.
pub fn thresholds(num_thresholds: usize) -> Vec<f32> {
    let last = num_thresholds - 1;
    let threshold = |i| match i {
        0 => -1e-7,
        i if i == last => 1.0 + 1e-7,
        i => i as f64 / last as f64,
    };
    (0..num_thresholds).map(|i| threshold(i) as f32).collect()
}

/// Adds a batch to the counts. A prediction is positive if it is strictly above a threshold, a label
/// if it is not 0.
///
/// # Errors
/// A prediction outside [0, 1] or NaN, and sizes that differ.
pub fn update(
    prediction: &Buffer<f32>,
    label: &Buffer<f32>,
    counts: &mut Counts,
    stream: &Stream,
) -> Result<()> {
    ensure(prediction.len() == label.len(), "auroc", || {
        format!("{} predictions for {} labels", prediction.len(), label.len())
    })?;
    ensure(counts.tp.len() > 2, "auroc", || format!("{} thresholds; 3 are needed", counts.tp.len()))?;
    match stream.device() {
        Device::Cpu => {
            let outside = prediction.host().iter().position(|p| !(0.0..=1.0).contains(p));
            ensure(outside.is_none(), "auroc", || {
                let row = outside.unwrap_or_default();
                format!("the prediction of row {row} is {}, outside [0, 1]", prediction.host()[row])
            })?;
            cpu::auroc::update(prediction.host(), label.host(), counts);
        }
    }
    Ok(())
}

/// The area under the curve through the counts, by the trapezoid rule.
pub fn score(counts: &Counts) -> f32 {
    const EPSILON: f32 = 1e-6;
    let Counts { tp, fp, tn, fn_ } = counts;
    let recall = |i: usize| (tp[i] as f32 + EPSILON) / ((tp[i] + fn_[i]) as f32 + EPSILON);
    let fall_out = |i: usize| fp[i] as f32 / ((fp[i] + tn[i]) as f32 + EPSILON);
    (1..tp.len()).map(|i| (fall_out(i - 1) - fall_out(i)) * (recall(i - 1) + recall(i)) / 2.0).sum()
}
