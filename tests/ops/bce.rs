use recis::device::{Buffer, Stream};
use recis::ops::{bce, relu, sigmoid};

fn loss(prediction: &[f32], label: &[f32]) -> recis::Result<(f32, Vec<f32>)> {
    let stream = Stream::default();
    let mut loss = Buffer::zeros(1, &stream)?;
    let mut d = Buffer::zeros(prediction.len(), &stream)?;
    bce::forward(&prediction.to_vec().into(), &label.to_vec().into(), &mut loss, Some(&mut d), &stream)?;
    Ok((loss.host()[0], d.host().to_vec()))
}

#[test]
fn corners_are_torchs() {
    assert_eq!(loss(&[1.0], &[0.0]).unwrap(), (100.0, vec![1e12]));
    assert_eq!(loss(&[0.0], &[1.0]).unwrap(), (100.0, vec![-1e12]));
    assert_eq!(loss(&[0.5], &[1.0]).unwrap(), (std::f32::consts::LN_2, vec![-2.0]));
    let (mean, d) = loss(&[0.25, 0.25], &[0.0, 1.0]).unwrap();
    assert!((f64::from(mean) + (0.75f64.ln() + 0.25f64.ln()) / 2.0).abs() < 1e-7);
    assert!((d[0] - 0.25 / 0.1875 / 2.0).abs() < 1e-6 && (d[1] + 0.75 / 0.1875 / 2.0).abs() < 1e-6);
}

#[test]
fn predictions_that_are_no_probabilities_are_refused() {
    for p in [1.5, -0.1, f32::NAN, f32::INFINITY] {
        let error = loss(&[0.5, p], &[0.0, 0.0]).unwrap_err().to_string();
        assert_eq!(error, format!("bce: the prediction of row 1 is {p}, outside [0, 1]"));
    }
    assert!(loss(&[], &[]).is_err());
}

#[test]
fn a_saturated_sigmoid_has_no_gradient() {
    let stream = Stream::default();
    let x: Buffer<f32> = vec![-200.0, -1.0, 0.0, 1.0, 200.0].into();
    let mut y = Buffer::zeros(5, &stream).unwrap();
    sigmoid::forward(&x, &mut y, &stream).unwrap();
    assert_eq!((y.host()[0], y.host()[2], y.host()[4]), (0.0, 0.5, 1.0));
    assert!((f64::from(y.host()[3]) - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-7);
    let mut d_x = Buffer::zeros(5, &stream).unwrap();
    sigmoid::backward(&y, &vec![1e12; 5].into(), &mut d_x, &stream).unwrap();
    assert_eq!((d_x.host()[0], d_x.host()[4]), (0.0, 0.0));
    assert_eq!(d_x.host()[2], 0.25e12);
}

#[test]
fn relu_keeps_nan_and_cuts_negatives() {
    let stream = Stream::default();
    let x: Buffer<f32> = vec![-1.0, 0.0, 2.0, f32::NAN].into();
    let mut y = Buffer::zeros(4, &stream).unwrap();
    relu::forward(&x, &mut y, &stream).unwrap();
    assert_eq!(y.host()[..3], [0.0, 0.0, 2.0]);
    assert!(y.host()[3].is_nan());
    let mut d_x = Buffer::zeros(4, &stream).unwrap();
    relu::backward(&y, &vec![3.0; 4].into(), &mut d_x, &stream).unwrap();
    assert_eq!(d_x.host()[..3], [0.0, 0.0, 3.0]);
}
