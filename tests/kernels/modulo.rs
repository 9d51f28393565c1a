use recis::ffi::simt::recis_modulo_forward;
use recis::ops::cpu;

use crate::common::*;

#[test]
fn forward() {
    for len in SIZES {
        for modulus in [1, 10_007, u64::MAX] {
            let values = ids(len);
            let mut expected = vec![0; len];
            cpu::modulo::forward(&values, modulus, &mut expected);
            let values = Guarded::new(&values);
            let out = Guarded::new(&vec![0i64; len]);
            ok(unsafe { recis_modulo_forward(values.ptr(), len as i64, modulus, out.ptr(), STREAM) });
            assert!(out.to_vec() == expected, "{len} values, modulus {modulus}");
            // In place.
            ok(unsafe { recis_modulo_forward(values.ptr(), len as i64, modulus, values.ptr(), STREAM) });
            assert!(values.to_vec() == expected, "{len} values in place, modulus {modulus}");
        }
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut();
    let (values, out) = (Guarded::new(&[5i64, 6]), Guarded::new(&[7i64, 8]));
    let (v, o) = (values.ptr(), out.ptr());
    let forward = |values, count, modulus, out, what| {
        refused(unsafe { recis_modulo_forward(values, count, modulus, out, STREAM) }, what);
    };
    forward(v, 2, 0, o, "modulo.forward: the modulus is 0");
    forward(v, -1, 3, o, "modulo.forward: the input has a negative size");
    forward(v, i64::MIN, 3, o, "modulo.forward: the input has a negative size");
    forward(null, 2, 3, o, "modulo.forward: the input is null");
    forward(v, 2, 3, null, "modulo.forward: the output is null");
    forward(values.misaligned(), 1, 3, o, "modulo.forward: the input is not aligned to 16 bytes");
    forward(v, 1, 3, out.misaligned(), "modulo.forward: the output is not aligned to 16 bytes");
    assert_eq!((values.to_vec(), out.to_vec()), (vec![5, 6], vec![7, 8]));
    // Nothing from nowhere is fine.
    ok(unsafe { recis_modulo_forward(null, 0, 3, null, STREAM) });
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    forward();
}
