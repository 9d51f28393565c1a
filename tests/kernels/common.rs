//! Device memory for the tests, sizes worth trying, and what a refused call must say.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr;

use recis::ffi::simt::*;
use recis::ffi::{recis_status, recis_stream_t};

/// The stream of all launches: the test bed knows only one.
pub const STREAM: recis_stream_t = ptr::null_mut();

/// An array of plain numbers that ends against a page without access.
pub struct Guarded<T> {
    memory: *mut T,
    len: usize,
    owned: PhantomData<T>,
}

impl<T: Copy> Guarded<T> {
    pub fn new(values: &[T]) -> Self {
        // SAFETY: the memory is as large as the values, and aligned to 16 bytes.
        let memory = unsafe {
            let memory: *mut T = recis_simt_allocate(size_of_val(values)).cast();
            assert!(!memory.is_null());
            ptr::copy_nonoverlapping(values.as_ptr(), memory, values.len());
            memory
        };
        Self { memory, len: values.len(), owned: PhantomData }
    }

    pub fn ptr(&self) -> *mut T {
        self.memory
    }

    /// The pointer with its address moved by a few bytes: not aligned.
    pub fn misaligned(&self) -> *mut T {
        self.memory.wrapping_byte_add(4)
    }

    pub fn to_vec(&self) -> Vec<T> {
        // SAFETY: the memory holds `len` values since `new`, and kernels only write numbers.
        unsafe { std::slice::from_raw_parts(self.memory, self.len) }.to_vec()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: it came from recis_simt_allocate.
        unsafe { recis_simt_release(self.memory.cast()) }
    }
}

/// Runs a launcher that must succeed.
pub fn ok(status: i32) {
    assert_eq!(status, recis_status::RECIS_OK.0 as i32, "{}", last_error());
}

/// Checks that a call was refused as an invalid argument, saying `what`, and where.
pub fn refused(status: i32, what: &str) {
    assert_eq!(status, recis_status::RECIS_INVALID_ARGUMENT.0 as i32, "expected: {what}");
    let error = last_error();
    assert!(
        error.starts_with(&format!("{what} (cuda/")) && error.ends_with(')'),
        "{error}; expected: {what}"
    );
}

pub fn last_error() -> String {
    // SAFETY: the text ends with 0 and is copied before this thread's next call.
    unsafe { CStr::from_ptr(recis_last_error()) }.to_string_lossy().into_owned()
}

/// How often kernels of an operation have been launched in this process.
pub fn launches(op: &str) -> i64 {
    let op = CString::new(op).unwrap();
    // SAFETY: the name ends with 0.
    unsafe { recis_simt_launches(op.as_ptr()) }
}

/// Around packs, warps and blocks, and more packs of four than a full grid has threads.
pub const SIZES: [usize; 14] = [0, 1, 2, 3, 4, 5, 31, 33, 255, 257, 1023, 1025, 4099, 4 * 132 * 16 * 256 + 5];

/// Bit patterns that look random, from the number `seed`.
pub fn bits(seed: u64, len: usize) -> impl Iterator<Item = u64> {
    // SplitMix64.
    (1..=len as u64).map(move |i| {
        let mut x = (seed << 40).wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    })
}

/// Ids of any 64 bits; the first are those that go wrong first.
pub fn ids(len: usize) -> Vec<i64> {
    let special = [0, 1, -1, -2, i64::MIN, i64::MAX];
    special.into_iter().chain(bits(1, len).map(|bits| bits as i64)).take(len).collect()
}

/// Numbers in [-4, 4); the first are those that go wrong first.
pub fn floats(seed: u64, len: usize) -> Vec<f32> {
    let special = [f32::NAN, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE, 100.0, -100.0];
    special.into_iter().chain(tame_floats(seed, len)).take(len).collect()
}

/// Numbers in [-4, 4).
pub fn tame_floats(seed: u64, len: usize) -> Vec<f32> {
    bits(seed, len).map(|bits| (bits >> 40) as f32 / (1 << 21) as f32 - 4.0).collect()
}

/// Checks that numbers are equal but for a few roundings, at magnitudes of `scale` or their own if
/// that is larger: the device's compiler may contract a product and a sum into one rounding.
pub fn assert_close(got: &[f32], expected: &[f32], scale: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let bound = 4.0 * f32::EPSILON * scale.max(expected.abs());
        let same = got == expected || (got.is_nan() && expected.is_nan());
        assert!(same || (got - expected).abs() <= bound, "{what}[{i}]: {got}, expected {expected}");
    }
}

/// Checks that numbers have the same bits, or are both NaN.
pub fn assert_same(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
        assert!(same, "{what}[{i}]: {got}, expected {expected}");
    }
}
