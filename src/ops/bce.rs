//! Binary cross-entropy of probabilities, torch's `BCELoss` with `reduction="mean"` (SPEC 4).

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Error, Result, ops::cpu};

/// Writes the mean of `-[y max(ln p, -100) + (1-y) max(ln(1-p), -100)]` to `loss` (one element) and
/// `dL/dp = (p-y) / max(p(1-p), 1e-12) / n` to `d_prediction`.
///
/// # Errors
/// Sizes that differ, no rows, and a prediction that is outside [0, 1] or NaN.
pub fn forward(
    prediction: &Buffer<f32>,
    label: &Buffer<f32>,
    loss: &mut Buffer<f32>,
    d_prediction: Option<&mut Buffer<f32>>,
    stream: &Stream,
) -> Result<()> {
    let n = prediction.len();
    let fits = n > 0 && label.len() == n && loss.len() == 1;
    ensure(fits && d_prediction.as_ref().is_none_or(|d| d.len() == n), "bce", || {
        format!("{n} predictions, {} labels, {} losses", label.len(), loss.len())
    })?;
    match stream.device() {
        Device::Cpu => {
            if let Some(row) = prediction.host().iter().position(|p| !(0.0..=1.0).contains(p)) {
                let p = prediction.host()[row];
                return Err(Error::shape(
                    "bce",
                    format!("the prediction of row {row} is {p}, outside [0, 1]"),
                ));
            }
            loss.host_mut()[0] =
                cpu::bce::forward(prediction.host(), label.host(), d_prediction.map(Buffer::host_mut));
        }
    }
    Ok(())
}
