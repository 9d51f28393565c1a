use std::ptr::{null, null_mut};

use recis::ffi::simt::recis_auroc_update;
use recis::ops::auroc::thresholds;
use recis::ops::cpu;

use crate::common::*;

/// Predictions around thresholds, and anything else that a number can be.
fn rows(count: usize, thresholds: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1.0, -1.0, 2.0];
    let near = bits(6, count).map(|bits| {
        let threshold = thresholds[(bits >> 8) as usize % thresholds.len()];
        match bits % 4 {
            0 => threshold,
            1 => threshold.next_up(),
            2 => threshold.next_down(),
            _ => (bits >> 40) as f32 / (1 << 24) as f32,
        }
    });
    let labels = bits(7, count).map(|bits| [0.0, 1.0, -0.0, 0.5, f32::NAN][(bits % 5) as usize]);
    (special.into_iter().chain(near).take(count).collect(), labels.collect())
}

/// Adds a batch to counts that are there already, in parts.
fn run(count: usize, threshold_count: usize) {
    let thresholds = thresholds(threshold_count);
    let (prediction, label) = rows(count, &thresholds);
    let old: Vec<i64> = (0..4 * threshold_count as i64).map(|i| i << 33).collect();
    let mut expected = old.clone();
    cpu::auroc::update(&prediction, &label, &thresholds, &mut expected);
    let (prediction, label) = (Guarded::new(&prediction), Guarded::new(&label));
    let (thresholds, counts) = (Guarded::new(&thresholds), Guarded::new(&old));
    let (p, y, t) = (prediction.ptr(), label.ptr(), thresholds.ptr());
    let (count, threshold_count) = (count as i64, threshold_count as i64);
    ok(unsafe { recis_auroc_update(p, y, count, t, threshold_count, counts.ptr(), STREAM) });
    assert!(counts.to_vec() == expected, "{count} predictions, {threshold_count} thresholds");
}

#[test]
fn update() {
    for threshold_count in [3, 32, 200, 255, 256, 257, 4096] {
        for count in [0, 1, 9, 256, 1025, 5000] {
            run(count, threshold_count);
        }
    }
    // More than all blocks take at once.
    run(8 * 132 * 256 + 300_001, 200);
}

#[test]
fn one_threshold_or_none() {
    let (p, y) = (Guarded::new(&[0.25f32, 0.5, 0.75]), Guarded::new(&[1.0f32, 1.0, 0.0]));
    let (threshold, counts) = (Guarded::new(&[0.5f32]), Guarded::new(&[10i64; 4]));
    let (t, c) = (threshold.ptr(), counts.ptr());
    ok(unsafe { recis_auroc_update(p.ptr(), y.ptr(), 3, t, 0, c, STREAM) });
    assert_eq!(counts.to_vec(), [10; 4]);
    ok(unsafe { recis_auroc_update(p.ptr(), y.ptr(), 3, t, 1, c, STREAM) });
    assert_eq!(counts.to_vec(), [10, 11, 10, 12]);
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let (a, counts) = (Guarded::new(&[0.5f32; 3]), Guarded::new(&[7i64; 12]));
    let (p, c) = (a.ptr(), counts.ptr());
    let update = |prediction, label, count, thresholds, threshold_count, counts, what| {
        let status = unsafe {
            recis_auroc_update(prediction, label, count, thresholds, threshold_count, counts, STREAM)
        };
        refused(status, &format!("auroc.update: {what}"));
    };
    update(null(), p, 3, p, 3, c, "prediction is null");
    update(p, null(), 3, p, 3, c, "label is null");
    update(p, p, -1, p, 3, c, "prediction has a negative size");
    update(p, p, 3, null(), 3, c, "thresholds is null");
    update(p, p, 3, p, -1, c, "thresholds has a negative size");
    update(p, p, 3, p, 4097, c, "threshold_count is above 4096");
    update(p, p, 3, p, 3, null_mut(), "counts is null");
    update(p, p, 3, p, 3, counts.misaligned(), "counts is not aligned to 16 bytes");
    assert_eq!(counts.to_vec(), [7; 12]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    run(9, 32);
}
