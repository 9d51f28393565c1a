use recis::device::{Buffer, Stream};
use recis::ops::bucketize::{Column, forward};

use crate::common::{each, each_with_kernels, on};

fn run(boundaries: &[f32], values: &[f32], stream: &Stream) -> recis::Result<Vec<i64>> {
    let mut out = Buffer::zeros(values.len(), stream)?;
    let (values, boundaries) = (on(values, stream), on(boundaries, stream));
    forward(&mut [Column { values: &values, boundaries: &boundaries, out: &mut out }], stream)?;
    out.to_vec(stream)
}

#[test]
fn a_boundary_belongs_to_the_bucket_above() {
    each(|stream| {
        let values = [-1.0, -0.0, 0.0, 0.25, 0.5, 0.999, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        assert_eq!(run(&[0.0, 0.5, 1.0], &values, stream).unwrap(), [0, 1, 1, 1, 2, 2, 3, 3, 0, 3]);
        assert_eq!(run(&[], &[7.0], stream).unwrap(), [0]);
        assert!(run(&[1.0], &[], stream).unwrap().is_empty());
    });
}

#[test]
fn boundaries_must_ascend() {
    let stream = &Stream::default();
    let error = run(&[1.0, 0.5], &[0.0], stream).unwrap_err().to_string();
    assert_eq!(error, "bucketize: boundaries [1.0, 0.5] do not ascend");
    assert!(run(&[f32::NAN], &[0.0], stream).is_err());
}

#[test]
fn boundaries_that_do_not_ascend_do_no_harm() {
    each_with_kernels(|stream| {
        let boundaries = [5.0, f32::NAN, -1.0, f32::INFINITY, 0.0];
        let buckets = run(&boundaries, &[-7.0, 0.0, 3.0, f32::NAN, 9.0], stream).unwrap();
        assert!(buckets.iter().all(|bucket| (0..=5).contains(bucket)), "{buckets:?}");
    });
}

#[test]
fn sizes_that_differ_are_refused() {
    each(|stream| {
        let (values, mut out) = (on([0.0, 1.0], stream), on([0], stream));
        let column = Column { values: &values, boundaries: &on([0.0], stream), out: &mut out };
        assert_eq!(
            forward(&mut [column], stream).unwrap_err().to_string(),
            "bucketize: 2 values but room for 1"
        );
    });
}
