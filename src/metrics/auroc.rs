use super::Metric;
use crate::device::{Buffer, Stream};
use crate::ops::auroc::{self, Counts};
use crate::{Error, Result};

/// The area under the ROC curve, from counts at evenly spaced thresholds (SPEC 6.1). Cumulative:
/// nothing resets it, and checkpoints keep the counts.
#[derive(Clone, Debug)]
pub struct Auroc {
    num_thresholds: usize,
    counts: Counts,
}

impl Auroc {
    /// No counts yet.
    ///
    /// # Errors
    /// `num_thresholds` is not above 2.
    pub fn new(num_thresholds: usize) -> Result<Self> {
        if num_thresholds <= 2 {
            let what = format!("{num_thresholds}; it must be above 2");
            return Err(Error::Option { option: "Auroc num_thresholds".into(), what });
        }
        Ok(Self { num_thresholds, counts: Counts::new(num_thresholds) })
    }
}

impl Metric for Auroc {
    fn update(&mut self, prediction: &Buffer<f32>, label: &Buffer<f32>, stream: &Stream) -> Result<()> {
        auroc::update(prediction, label, &mut self.counts, stream)
    }

    fn compute(&self, _stream: &Stream) -> Result<f64> {
        Ok(f64::from(auroc::score(&self.counts)))
    }

    fn fresh(&self) -> Box<dyn Metric> {
        Box::new(Self { num_thresholds: self.num_thresholds, counts: Counts::new(self.num_thresholds) })
    }

    fn state(&self, _stream: &Stream) -> Result<Vec<(&'static str, Vec<i64>)>> {
        let Counts { tp, fp, tn, fn_ } = &self.counts;
        Ok(vec![("tp", tp.clone()), ("fp", fp.clone()), ("tn", tn.clone()), ("fn", fn_.clone())])
    }

    fn restore(&mut self, state: &[(&'static str, Vec<i64>)], _stream: &Stream) -> Result<()> {
        let take = |name: &str| {
            let found = state.iter().find(|(n, counts)| *n == name && counts.len() == self.num_thresholds);
            found
                .map(|(_, counts)| counts.clone())
                .ok_or_else(|| Error::Model(format!("Auroc wants {} counts '{name}'", self.num_thresholds)))
        };
        self.counts = Counts { tp: take("tp")?, fp: take("fp")?, tn: take("tn")?, fn_: take("fn")? };
        Ok(())
    }
}
