use recis::device::{Buffer, Stream};
use recis::ops::unfit::{Found, Unfit};
use recis::ops::{bce, relu, sigmoid};

use crate::common::{each, on, read};

fn loss(prediction: &[f32], label: &[f32], stream: &Stream) -> recis::Result<(f32, Vec<f32>, Option<Found>)> {
    let mut loss = Buffer::zeros(1, stream)?;
    let mut d = Buffer::zeros(prediction.len(), stream)?;
    let mut unfit = Unfit::new(1, stream)?;
    let (prediction, label) = (on(prediction, stream), on(label, stream));
    bce::forward(&prediction, &label, &mut loss, Some(&mut d), unfit.word(0), stream)?;
    Ok((read(&loss, stream)[0], read(&d, stream), Unfit::found(unfit.read_back(stream)?)?[0]))
}

#[test]
fn corners_are_torchs() {
    each(|stream| {
        assert_eq!(loss(&[1.0], &[0.0], stream).unwrap(), (100.0, vec![1e12], None));
        assert_eq!(loss(&[0.0], &[1.0], stream).unwrap(), (100.0, vec![-1e12], None));
        assert_eq!(loss(&[0.5], &[1.0], stream).unwrap(), (std::f32::consts::LN_2, vec![-2.0], None));
        let (mean, d, _) = loss(&[0.25, 0.25], &[0.0, 1.0], stream).unwrap();
        assert!((f64::from(mean) + (0.75f64.ln() + 0.25f64.ln()) / 2.0).abs() < 1e-7);
        assert!((d[0] - 0.25 / 0.1875 / 2.0).abs() < 1e-6 && (d[1] + 0.75 / 0.1875 / 2.0).abs() < 1e-6);
    });
}

#[test]
fn many_rows_are_averaged_exactly() {
    each(|stream| {
        let n = 10_007;
        let prediction: Vec<f32> = (0..n).map(|i| (i as f32 + 0.5) / n as f32).collect();
        let label: Vec<f32> = (0..n).map(|i| f32::from(i % 3 == 0)).collect();
        let terms = prediction.iter().zip(&label).map(|(&p, &y)| {
            let p = f64::from(p);
            -if y == 1.0 { p.ln() } else { (1.0 - p).ln() }
        });
        let expected = terms.sum::<f64>() / f64::from(n);
        let (mean, d, _) = loss(&prediction, &label, stream).unwrap();
        assert!((f64::from(mean) - expected).abs() < 2e-7, "{mean}, expected {expected}");
        for ((d, p), y) in d.iter().zip(prediction).zip(label) {
            let (p, y) = (f64::from(p), f64::from(y));
            let expected = (p - y) / (p * (1.0 - p)) / f64::from(n);
            assert!((f64::from(*d) - expected).abs() <= 1e-6 * expected.abs(), "{d}, expected {expected}");
        }
    });
}

#[test]
fn predictions_that_are_no_probabilities_are_told() {
    each(|stream| {
        for p in [1.5, -0.1, f32::NAN, f32::INFINITY] {
            let (_, _, found) = loss(&[0.5, p, 7.0], &[0.0; 3], stream).unwrap();
            let found = found.unwrap();
            assert_eq!((found.row, found.value.to_bits()), (1, p.to_bits()));
        }
        let error = loss(&[], &[], stream).unwrap_err();
        assert_eq!(error.to_string(), "bce: 0 predictions, 0 labels, 1 losses");
        assert!(loss(&[0.5], &[], stream).is_err());
    });
}

