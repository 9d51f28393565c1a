use std::ptr::{null, null_mut};

use recis::ffi::simt::recis_bce_forward;
use recis::ops::cpu;

use crate::common::*;

/// Probabilities and labels; the first ones are those that go wrong first.
fn rows(count: usize) -> (Vec<f32>, Vec<f32>) {
    let special = [0.0, 1.0, 1.0, 0.0, f32::MIN_POSITIVE, 1.0 - f32::EPSILON / 2.0, -0.0, 1e-7];
    let uniform = bits(6, count).map(|bits| (bits >> 40) as f32 / (1 << 24) as f32);
    let labels = bits(7, count).map(|bits| if bits % 5 == 4 { 0.25 } else { (bits % 2) as f32 });
    let special_labels = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.5];
    (
        special.into_iter().chain(uniform).take(count).collect(),
        special_labels.into_iter().chain(labels).take(count).collect(),
    )
}

/// Runs the kernel: the loss, the gradient, and what is unfit.
fn launch(prediction: &[f32], label: &[f32], unfit: u64) -> (f32, Vec<f32>, u64) {
    let count = prediction.len();
    let (prediction, label) = (Guarded::new(prediction), Guarded::new(label));
    let (loss, unfit) = (Guarded::new(&[f32::NAN]), Guarded::new(&[unfit]));
    let d_prediction = Guarded::new(&vec![f32::NAN; count]);
    let run = |d_prediction| {
        let (p, y, count) = (prediction.ptr(), label.ptr(), count as i64);
        ok(unsafe { recis_bce_forward(p, y, count, loss.ptr(), d_prediction, unfit.ptr(), STREAM) });
        loss.to_vec()[0]
    };
    let value = run(d_prediction.ptr());
    let again = run(null_mut());
    assert!(value.to_bits() == again.to_bits() || value.is_nan(), "{value}, and then {again}");
    (value, d_prediction.to_vec(), unfit.to_vec()[0])
}

#[test]
fn forward() {
    for count in [1, 2, 7, 31, 32, 33, 1023, 1024, 1025, 4099, 70_001] {
        let (prediction, label) = rows(count);
        let (loss, d_prediction, unfit) = launch(&prediction, &label, u64::MAX);
        let mut expected = vec![0.0; count];
        let expected_loss = cpu::bce::forward(&prediction, &label, Some(&mut expected));
        assert_close(&[loss], &[expected_loss], 0.0, &format!("loss of {count}"));
        assert_close(&d_prediction, &expected, 0.0, &format!("gradient of {count}"));
        assert_eq!(unfit, u64::MAX);

        let exact: f64 = (prediction.iter().zip(&label))
            .map(|(&p, &y)| {
                let (p, y) = (f64::from(p), f64::from(y));
                -(y * p.ln().max(-100.0) + (1.0 - y) * (-p).ln_1p().max(-100.0))
            })
            .sum();
        assert_close(&[loss], &[(exact / count as f64) as f32], 0.0, &format!("exact loss of {count}"));
    }
}

#[test]
fn the_first_unfit_prediction_is_reported() {
    let (mut prediction, label) = rows(3000);
    let code = |row: u64, value: f32| row << 32 | u64::from(value.to_bits());
    for (row, value) in [(2999, 1.5), (1025, -0.1), (700, f32::INFINITY), (5, 1.0 + f32::EPSILON)] {
        prediction[row] = value;
        assert_eq!(launch(&prediction, &label, u64::MAX).2, code(row as u64, value));
    }
    prediction[4] = f32::NAN;
    assert_eq!(launch(&prediction, &label, u64::MAX).2, code(4, f32::NAN));
    // What is there already is kept if it is less.
    assert_eq!(launch(&prediction, &label, code(3, 0.0)).2, code(3, 0.0));
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let (a, loss) = (Guarded::new(&[0.5f32, 0.5]), Guarded::new(&[7.0f32]));
    let (d, unfit) = (Guarded::new(&[7.0f32, 7.0]), Guarded::new(&[7u64]));
    let bce = |prediction, label, count, loss, d_prediction, unfit, what| {
        let status =
            unsafe { recis_bce_forward(prediction, label, count, loss, d_prediction, unfit, STREAM) };
        refused(status, &format!("bce.forward: {what}"));
    };
    let (p, l, d_p, u) = (a.ptr(), loss.ptr(), d.ptr(), unfit.ptr());
    bce(p, p, 0, l, d_p, u, "count is below 1");
    bce(p, p, 1 << 33, l, d_p, u, "count is above 2^32");
    bce(null(), p, 2, l, d_p, u, "prediction is null");
    bce(p, null(), 2, l, d_p, u, "label is null");
    bce(p, p, 2, null_mut(), d_p, u, "loss is null");
    bce(p, p, 2, l, d.misaligned(), u, "d_prediction is not aligned to 16 bytes");
    bce(p, p, 2, l, d_p, null_mut(), "unfit is null");
    assert_eq!((loss.to_vec(), d.to_vec(), unfit.to_vec()), (vec![7.0], vec![7.0, 7.0], vec![7]));
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    launch(&[0.5], &[1.0], u64::MAX);
}
