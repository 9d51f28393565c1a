use rand::Rng;
use recis::device::Stream;
use recis::ops::auroc::{Counts, score, thresholds, update};

use crate::common::rng;

fn counts(thresholds: usize, prediction: &[f32], label: &[f32]) -> recis::Result<Counts> {
    let mut counts = Counts::new(thresholds);
    update(&prediction.to_vec().into(), &label.to_vec().into(), &mut counts, &Stream::default())?;
    Ok(counts)
}

#[test]
fn counts_are_those_of_a_plain_comparison_with_every_threshold() {
    let mut rng = rng(1);
    for n in [3, 200, 7] {
        let limits = thresholds(n);
        // Predictions on the thresholds and beside them, where a rounded bucket number would err.
        let mut prediction: Vec<f32> = limits.iter().flat_map(|&t| [t, t.next_up(), t.next_down()]).collect();
        prediction.retain(|p| (0.0..=1.0).contains(p));
        prediction.extend((0..500).map(|_| rng.random::<f32>()));
        let label: Vec<f32> = prediction.iter().map(|_| f32::from(rng.random_range(0..2u8))).collect();
        let counts = counts(n, &prediction, &label).unwrap();
        for (i, &t) in limits.iter().enumerate() {
            let count = |positive: bool, above: bool| {
                let rows = prediction.iter().zip(&label);
                rows.filter(|&(&p, &y)| (y != 0.0) == positive && (p > t) == above).count() as i64
            };
            let got = [counts.tp[i], counts.fp[i], counts.fn_[i], counts.tn[i]];
            assert_eq!(
                got,
                [count(true, true), count(false, true), count(true, false), count(false, false)],
                "{t}"
            );
        }
    }
}

#[test]
fn a_perfect_order_scores_one_and_ties_half() {
    let perfect = counts(200, &[0.1, 0.2, 0.8, 0.9], &[0.0, 0.0, 1.0, 1.0]).unwrap();
    assert!((score(&perfect) - 1.0).abs() < 1e-5);
    let ties = counts(200, &[0.5; 4], &[0.0, 1.0, 0.0, 1.0]).unwrap();
    assert!((score(&ties) - 0.5).abs() < 1e-5);
    assert!(score(&Counts::new(200)).is_finite());
}

#[test]
fn predictions_outside_the_unit_interval_are_refused() {
    let error = counts(200, &[0.5, f32::NAN], &[0.0, 1.0]).unwrap_err().to_string();
    assert_eq!(error, "auroc: the prediction of row 1 is NaN, outside [0, 1]");
    assert_eq!(counts(200, &[0.5], &[]).unwrap_err().to_string(), "auroc: 1 predictions for 0 labels");
}
