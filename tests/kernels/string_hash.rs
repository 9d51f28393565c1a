use recis::ffi::simt::{recis_string_hash_farm, recis_string_hash_murmur};
use recis::ops::cpu;

use crate::common::*;

type Launcher =
    unsafe extern "C" fn(*const i8, i64, *const i32, i64, u64, *mut i64, recis::ffi::recis_stream_t) -> i32;

/// Hashes strings of these lengths, whose bytes begin `start` bytes into a guarded buffer.
fn run(launcher: Launcher, hash: fn(&[u8]) -> u64, lengths: &[usize], start: usize) {
    let mut offsets = vec![0i32];
    for &length in lengths {
        offsets.push(offsets.last().unwrap() + length as i32);
    }
    let last = *offsets.last().unwrap() as usize;
    let bytes: Vec<u8> = bits(5, start + last).map(|bits| bits as u8).collect();
    let mut expected = vec![0; lengths.len()];
    cpu::string_hash::forward(&bytes[start..], &offsets, hash, &mut expected);
    let (memory, offsets) = (Guarded::new(&bytes), Guarded::new(&offsets));
    let out = Guarded::new(&vec![0i64; lengths.len()]);
    let begin = memory.ptr().wrapping_add(start).cast_const().cast();
    for modulus in [0, 1000] {
        let count = lengths.len() as i64;
        ok(unsafe { launcher(begin, last as i64, offsets.ptr(), count, modulus, out.ptr(), STREAM) });
        if modulus > 0 {
            cpu::modulo::in_place(&mut expected, modulus);
        }
        let different = out.to_vec().iter().zip(&expected).position(|(got, expected)| got != expected);
        assert_eq!(
            different.map(|i| lengths[i]),
            None,
            "length of a string, start {start}, modulus {modulus}"
        );
    }
}

fn all_lengths(launcher: Launcher, hash: fn(&[u8]) -> u64) {
    run(launcher, hash, &[], 0);
    let lengths: Vec<usize> = (0..=300).collect();
    (0..17).for_each(|start| run(launcher, hash, &lengths, start));
    // One string that ends where the memory may not be read any more.
    for length in lengths {
        run(launcher, hash, &[length], (16 - length % 16) % 16);
    }
    // More strings than a grid has threads.
    let lengths: Vec<usize> = (0..132 * 16 * 256 + 3).map(|i| i % 23).collect();
    run(launcher, hash, &lengths, 1);
}

#[test]
fn farm() {
    all_lengths(recis_string_hash_farm, cpu::string_hash::farm);
}

#[test]
fn murmur() {
    all_lengths(recis_string_hash_murmur, cpu::string_hash::murmur);
}

#[test]
fn offsets_that_make_no_sense_stay_within_the_bytes() {
    let (bytes, out) = (Guarded::new(&[1i8; 40]), Guarded::new(&[0i64; 7]));
    let offsets = Guarded::new(&[0, 50, 30, i32::MIN, i32::MAX, 7, 12, -3]);
    for launcher in [recis_string_hash_farm, recis_string_hash_murmur] {
        ok(unsafe { launcher(bytes.ptr(), 40, offsets.ptr(), 7, 0, out.ptr(), STREAM) });
        // The first string ends with the bytes.
        let whole = out.to_vec()[0] as u64;
        assert!([cpu::string_hash::farm(&[1; 40]), cpu::string_hash::murmur(&[1; 40])].contains(&whole));
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut();
    let (bytes, offsets) = (Guarded::new(b"abc".map(|b| b as i8).as_slice()), Guarded::new(&[0, 3]));
    let out = Guarded::new(&[7i64]);
    let (b, o) = (bytes.ptr(), out.ptr());
    let launchers: [(&str, Launcher); 2] =
        [("farm", recis_string_hash_farm), ("murmur", recis_string_hash_murmur)];
    for (name, launcher) in launchers {
        let hash = |bytes, offsets, count, out, what| {
            let status = unsafe { launcher(bytes, 3, offsets, count, 0, out, STREAM) };
            refused(status, &format!("string_hash.{name}: {what}"));
        };
        hash(null, offsets.ptr(), 1, o, "bytes is null");
        hash(b, std::ptr::null(), 1, o, "offsets is null");
        hash(b, offsets.misaligned(), 1, o, "offsets is not aligned to 16 bytes");
        hash(b, offsets.ptr(), -1, o, "out has a negative size");
        hash(b, offsets.ptr(), 1, std::ptr::null_mut(), "out is null");
        hash(b, offsets.ptr(), 1, out.misaligned(), "out is not aligned to 16 bytes");
        let status = unsafe { launcher(b, -1, offsets.ptr(), 1, 0, o, STREAM) };
        refused(status, &format!("string_hash.{name}: bytes has a negative size"));
    }
    assert_eq!(out.to_vec(), [7]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    farm();
    murmur();
}
