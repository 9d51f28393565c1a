use recis::ffi::simt::{recis_sigmoid_backward, recis_sigmoid_forward};
use recis::ops::cpu;

use crate::common::*;

#[test]
fn forward() {
    for len in SIZES {
        let x = floats(1, len);
        let mut expected = vec![0.0; len];
        cpu::sigmoid::forward(&x, &mut expected);
        let (x, y) = (Guarded::new(&x), Guarded::new(&vec![0.0; len]));
        ok(unsafe { recis_sigmoid_forward(x.ptr(), len as i64, y.ptr(), STREAM) });
        assert_close(&y.to_vec(), &expected, 0.0, "y");
    }
}

#[test]
fn backward() {
    for len in SIZES {
        let (y, d_y) =
            ((tame_floats(2, len).iter().map(|x| (x + 4.0) / 8.0).collect::<Vec<_>>()), tame_floats(3, len));
        let mut expected = vec![0.0; len];
        cpu::sigmoid::backward(&y, &d_y, &mut expected);
        let (y, d_y) = (Guarded::new(&y), Guarded::new(&d_y));
        // In place, as it may be.
        ok(unsafe { recis_sigmoid_backward(y.ptr(), d_y.ptr(), len as i64, d_y.ptr(), STREAM) });
        assert_close(&d_y.to_vec(), &expected, 0.0, "d_x");
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut();
    let arrays = [1.0f32, 2.0, 3.0].map(|value| Guarded::new(&[value, 0.0]));
    let [a, b, out] = [0, 1, 2].map(|i| arrays[i].ptr());
    let off = arrays[0].misaligned();
    let forward = |x, count, y, what| refused(unsafe { recis_sigmoid_forward(x, count, y, STREAM) }, what);
    forward(a, -1, out, "sigmoid.forward: the input has a negative size");
    forward(null, 1, out, "sigmoid.forward: the input is null");
    forward(a, 1, off, "sigmoid.forward: the output is not aligned to 16 bytes");
    let backward = |y, d_y, count, d_x, what| {
        refused(unsafe { recis_sigmoid_backward(y, d_y, count, d_x, STREAM) }, what);
    };
    backward(a, b, -1, out, "sigmoid.backward: the first input has a negative size");
    backward(a, null, 1, out, "sigmoid.backward: the second input is null");
    backward(off, b, 1, out, "sigmoid.backward: the first input is not aligned to 16 bytes");
    backward(a, b, 1, null, "sigmoid.backward: the output is null");
    assert_eq!(arrays.each_ref().map(Guarded::to_vec), [1.0, 2.0, 3.0].map(|value| vec![value, 0.0]));
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    forward();
    backward();
}
