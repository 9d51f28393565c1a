use recis::ffi::simt::recis_scale_forward;
use recis::ops::cpu;

use crate::common::*;

#[test]
fn forward() {
    for len in SIZES {
        let mut expected = floats(1, len);
        let values = Guarded::new(&expected);
        cpu::scale::forward(&mut expected, 0.3);
        ok(unsafe { recis_scale_forward(values.ptr(), len as i64, 0.3, STREAM) });
        assert_same(&values.to_vec(), &expected, "values");
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let values = Guarded::new(&[1.0f32, 2.0]);
    let forward = |values, count, what| {
        refused(unsafe { recis_scale_forward(values, count, 3.0, STREAM) }, what);
    };
    forward(std::ptr::null_mut(), 1, "scale.forward: the input is null");
    forward(values.ptr(), -2, "scale.forward: the input has a negative size");
    forward(values.misaligned(), 1, "scale.forward: the input is not aligned to 16 bytes");
    assert_eq!(values.to_vec(), [1.0, 2.0]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    forward();
}
