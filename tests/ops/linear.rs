use recis::device::{Buffer, Device, Stream};
use recis::ops::linear::{Precision, Size, backward_bias, backward_input, backward_weight, forward};

use crate::common::{each, floats, on, read, rng};

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

fn assert_close(values: &[f32], (expected, error): &(Vec<f64>, f64), times: f64, what: &str) {
    for (i, (&v, e)) in values.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(v) - times * e).abs() <= 2.0 * times * error,
            "{what} {i}: {v}, expected {e} ± {error}"
        );
    }
}

#[test]
fn as_exact_as_a_plain_sum_at_awkward_sizes() {
    each(|stream| {
        for (rows, inputs, outputs) in
            [(1, 1, 1), (7, 3, 5), (129, 17, 1), (130, 513, 31), (300, 8, 128), (0, 4, 2)]
        {
            let size = Size { rows, inputs, outputs, precision: Precision::Fp32 };
            let mut rng = rng(rows as u64);
            let (xs, ws) = (floats(&mut rng, rows * inputs), floats(&mut rng, outputs * inputs));
            let ds = floats(&mut rng, rows * outputs);
            let (x, w, d_y) = (on(&xs[..], stream), on(&ws[..], stream), on(&ds[..], stream));

            let (b, mut y) = (on(vec![0.0; outputs], stream), Buffer::zeros(rows * outputs, stream).unwrap());
            forward(&x, &w, &b, &mut y, size, stream).unwrap();
            let expected =
                product((rows, outputs, inputs), |i, k| xs[i * inputs + k], |k, j| ws[j * inputs + k]);
            assert_close(&read(&y, stream), &expected, 1.0, &format!("{size:?} y"));

            let mut d_x = Buffer::zeros(rows * inputs, stream).unwrap();
            backward_input(&d_y, &w, &mut d_x, size, stream).unwrap();
            let expected =
                product((rows, inputs, outputs), |i, k| ds[i * outputs + k], |k, j| ws[k * inputs + j]);
            assert_close(&read(&d_x, stream), &expected, 1.0, &format!("{size:?} dx"));

            let mut d_w = on(vec![7.0; outputs * inputs], stream);
            let mut d_b = on(vec![7.0; outputs], stream);
            let expected =
                product((outputs, inputs, rows), |i, k| ds[k * outputs + i], |k, j| xs[k * inputs + j]);
            let expected_b = product((outputs, 1, rows), |i, k| ds[k * outputs + i], |_, _| 1.0);
            for times in [1.0, 2.0] {
                backward_weight(&x, &d_y, &mut d_w, &mut d_b, size, times > 1.0, stream).unwrap();
                assert_close(&read(&d_w, stream), &expected, times, &format!("{size:?} dw"));
                assert_close(&read(&d_b, stream), &expected_b, times, &format!("{size:?} db"));
            }
            let mut alone = on(vec![7.0; outputs], stream);
            for accumulate in [false, true] {
                backward_bias(&d_y, &mut alone, size, accumulate, stream).unwrap();
            }
            assert_eq!(read(&alone, stream), read(&d_b, stream), "{size:?}");
        }
    });
}

