use recis::ffi::simt::recis_multi_hash_forward;
use recis::ops::cpu;
use recis::ops::multi_hash::Hash;

use crate::common::*;

#[test]
fn forward() {
    let large = Hash { multiplier: -3, prime: i64::MAX, buckets: i64::MAX - 1 };
    let one = Hash { multiplier: 7, prime: 1, buckets: 1 };
    for len in SIZES {
        // One of the hashes is enough for the full grid.
        let hashes = (0..4).map(|index| Hash::new(index, 1000).unwrap()).chain([large, one]);
        for hash in hashes.take(if len > 10_000 { 1 } else { 6 }) {
            let values = ids(len);
            let mut expected = vec![0; len];
            cpu::multi_hash::forward(&values, hash, &mut expected);
            let (values, out) = (Guarded::new(&values), Guarded::new(&vec![0i64; len]));
            let Hash { multiplier, prime, buckets } = hash;
            let run = |out| unsafe {
                recis_multi_hash_forward(values.ptr(), len as i64, multiplier, prime, buckets, out, STREAM)
            };
            ok(run(out.ptr()));
            assert!(out.to_vec() == expected, "{len} values, {hash:?}");
            // In place.
            ok(run(values.ptr()));
            assert!(values.to_vec() == expected, "{len} values in place, {hash:?}");
        }
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut();
    let (values, out) = (Guarded::new(&[5i64, 6]), Guarded::new(&[7i64, 8]));
    let (v, o) = (values.ptr(), out.ptr());
    let forward = |values, count, prime, buckets, out, what: &str| {
        let status = unsafe { recis_multi_hash_forward(values, count, 3, prime, buckets, out, STREAM) };
        refused(status, &format!("multi_hash.forward: {what}"));
    };
    forward(v, 2, 0, 1, o, "prime is below 1");
    forward(v, 2, 5, -1, o, "buckets is below 1");
    forward(v, -1, 5, 3, o, "the input has a negative size");
    forward(null, 2, 5, 3, o, "the input is null");
    forward(v, 2, 5, 3, null, "the output is null");
    forward(values.misaligned(), 1, 5, 3, o, "the input is not aligned to 16 bytes");
    forward(v, 1, 5, 3, out.misaligned(), "the output is not aligned to 16 bytes");
    assert_eq!((values.to_vec(), out.to_vec()), (vec![5, 6], vec![7, 8]));
    // Nothing from nowhere is fine.
    ok(unsafe { recis_multi_hash_forward(null, 0, 1, 5, 3, null, STREAM) });
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    forward();
}
