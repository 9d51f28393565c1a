use recis::ffi::simt::recis_encode_ids_forward;
use recis::ops::cpu;

use crate::common::*;

#[test]
fn forward() {
    for len in SIZES {
        for table in [0, 1, 4095] {
            let ids = ids(len);
            let mut expected = vec![];
            cpu::encode_ids::forward(table, &ids, &mut expected);
            let ids = Guarded::new(&ids);
            let out = Guarded::new(&vec![0i64; len]);
            ok(unsafe { recis_encode_ids_forward(ids.ptr(), len as i64, table, out.ptr(), STREAM) });
            assert!(out.to_vec() == expected, "{len} ids, table {table}");
        }
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut();
    let (ids, out) = (Guarded::new(&[5i64]), Guarded::new(&[7i64]));
    let forward = |ids, count, table, out, what| {
        refused(unsafe { recis_encode_ids_forward(ids, count, table, out, STREAM) }, what);
    };
    forward(ids.ptr(), 1, 4096, out.ptr(), "encode_ids.forward: the table does not fit in 12 bits");
    forward(ids.ptr(), -1, 0, out.ptr(), "encode_ids.forward: the input has a negative size");
    forward(null, 1, 0, out.ptr(), "encode_ids.forward: the input is null");
    forward(ids.ptr(), 1, 0, null, "encode_ids.forward: the output is null");
    let (i, o) = (ids.misaligned(), out.misaligned());
    forward(i, 1, 0, out.ptr(), "encode_ids.forward: the input is not aligned to 16 bytes");
    forward(ids.ptr(), 1, 0, o, "encode_ids.forward: the output is not aligned to 16 bytes");
    assert_eq!((ids.to_vec(), out.to_vec()), (vec![5], vec![7]));
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    forward();
}
