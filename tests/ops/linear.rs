use recis::device::{Buffer, Stream};
use recis::ops::linear::{Size, backward_input, backward_weight, forward};

use crate::common::{buffer, rng};

/// `c(i, j) = Σ_k a(i, k) b(k, j)` in f64, and the largest error of the same sum in f32.
fn product(
    (m, n, k): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> (Vec<f64>, f64) {
    let exact = |i, j| (0..k).map(|l| f64::from(a(i, l)) * f64::from(b(l, j))).sum::<f64>();
    let plain = |i, j| f64::from((0..k).map(|l| a(i, l) * b(l, j)).sum::<f32>());
    let error = |e: usize| (plain(e / n, e % n) - exact(e / n, e % n)).abs();
    ((0..m * n).map(|e| exact(e / n, e % n)).collect(), (0..m * n).map(error).fold(1e-7, f64::max))
}

fn assert_close(values: &Buffer<f32>, (expected, error): &(Vec<f64>, f64), times: f64, what: &str) {
    for (i, (&v, e)) in values.host().iter().zip(expected).enumerate() {
        assert!(
            (f64::from(v) - times * e).abs() <= 2.0 * times * error,
            "{what} {i}: {v}, expected {e} ± {error}"
        );
    }
}

#[test]
fn as_exact_as_a_plain_sum_at_awkward_sizes() {
    let stream = Stream::default();
    for (rows, inputs, outputs) in
        [(1, 1, 1), (7, 3, 5), (129, 17, 1), (130, 513, 31), (300, 8, 128), (0, 4, 2)]
    {
        let size = Size { rows, inputs, outputs };
        let mut rng = rng(rows as u64);
        let (x, w) = (buffer(&mut rng, rows * inputs), buffer(&mut rng, outputs * inputs));
        let (b, d_y) = (Buffer::from(vec![0.0; outputs]), buffer(&mut rng, rows * outputs));
        let (xs, ws, ds) = (x.host(), w.host(), d_y.host());

        let mut y = Buffer::zeros(rows * outputs, &stream).unwrap();
        forward(&x, &w, &b, &mut y, size, &stream).unwrap();
        let expected = product((rows, outputs, inputs), |i, k| xs[i * inputs + k], |k, j| ws[j * inputs + k]);
        assert_close(&y, &expected, 1.0, &format!("{size:?} y"));

        let mut d_x = Buffer::zeros(rows * inputs, &stream).unwrap();
        backward_input(&d_y, &w, &mut d_x, size, &stream).unwrap();
        let expected =
            product((rows, inputs, outputs), |i, k| ds[i * outputs + k], |k, j| ws[k * inputs + j]);
        assert_close(&d_x, &expected, 1.0, &format!("{size:?} dx"));

        let mut d_w = Buffer::from(vec![7.0; outputs * inputs]);
        let mut d_b = Buffer::from(vec![7.0; outputs]);
        let expected =
            product((outputs, inputs, rows), |i, k| ds[k * outputs + i], |k, j| xs[k * inputs + j]);
        let expected_b = product((outputs, 1, rows), |i, k| ds[k * outputs + i], |_, _| 1.0);
        for times in [1.0, 2.0] {
            backward_weight(&x, &d_y, &mut d_w, &mut d_b, size, times > 1.0, &stream).unwrap();
            assert_close(&d_w, &expected, times, &format!("{size:?} dw"));
            assert_close(&d_b, &expected_b, times, &format!("{size:?} db"));
        }
    }
}

#[test]
fn the_bias_is_added() {
    let (stream, mut y) = (Stream::default(), Buffer::from(vec![0.0; 4]));
    let size = Size { rows: 2, inputs: 1, outputs: 2 };
    let w = vec![1.0, 10.0].into();
    forward(&vec![2.0, 3.0].into(), &w, &vec![0.5, -0.5].into(), &mut y, size, &stream).unwrap();
    assert_eq!(y.host(), [2.5, 19.5, 3.5, 29.5]);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let stream = Stream::default();
    let buffer = |n| Buffer::from(vec![0.0f32; n]);
    let size = Size { rows: 2, inputs: 3, outputs: 4 };
    let error = forward(&buffer(6), &buffer(11), &buffer(4), &mut buffer(8), size, &stream).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linear: 2 rows of 3 -> 4 need (x, y, weight, bias) of (6, 8, 12, 4) elements, got (6, 8, 11, 4)"
    );
}
