use super::{Metric, Reading};
use crate::device::{Buffer, Stream};
use crate::dist::{Communicator, Reduce};
use crate::ops::auroc::{self, COUNTS};
use crate::{Error, Result};

/// The area under the ROC curve, from counts at evenly spaced thresholds (SPEC 6.1). Cumulative:
/// nothing resets it, and checkpoints keep the counts.
#[derive(Debug)]
pub struct Auroc {
    num_thresholds: usize,
    /// Made by the first batch, on its device.
    on_device: Option<OnDevice>,
}

#[derive(Debug)]
struct OnDevice {
    thresholds: Buffer<f32>,
    /// [tp | fp | tn | fn], each as long as the thresholds.
    counts: Buffer<i64>,
    /// The sum of all ranks' counts; none with one rank.
    total: Option<Buffer<i64>>,
}

impl OnDevice {
    fn total(&self) -> &Buffer<i64> {
        self.total.as_ref().unwrap_or(&self.counts)
    }
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
        Ok(Self { num_thresholds, on_device: None })
    }

    fn load(&self, counts: Vec<i64>, stream: &Stream) -> Result<OnDevice> {
        let thresholds = Buffer::from_vec(auroc::thresholds(self.num_thresholds), stream)?;
        Ok(OnDevice { thresholds, counts: Buffer::from_vec(counts, stream)?, total: None })
    }

    fn zeros(&self) -> Vec<i64> {
        vec![0; COUNTS.len() * self.num_thresholds]
    }
}

impl Metric for Auroc {
    fn update(&mut self, prediction: &Buffer<f32>, label: &Buffer<f32>, stream: &Stream) -> Result<()> {
        if self.on_device.is_none() {
            self.on_device = Some(self.load(self.zeros(), stream)?);
        }
        let Some(OnDevice { thresholds, counts, .. }) = &mut self.on_device else { return Ok(()) };
        auroc::update(prediction, label, thresholds, counts, stream)
    }

    fn all_reduce(&mut self, communicator: &dyn Communicator, stream: &Stream) -> Result<()> {
        if self.on_device.is_none() {
            self.on_device = Some(self.load(self.zeros(), stream)?);
        }
        let Some(OnDevice { counts, total, .. }) = &mut self.on_device else { return Ok(()) };
        let total = total.insert(counts.clone());
        communicator.all_reduce(total.into(), Reduce::Sum, stream)
    }

    fn compute(&self, stream: &Stream) -> Result<Reading> {
        let Some(on_device) = &self.on_device else {
            return Ok(Reading::new(auroc::score(&self.zeros()).into()));
        };
        let counts = on_device.total().read_back(stream)?;
        Ok(Reading::later(|| Ok(auroc::score(&counts.wait()?).into())))
    }

    fn fresh(&self) -> Box<dyn Metric> {
        Box::new(Self { num_thresholds: self.num_thresholds, on_device: None })
    }

    fn state(&self, stream: &Stream) -> Result<Vec<(&'static str, Vec<i64>)>> {
        let counts = match &self.on_device {
            Some(on_device) => on_device.total().to_vec(stream)?,
            None => self.zeros(),
        };
        let counts = counts.chunks(self.num_thresholds).map(<[i64]>::to_vec);
        Ok(COUNTS.into_iter().zip(counts).collect())
    }

    fn restore(&mut self, state: &[(&'static str, Vec<i64>)], stream: &Stream) -> Result<()> {
        let mut counts = Vec::new();
        for name in COUNTS {
            let found = state.iter().find(|(n, counts)| *n == name && counts.len() == self.num_thresholds);
            let (_, found) = found.ok_or_else(|| {
                Error::Model(format!("Auroc wants {} counts '{name}'", self.num_thresholds))
            })?;
            counts.extend_from_slice(found);
        }
        self.on_device = Some(self.load(counts, stream)?);
        Ok(())
    }

    fn only_enqueues(&self) -> bool {
        true
    }
}