/// Large enough for tensor cores, where there are any; the SIMT bed has its own test of them.
#[test]
fn large_products_are_as_exact_as_asked() {
    each(|stream| {
        if stream.device() == Device::Simt {
            return;
        }
        let (rows, inputs, outputs) = (1152, 1024, 128);
        let mut rng = rng(7);
        let (xs, ws) = (floats(&mut rng, rows * inputs), floats(&mut rng, outputs * inputs));
        let ds = floats(&mut rng, rows * outputs);
        let (x, w, d_y) = (on(&xs[..], stream), on(&ws[..], stream), on(&ds[..], stream));
        let b = on(vec![0.0; outputs], stream);
        let y = product((rows, outputs, inputs), |i, k| xs[i * inputs + k], |k, j| ws[j * inputs + k]);
        let d_x = product((rows, inputs, outputs), |i, k| ds[i * outputs + k], |k, j| ws[k * inputs + j]);
        let d_w = product((outputs, inputs, rows), |i, k| ds[k * outputs + i], |k, j| xs[k * inputs + j]);
        // A product is off by a factor's rounding at most twice over, so a sum by less than that of all.
        for (precision, unit) in
            [(Precision::Fp32, 0.0), (Precision::Tf32, 1.0 / 2048.0), (Precision::Bf16, 1.0 / 256.0)]
        {
            let size = Size { rows, inputs, outputs, precision };
            let check = |got: &Buffer<f32>, expected: &(Vec<f64>, f64), what: &str| {
                let got = read(got, stream);
                if precision == Precision::Fp32 {
                    return assert_close(&got, expected, 1.0, what);
                }
                let (mut off, mut all) = (0.0, 0.0);
                for (&v, e) in got.iter().zip(&expected.0) {
                    off += (f64::from(v) - e).powi(2);
                    all += e * e;
                }
                let relative = f64::sqrt(off / all);
                assert!(relative < 2.0 * unit, "{what}, {precision:?}: {relative}");
            };
            let mut got = Buffer::zeros(rows * outputs, stream).unwrap();
            forward(&x, &w, &b, &mut got, size, stream).unwrap();
            check(&got, &y, "y");
            let mut got = Buffer::zeros(rows * inputs, stream).unwrap();
            backward_input(&d_y, &w, &mut got, size, stream).unwrap();
            check(&got, &d_x, "dx");
            let (mut got, mut d_b) =
                (on(vec![7.0; outputs * inputs], stream), on(vec![7.0; outputs], stream));
            backward_weight(&x, &d_y, &mut got, &mut d_b, size, false, stream).unwrap();
            check(&got, &d_w, "dw");
        }
    });
}

#[test]
fn a_second_run_gives_the_same_bits() {
    each(|stream| {
        let size = Size { rows: 65, inputs: 33, outputs: 12, precision: Precision::Fp32 };
        let run = || {
            let mut rng = rng(3);
            let mut random = |n| on(floats(&mut rng, n), stream);
            let (x, w, b, d_y) = (random(65 * 33), random(12 * 33), random(12), random(65 * 12));
            let [mut y, mut d_x] = [65 * 12, 65 * 33].map(|n| Buffer::zeros(n, stream).unwrap());
            let [mut d_w, mut d_b] = [12 * 33, 12].map(|n| Buffer::zeros(n, stream).unwrap());
            forward(&x, &w, &b, &mut y, size, stream).unwrap();
            backward_input(&d_y, &w, &mut d_x, size, stream).unwrap();
            backward_weight(&x, &d_y, &mut d_w, &mut d_b, size, false, stream).unwrap();
            [y, d_x, d_w, d_b].map(|buffer| read(&buffer, stream))
        };
        assert_eq!(run(), run());
    });
}

#[test]
fn the_bias_is_added() {
    each(|stream| {
        let (x, w, b) = (on([2.0, 3.0], stream), on([1.0, 10.0], stream), on([0.5, -0.5], stream));
        let mut y = on([0.0; 4], stream);
        forward(
            &x,
            &w,
            &b,
            &mut y,
            Size { rows: 2, inputs: 1, outputs: 2, precision: Precision::Fp32 },
            stream,
        )
        .unwrap();
        assert_eq!(read(&y, stream), [2.5, 19.5, 3.5, 29.5]);
    });
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    each(|stream: &Stream| {
        let buffer = |n| Buffer::<f32>::zeros(n, stream).unwrap();
        let size = Size { rows: 2, inputs: 3, outputs: 4, precision: Precision::Fp32 };
        let error = forward(&buffer(6), &buffer(11), &buffer(4), &mut buffer(8), size, stream).unwrap_err();
        assert_eq!(
            error.to_string(),
            "linear: 2 rows of 3 -> 4 need (x, y, weight, bias) of (6, 8, 12, 4) elements, got (6, 8, 11, 4)"
        );
    });
}
