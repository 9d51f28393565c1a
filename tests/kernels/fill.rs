use recis::ffi::simt::recis_fill_forward;

use crate::common::*;

fn run(width: usize, capacity: usize, count: Option<u32>, value: f32) {
    let mut expected = tame_floats(1, capacity * width);
    let values = Guarded::new(&expected);
    let there = count.map_or(capacity, |count| capacity.min(count as usize));
    expected[..there * width].fill(value);
    let device_count = Guarded::new(&[count.unwrap_or(0)]);
    let count = if count.is_some() { device_count.ptr() } else { std::ptr::null_mut() };
    ok(unsafe { recis_fill_forward(values.ptr(), width as i64, capacity as i64, count, value, STREAM) });
    assert_same(&values.to_vec(), &expected, &format!("{there} of {capacity} rows of {width}"));
}

#[test]
fn forward() {
    for width in [0, 1, 3, 7, 8, 16, 17, 64, 128] {
        for count in [None, Some(0), Some(1), Some(17), Some(99), Some(100), Some(101), Some(u32::MAX)] {
            run(width, 100, count, 0.0);
        }
        run(width, 0, Some(5), 0.0);
    }
    for size in SIZES {
        run(1, size, None, f32::NAN);
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let (values, count) = (Guarded::new(&[7.0f32; 4]), Guarded::new(&[1u32]));
    let refuse = |values, width, capacity, count, what: &str| {
        let status = unsafe { recis_fill_forward(values, width, capacity, count, 1.0, STREAM) };
        refused(status, &format!("fill.forward: {what}"));
    };
    let (v, c) = (values.ptr(), count.ptr().cast_const());
    refuse(v, -1, 2, c, "width is negative");
    refuse(v, 2, -1, c, "values has a negative size");
    refuse(std::ptr::null_mut(), 2, 2, c, "values is null");
    refuse(values.misaligned(), 2, 2, c, "values is not aligned to 16 bytes");
    refuse(v, 2, 2, count.misaligned(), "count is not aligned to 16 bytes");
    assert_eq!(values.to_vec(), [7.0; 4]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    run(4, 2, Some(1), 0.0);
}
