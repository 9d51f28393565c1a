use recis::ffi::simt::recis_bucketize_forward;
use recis::ops::cpu;

use crate::common::*;

#[test]
fn forward() {
    for len in SIZES {
        for boundaries in [0usize, 1, 2, 63] {
            let mut boundaries = tame_floats(9, boundaries);
            boundaries.sort_by(f32::total_cmp);
            let mut values = floats(1, len);
            // Values on a boundary belong above it.
            values.iter_mut().skip(8).step_by(3).zip(&boundaries).for_each(|(value, &b)| *value = b);
            let mut expected = vec![0; len];
            cpu::bucketize::forward(&values, &boundaries, &mut expected);
            let (v, b) = (Guarded::new(&values), Guarded::new(&boundaries));
            let out = Guarded::new(&vec![0i64; len]);
            let (count, boundary_count) = (len as i64, boundaries.len() as i64);
            ok(unsafe {
                recis_bucketize_forward(v.ptr(), count, b.ptr(), boundary_count, out.ptr(), STREAM)
            });
            assert!(out.to_vec() == expected, "{len} values, {boundary_count} boundaries");
        }
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    use std::ptr::null_mut;
    let (values, boundaries) = (Guarded::new(&[1.0f32, 2.0]), Guarded::new(&[0.0f32, 1.0]));
    let out = Guarded::new(&[7i64]);
    let (v, b, o) = (values.ptr(), boundaries.ptr(), out.ptr());
    let forward = |values, count, boundaries, boundary_count, out, what| {
        let status =
            unsafe { recis_bucketize_forward(values, count, boundaries, boundary_count, out, STREAM) };
        refused(status, what);
    };
    forward(v, -1, b, 2, o, "bucketize.forward: values has a negative size");
    forward(null_mut(), 1, b, 2, o, "bucketize.forward: values is null");
    forward(v, 1, b, -2, o, "bucketize.forward: boundaries has a negative size");
    forward(v, 1, null_mut(), 2, o, "bucketize.forward: boundaries is null");
    forward(v, 1, boundaries.misaligned(), 1, o, "bucketize.forward: boundaries is not aligned to 16 bytes");
    forward(values.misaligned(), 1, b, 2, o, "bucketize.forward: values is not aligned to 16 bytes");
    forward(v, 1, b, 2, null_mut(), "bucketize.forward: out is null");
    assert_eq!(out.to_vec(), [7]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    forward();
}
