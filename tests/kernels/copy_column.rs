use std::ptr::{null, null_mut};

use recis::ffi::recis_stream_t;
use recis::ffi::simt::{recis_copy_column_f32, recis_copy_column_f64, recis_copy_column_i64};

use crate::common::*;

type Launcher<T> =
    unsafe extern "C" fn(*const T, i64, i64, *mut f32, i64, i64, *mut u64, recis_stream_t) -> i32;

fn code(row: usize, value: f32) -> u64 {
    (row as u64) << 32 | u64::from(value.to_bits())
}

/// Copies [rows, width] to its columns; the rest stays as it is, and the first value that is not
/// finite is reported unless `held` is less.
fn run<T: Copy>(
    launcher: Launcher<T>,
    values: &[T],
    round: fn(T) -> f32,
    [width, first_column, stride]: [usize; 3],
    held: u64,
) {
    let rows = values.len() / width;
    let mut expected = vec![7.0; rows * stride];
    let mut unfit_expected = held;
    for (i, &value) in values.iter().enumerate() {
        let value = round(value);
        expected[i / width * stride + first_column + i % width] = value;
        if !value.is_finite() {
            unfit_expected = unfit_expected.min(code(i / width, value));
        }
    }
    let (values, out) = (Guarded::new(values), Guarded::new(&vec![7.0f32; rows * stride]));
    let unfit = Guarded::new(&[held]);
    let sizes = [rows, width, first_column, stride].map(|size| size as i64);
    let [rows, width, first_column, stride] = sizes;
    let (from, to) = (values.ptr(), out.ptr());
    ok(unsafe { launcher(from, rows, width, to, first_column, stride, unfit.ptr(), STREAM) });
    assert_same(&out.to_vec(), &expected, &format!("{sizes:?}"));
    assert_eq!(unfit.to_vec(), [unfit_expected], "{sizes:?}");
}

/// Runs places that are aligned and such that are not, at many sizes.
fn all_places<T: Copy>(launcher: Launcher<T>, values: impl Fn(usize) -> Vec<T>, round: fn(T) -> f32) {
    for width in [1, 2, 3, 4, 7, 8, 64] {
        for rows in [0, 1, 2, 5, 33, 1025] {
            let values = values(rows * width);
            for place in [[width, 0, width], [width, 3, width + 5], [width, 4, width.next_multiple_of(4) + 8]]
            {
                run(launcher, &values, round, place, u64::MAX);
            }
            run(launcher, &values, round, [width, 1, width + 1], code(2, 0.0));
        }
    }
    // More values than a grid has threads, and more packs.
    run(launcher, &values(132 * 16 * 256 + 73), round, [5, 0, 5], u64::MAX);
    run(launcher, &values(4 * (132 * 16 * 256 + 70)), round, [4, 0, 4], u64::MAX);
}

#[test]
fn f32() {
    all_places(recis_copy_column_f32, |len| tame_floats(1, len), |value| value);
    // Unfit ones in the middle: the least row counts, and then the least bits.
    let mut values = tame_floats(1, 4000);
    for (i, value) in [(3999, f32::NAN), (2001, f32::INFINITY), (2003, f32::NEG_INFINITY), (1203, -f32::NAN)]
    {
        values[i] = value;
        run(recis_copy_column_f32, &values, |value| value, [4, 0, 4], u64::MAX);
        run(recis_copy_column_f32, &values, |value| value, [5, 2, 8], u64::MAX);
    }
    all_places(recis_copy_column_f32, |len| floats(1, len), |value| value);
}

#[test]
fn f64() {
    let values = |len| {
        // The third is too large for an f32, the fourth rounds up to infinity, the fifth does not.
        let special = [1e-300, -1.0 - 1e-9, 1e39, -3.402_823_6e38, 3.402_823_5e38, f64::NEG_INFINITY];
        let rest = bits(3, len).map(|bits| (bits >> 11) as f64 / 7.0);
        special.into_iter().chain(rest).skip(len % 7).take(len).collect()
    };
    all_places(recis_copy_column_f64, values, |value| value as f32);
}

#[test]
fn i64() {
    all_places(recis_copy_column_i64, ids, |value| value as f32);
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let (values, out) = (Guarded::new(&[0.5f32; 6]), Guarded::new(&[7.0f32; 8]));
    let unfit = Guarded::new(&[7u64]);
    let (v, o, u) = (values.ptr(), out.ptr(), unfit.ptr());
    let copy = |values, rows, width, out, first_column, stride, unfit, what: &str| {
        let status =
            unsafe { recis_copy_column_f32(values, rows, width, out, first_column, stride, unfit, STREAM) };
        refused(status, &format!("copy_column.f32: {what}"));
    };
    copy(null(), 2, 3, o, 1, 4, u, "values is null");
    copy(values.misaligned(), 2, 3, o, 1, 4, u, "values is not aligned to 16 bytes");
    copy(v, -1, 3, o, 1, 4, u, "rows is negative");
    copy(v, 1 << 33, 3, o, 1, 4, u, "rows is above 2^32");
    copy(v, 2, -1, o, 1, 4, u, "width is negative or too large");
    copy(v, 2, 3, null_mut(), 1, 4, u, "out is null");
    copy(v, 2, 3, o, -1, 4, u, "first_column is negative");
    copy(v, 2, 3, o, 2, 4, u, "out_stride is below what the columns need");
    copy(v, 2, 3, o, 1, 4, null_mut(), "unfit is null");
    let status = unsafe { recis_copy_column_f64(null(), 2, 3, o, 1, 4, u, STREAM) };
    refused(status, "copy_column.f64: values is null");
    let status = unsafe { recis_copy_column_i64(null(), 2, 3, o, 1, 4, u, STREAM) };
    refused(status, "copy_column.i64: values is null");
    assert_eq!((out.to_vec(), unfit.to_vec()), (vec![7.0; 8], vec![7]));
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    run(recis_copy_column_f32, &[1.0], |value| value, [1, 0, 1], u64::MAX);
    run(recis_copy_column_f64, &[1.0], |value| value as f32, [1, 0, 1], u64::MAX);
    run(recis_copy_column_i64, &[1], |value| value as f32, [1, 0, 1], u64::MAX);
}
