use recis::device::{Buffer, Stream};
use recis::ops::bucketize::{Column, forward};

fn run(boundaries: Vec<f32>, values: Vec<f32>) -> recis::Result<Vec<i64>> {
    let mut out = Buffer::from(vec![0; values.len()]);
    let (values, boundaries) = (values.into(), boundaries.into());
    forward(&mut [Column { values: &values, boundaries: &boundaries, out: &mut out }], &Stream::default())?;
    Ok(out.host().to_vec())
}

#[test]
fn a_boundary_belongs_to_the_bucket_above() {
    let values = vec![-1.0, -0.0, 0.0, 0.25, 0.5, 0.999, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    assert_eq!(run(vec![0.0, 0.5, 1.0], values).unwrap(), [0, 1, 1, 1, 2, 2, 3, 3, 0, 3]);
    assert_eq!(run(vec![], vec![7.0]).unwrap(), [0]);
    assert!(run(vec![1.0], vec![]).unwrap().is_empty());
}

#[test]
fn boundaries_must_ascend() {
    let error = run(vec![1.0, 0.5], vec![0.0]).unwrap_err().to_string();
    assert_eq!(error, "bucketize: boundaries [1.0, 0.5] do not ascend");
    assert!(run(vec![f32::NAN], vec![0.0]).is_err());
}
