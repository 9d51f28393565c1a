//! Binary cross-entropy.

/// The mean loss; `d_prediction` takes its gradient.
pub fn forward(prediction: &[f32], label: &[f32], d_prediction: Option<&mut [f32]>) -> f32 {
    let count = prediction.len() as f32;
    if let Some(d_prediction) = d_prediction {
        for (d, (&p, &y)) in d_prediction.iter_mut().zip(prediction.iter().zip(label)) {
            *d = (p - y) / (p * (1.0 - p)).max(1e-12) / count;
        }
    }
    let sum: f64 = prediction.iter().zip(label).map(|(&p, &y)| f64::from(element(p, y))).sum();
    (sum / prediction.len() as f64) as f32
}

/// The loss of one prediction; the logarithms are bounded by -100, as torch's `BCELoss` does.
fn element(p: f32, y: f32) -> f32 {
    -(y * p.ln().max(-100.0) + (1.0 - y) * (-p).ln_1p().max(-100.0))
}
