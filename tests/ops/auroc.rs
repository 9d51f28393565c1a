use rand::Rng;
use recis::device::{Buffer, Stream};
use recis::ops::auroc::{COUNTS, score, thresholds, update};

use crate::common::{each, on, read, rng};

/// The counts of some batches, one after the other.
fn counts(thresholds: &[f32], batches: &[(&[f32], &[f32])], stream: &Stream) -> recis::Result<Vec<i64>> {
    let mut counts = Buffer::zeros(COUNTS.len() * thresholds.len(), stream)?;
    let thresholds = on(thresholds, stream);
    for &(prediction, label) in batches {
        update(&on(prediction, stream), &on(label, stream), &thresholds, &mut counts, stream)?;
    }
    counts.to_vec(stream)
}

#[test]
fn counts_are_those_of_a_plain_comparison_with_every_threshold() {
    each(|stream| {
        let mut rng = rng(1);
        for n in [3, 200, 7] {
            let limits = thresholds(n);
            // Predictions on the thresholds and beside them, where a rounded bucket number would err;
            // NaN is above none.
            let mut prediction: Vec<f32> =
                limits.iter().flat_map(|&t| [t, t.next_up(), t.next_down()]).collect();
            prediction.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::NAN]);
            prediction.extend((0..500).map(|_| rng.random::<f32>()));
            let label: Vec<f32> = prediction.iter().map(|_| f32::from(rng.random_range(0..2u8))).collect();
            let (first, second) = (prediction.split_at(17), label.split_at(17));
            let batches: [(&[f32], &[f32]); 3] = [(first.0, second.0), (&[], &[]), (first.1, second.1)];
            let counts = counts(&limits, &batches, stream).unwrap();
            for (i, &t) in limits.iter().enumerate() {
                let count = |positive: bool, above: bool| {
                    let rows = prediction.iter().zip(&label);
                    rows.filter(|&(&p, &y)| (y != 0.0) == positive && (p > t) == above).count() as i64
                };
                let expected =
                    [count(true, true), count(false, true), count(false, false), count(true, false)];
                assert_eq!([0, 1, 2, 3].map(|which| counts[which * n + i]), expected, "{t} of {n}");
            }
        }
    });
}

#[test]
fn a_perfect_order_scores_one_and_ties_half() {
    each(|stream| {
        let counts = |prediction: &[f32], label: &[f32]| {
            counts(&thresholds(200), &[(prediction, label)], stream).unwrap()
        };
        let perfect = counts(&[0.1, 0.2, 0.8, 0.9], &[0.0, 0.0, 1.0, 1.0]);
        assert!((score(&perfect) - 1.0).abs() < 1e-5);
        let ties = counts(&[0.5; 4], &[0.0, 1.0, 0.0, 1.0]);
        assert!((score(&ties) - 0.5).abs() < 1e-5);
        assert!(score(&counts(&[], &[])).is_finite());
    });
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    each(|stream| {
        let error = counts(&thresholds(200), &[(&[0.5], &[])], stream).unwrap_err();
        assert_eq!(error.to_string(), "auroc: 1 predictions for 0 labels");
        let error = counts(&[0.0, 1.0], &[(&[], &[])], stream).unwrap_err();
        assert_eq!(error.to_string(), "auroc: 8 counts for 2 thresholds, of which 3 are needed");
    });
}

#[test]
fn one_batch_twice_counts_twice() {
    each(|stream| {
        let batch: (&[f32], &[f32]) = (&[0.3, 0.6, 0.9], &[0.0, 1.0, 1.0]);
        let once = counts(&thresholds(5), &[batch], stream).unwrap();
        let twice = counts(&thresholds(5), &[batch, batch], stream).unwrap();
        assert!(once.iter().zip(&twice).all(|(once, twice)| 2 * once == *twice));
        assert_eq!(read(&on(once, stream), stream).iter().sum::<i64>(), 3 * 5);
    });
}