#[test]
fn the_first_row_found_is_kept_until_it_is_cleared() {
    each(|stream| {
        let mut unfit = Unfit::new(1, stream).unwrap();
        let run = |prediction: &[f32], unfit: &mut Unfit| {
            let (label, mut loss) = (on([0.0, 0.0, 0.0], stream), on([0.0], stream));
            bce::forward(&on(prediction, stream), &label, &mut loss, None, unfit.word(0), stream).unwrap();
            Unfit::found(unfit.read_back(stream).unwrap()).unwrap()[0]
        };
        assert_eq!(run(&[0.0, 0.5, 1.0], &mut unfit), None);
        assert_eq!(run(&[0.0, 0.5, 2.0], &mut unfit), Some(Found { row: 2, value: 2.0 }));
        assert_eq!(run(&[0.0, 3.0, 0.0], &mut unfit), Some(Found { row: 1, value: 3.0 }));
        assert_eq!(run(&[0.0, 0.5, 2.0], &mut unfit), Some(Found { row: 1, value: 3.0 }));
        unfit.clear(stream).unwrap();
        assert_eq!(run(&[0.0, 0.5, 1.0], &mut unfit), None);
    });
}

#[test]
fn a_saturated_sigmoid_has_no_gradient() {
    each(|stream| {
        let x = on([-200.0, -1.0, 0.0, 1.0, 200.0], stream);
        let mut y = Buffer::zeros(5, stream).unwrap();
        sigmoid::forward(&x, &mut y, stream).unwrap();
        let values = read(&y, stream);
        assert_eq!((values[0], values[2], values[4]), (0.0, 0.5, 1.0));
        assert!((f64::from(values[3]) - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-7);
        let mut d_x = Buffer::zeros(5, stream).unwrap();
        sigmoid::backward(&y, &on([1e12; 5], stream), &mut d_x, stream).unwrap();
        let d_x = read(&d_x, stream);
        assert_eq!((d_x[0], d_x[2], d_x[4]), (0.0, 0.25e12, 0.0));
    });
}

#[test]
fn relu_keeps_nan_and_cuts_negatives() {
    each(|stream| {
        let x = on([-1.0, 0.0, 2.0, f32::NAN], stream);
        let mut y = Buffer::zeros(4, stream).unwrap();
        relu::forward(&x, &mut y, stream).unwrap();
        let values = read(&y, stream);
        assert_eq!(values[..3], [0.0, 0.0, 2.0]);
        assert!(values[3].is_nan());
        let mut d_x = Buffer::zeros(4, stream).unwrap();
        relu::backward(&y, &on([3.0; 4], stream), &mut d_x, stream).unwrap();
        assert_eq!(read(&d_x, stream)[..3], [0.0, 0.0, 3.0]);
    });
}

#[test]
fn activations_of_many_values_and_of_none() {
    each(|stream| {
        for n in [0, 1, 70_001] {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 - n as f32 / 2.0) / 3000.0).collect();
            let (x_there, mut y) = (on(x.clone(), stream), Buffer::zeros(n, stream).unwrap());
            let (d_y, mut d_x) = (on(vec![2.0; n], stream), Buffer::zeros(n, stream).unwrap());
            relu::forward(&x_there, &mut y, stream).unwrap();
            relu::backward(&y, &d_y, &mut d_x, stream).unwrap();
            let all = x.iter().zip(read(&y, stream)).zip(read(&d_x, stream));
            all.for_each(|((&x, y), d)| assert_eq!((y, d), (x.max(0.0), if x > 0.0 { 2.0 } else { 0.0 })));

            sigmoid::forward(&x_there, &mut y, stream).unwrap();
            sigmoid::backward(&y, &d_y, &mut d_x, stream).unwrap();
            for ((&x, y), d) in x.iter().zip(read(&y, stream)).zip(read(&d_x, stream)) {
                let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
                assert!((f64::from(y) - exact).abs() < 2e-7, "{x}: {y}, expected {exact}");
                assert!((f64::from(d) - 2.0 * exact * (1.0 - exact)).abs() < 4e-7, "{x}: {d}");
            }
        }
        let mut out = Buffer::zeros(3, stream).unwrap();
        let error = relu::forward(&on([1.0], stream), &mut out, stream).unwrap_err();
        assert_eq!(error.to_string(), "relu: 1 values but room for 3");
        let error = sigmoid::forward(&on([1.0], stream), &mut out, stream).unwrap_err();
        assert_eq!(error.to_string(), "sigmoid: 1 values but room for 3");
    });
}
