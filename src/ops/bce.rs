//! Binary cross-entropy of probabilities, torch's `BCELoss` with `reduction="mean"` (SPEC 4).

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::ops::unfit::{Word, word};
use crate::{Result, ops::cpu};

/// Writes the mean of `-[y max(ln p, -100) + (1-y) max(ln(1-p), -100)]` to `loss` (one element) and
/// `dL/dp = (p-y) / max(p(1-p), 1e-12) / n` to `d_prediction`. `unfit` remembers the first prediction
/// that is outside [0, 1] or NaN.
///
/// # Errors
/// Sizes that differ, and no rows.
pub fn forward(
    prediction: &Buffer<f32>,
    label: &Buffer<f32>,
    loss: &mut Buffer<f32>,
    d_prediction: Option<&mut Buffer<f32>>,
    mut unfit: Word<'_>,
    stream: &Stream,
) -> Result<()> {
    let n = prediction.len();
    let fits = n > 0 && label.len() == n && loss.len() == 1;
    ensure(fits && d_prediction.as_ref().is_none_or(|d| d.len() == n), "bce", || {
        format!("{n} predictions, {} labels, {} losses", label.len(), loss.len())
    })?;
    match stream.device() {
        Device::Cpu => {
            note_unfit(prediction.on_cpu()?, &mut unfit)?;
            loss.on_cpu_mut()?[0] = cpu::bce::forward(
                prediction.on_cpu()?,
                label.on_cpu()?,
                d_prediction.map(Buffer::on_cpu_mut).transpose()?,
            );
            Ok(())
        }
        _ => {
            let (prediction, label, count) = (prediction.on(stream)?, label.on(stream)?, n as i64);
            let d_prediction = d_prediction.map_or(Ok(std::ptr::null_mut()), |d| d.on_mut(stream))?;
            let (loss, unfit) = (loss.on_mut(stream)?, unfit.on_mut(stream)?);
            launch!(stream, recis_bce_forward(prediction, label, count, loss, d_prediction, unfit))
        }
    }
}

/// Remembers the first prediction that is outside [0, 1] or NaN.
pub(super) fn note_unfit(prediction: &[f32], unfit: &mut Word<'_>) -> Result<()> {
    if let Some(row) = prediction.iter().position(|p| !(0.0..=1.0).contains(p)) {
        let found = word(row, prediction[row]);
        let least = unfit.on_cpu_mut()?;
        *least = found.min(*least);
    }
    Ok(())
}
