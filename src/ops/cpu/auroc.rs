//! Counts at thresholds.

use crate::ops::auroc::{Counts, thresholds};

/// Adds a batch: a histogram over the intervals between thresholds, then its sums from above.
pub fn update(prediction: &[f32], label: &[f32], counts: &mut Counts) {
    let thresholds = thresholds(counts.tp.len());
    // above[i]: positives and negatives that are above exactly i thresholds.
    let mut above = vec![[0i64; 2]; thresholds.len() + 1];
    for (&p, &y) in prediction.iter().zip(label) {
        above[thresholds.partition_point(|&t| p > t)][usize::from(y == 0.0)] += 1;
    }
    let total = above.iter().fold([0, 0], |[p, n], [dp, dn]| [p + dp, n + dn]);
    let [mut positives, mut negatives] = total;
    for (i, [p, n]) in above.into_iter().take(thresholds.len()).enumerate() {
        positives -= p;
        negatives -= n;
        counts.tp[i] += positives;
        counts.fp[i] += negatives;
        counts.fn_[i] += total[0] - positives;
        counts.tn[i] += total[1] - negatives;
    }
}
