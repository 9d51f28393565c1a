//! The area under the ROC curve.

use recis::metrics::{Auroc, Metric};
use recis::ops::auroc::thresholds;
use serde::Deserialize;
use serde_json::Value;

use super::case::{Outcome, Tolerance, on, parse, same_all, stream};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    num_thresholds: usize,
    predictions: Vec<f32>,
    labels: Vec<f32>,
    auc: f64,
    tp: Option<Vec<i64>>,
    fp: Option<Vec<i64>>,
    tn: Option<Vec<i64>>,
    #[serde(rename = "fn")]
    fn_: Option<Vec<i64>>,
}

pub fn auroc(case: &Value, tolerance: &Tolerance) -> Outcome {
    let case: Batch = parse(case)?;
    let (mut metric, stream) = (Auroc::new(case.num_thresholds)?, stream());
    metric.update(&on(case.predictions), &on(case.labels), &stream)?;
    let counts = metric.state(&stream)?;
    for (name, expected) in [("tp", case.tp), ("fp", case.fp), ("tn", case.tn), ("fn", case.fn_)] {
        let Some(expected) = expected else { continue };
        let (_, got) =
            counts.iter().find(|(n, _)| *n == name).ok_or_else(|| format!("{name}: not counted"))?;
        same_all(name, &expected, got)?;
    }
    tolerance.close("auc", case.auc, metric.compute(&stream)?.wait()?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    predictions: Vec<f32>,
    labels: Vec<f32>,
    cumulative_auc: f64,
    batch_auc: f64,
}

/// The stream that the file shows has this many updates.
const UPDATES: usize = 5;

/// Several batches for one metric, of the default number of thresholds.
pub fn auroc_stream(case: &Value, tolerance: &Tolerance) -> Outcome {
    let updates: Vec<Update> = parse(case)?;
    // Where some have been left out, the totals after the first are not those of the file.
    let whole = updates.len() >= UPDATES;
    let (mut cumulative, stream) = (Auroc::new(200)?, stream());
    for (i, update) in updates.into_iter().enumerate() {
        let (predictions, labels) = (on(update.predictions), on(update.labels));
        cumulative.update(&predictions, &labels, &stream)?;
        if whole || i == 0 {
            let auc = cumulative.compute(&stream)?.wait()?;
            tolerance.close(&format!("[{i}].cumulative_auc"), update.cumulative_auc, auc)?;
        }
        let mut batch = cumulative.fresh();
        batch.update(&predictions, &labels, &stream)?;
        tolerance.close(&format!("[{i}].batch_auc"), update.batch_auc, batch.compute(&stream)?.wait()?)?;
    }
    Ok(())
}

pub fn auroc_thresholds(case: &Value, _: &Tolerance) -> Outcome {
    let expected: Vec<f32> = parse(case)?;
    same_all("thresholds", &expected, &thresholds(expected.len()))
}
