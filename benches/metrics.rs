//! Loss and AUC of a batch.

mod common;

use common::{Bench, Work, data, run};
use recis::Result;
use recis::device::Buffer;
use recis::ops::unfit::Unfit;
use recis::ops::{auroc, bce};

const SIZES: [(&str, usize); 2] = [("1024", 1024), ("64k", 1 << 16)];
/// The document's.
const THRESHOLDS: usize = 200;

fn main() {
    run(&[("bce", bce), ("auroc", auroc)]);
}

fn bce(bench: &mut Bench<'_>) -> Result<()> {
    for (name, count) in SIZES {
        let stream = bench.stream();
        let [prediction, label] = data::predictions(count, &stream)?;
        let mut loss = Buffer::zeros(1, &stream)?;
        let mut d_prediction = Buffer::zeros(count, &stream)?;
        let mut unfit = Unfit::new(1, &stream)?;
        bench.measure(&format!("bce/forward/{name}"), Work::moving(12 * count), |stream| {
            bce::forward(&prediction, &label, &mut loss, Some(&mut d_prediction), unfit.word(0), stream)
        })?;
    }
    Ok(())
}

fn auroc(bench: &mut Bench<'_>) -> Result<()> {
    for (name, count) in SIZES {
        let stream = bench.stream();
        let [prediction, label] = data::predictions(count, &stream)?;
        let thresholds = Buffer::from_vec(auroc::thresholds(THRESHOLDS), &stream)?;
        let mut counts = Buffer::zeros(auroc::COUNTS.len() * THRESHOLDS, &stream)?;
        let work = Work::moving(8 * count + 4 * THRESHOLDS + 2 * 8 * counts.len());
        bench.measure(&format!("auroc/update/{name}"), work, |stream| {
            auroc::update(&prediction, &label, &thresholds, &mut counts, stream)
        })?;
    }
    Ok(())
}
