//! Counts at thresholds.

/// Adds a batch: a histogram over the intervals between thresholds, then its sums from above.
pub fn update(prediction: &[f32], label: &[f32], thresholds: &[f32], counts: &mut [i64]) {
    // above[i]: positives and negatives that are above exactly i thresholds.
    let mut above = vec![[0i64; 2]; thresholds.len() + 1];
    for (&p, &y) in prediction.iter().zip(label) {
        above[thresholds.partition_point(|&t| p > t)][usize::from(y == 0.0)] += 1;
    }
    let total = above.iter().fold([0, 0], |[p, n], [dp, dn]| [p + dp, n + dn]);
    let [mut positives, mut negatives] = total;
    let n = thresholds.len();
    for (i, [p, q]) in above.into_iter().take(n).enumerate() {
        positives -= p;
        negatives -= q;
        counts[i] += positives;
        counts[n + i] += negatives;
        counts[2 * n + i] += total[1] - negatives;
        counts[3 * n + i] += total[0] - positives;
    }
}
