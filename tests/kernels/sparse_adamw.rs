use recis::ffi::recis_rows;
use recis::ffi::simt::recis_sparse_adamw_step;
use recis::ops::cpu;
use recis::ops::cpu::rows::{Layout, for_each_row};
use recis::ops::sparse_adamw::{Coefficients, Decay};

use crate::common::*;
use crate::rows::{different_rows, storage, within};

fn launch(
    storage: *const recis_rows,
    rows: *const u32,
    capacity: i64,
    count: *const u32,
    gradients: *const f32,
    coefficients: &Coefficients,
) -> i32 {
    let Coefficients { alpha, decay, beta1, beta2, eps } = *coefficients;
    unsafe {
        recis_sparse_adamw_step(
            storage, rows, capacity, count, gradients, alpha, decay, beta1, beta2, eps, STREAM,
        )
    }
}

fn steps(len: usize, bound: usize, dim: usize, count: Option<u32>) {
    let what = format!("{len} rows of {bound}, dim {dim}, count {count:?}");
    // The second moments are not negative.
    let mut values: Vec<f32> = tame_floats(1, bound * dim * 3);
    values.chunks_exact_mut(dim).skip(2).step_by(3).flatten().for_each(|v| *v = v.abs() * 0.01);
    let rows = different_rows(len, bound);
    let there = count.map_or(rows.len(), |count| rows.len().min(count as usize));
    let (memory, device_rows) = (Guarded::new(&values), Guarded::new(&rows));
    let device_count = Guarded::new(&[count.unwrap_or(0)]);
    let count = if count.is_some() { device_count.ptr() } else { std::ptr::null_mut() };
    let storage = storage(&memory, bound, dim, 3);
    let inside = within(&rows[..there], bound);
    let mut powers = [1.0f32; 2];
    for step in 0..3 {
        let [power1, power2] = &mut powers;
        let betas = [0.9, 0.999];
        let coefficients =
            Coefficients::advance([power1, power2], 0.01, betas, 1e-8, Decay::WithoutLr(0.001));
        let gradients = tame_floats(2 + step, rows.len() * dim);
        for_each_row(&mut values, Layout { dim, slots: 3 }, &inside, |row, i| {
            cpu::sparse_adamw::update(row, &gradients[i * dim..][..dim], &coefficients);
        });
        let gradients = Guarded::new(&gradients);
        let capacity = rows.len() as i64;
        ok(launch(&storage, device_rows.ptr(), capacity, count, gradients.ptr(), &coefficients));
        assert_close(&memory.to_vec(), &values, 1.0, &what);
    }
}

#[test]
fn step() {
    for dim in [1, 3, 7, 8, 16, 17, 64, 128, 132] {
        for len in [0, 1, 2, 31, 33, 400] {
            steps(len, 500, dim, None);
        }
        steps(40, 50, dim, Some(23));
        steps(40, 50, dim, Some(0));
        steps(9, 10, dim, Some(u32::MAX));
    }
    // More rows than a grid has groups of lanes.
    steps(132 * 16 * 256 / 4 + 77, 150_001, 16, None);
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let memory = Guarded::new(&[7.0f32; 24]);
    let (rows, gradients) = (Guarded::new(&[0u32, 1]), Guarded::new(&[9.0f32; 8]));
    let (r, g, null) = (rows.ptr().cast_const(), gradients.ptr().cast_const(), std::ptr::null());
    let coefficients = Coefficients { alpha: -0.1, decay: 1.0, beta1: 0.9, beta2: 0.99, eps: 1e-8 };
    let good = storage(&memory, 2, 4, 3);
    let refuse = |storage: *const recis_rows, rows, capacity, gradients, what: &str| {
        let status = launch(storage, rows, capacity, null, gradients, &coefficients);
        refused(status, &format!("sparse_adamw.step: {what}"));
    };
    refuse(std::ptr::null(), r, 2, g, "storage is null");
    refuse(&storage(&memory, 2, 4, 2), r, 2, g, "stride is not 3 dim");
    refuse(&recis_rows { dim: 0, ..good }, r, 2, g, "dim is below 1");
    refuse(&good, null, 2, g, "rows is null");
    refuse(&good, r, -1, g, "rows has a negative size");
    refuse(&good, r, 2, std::ptr::null(), "gradients is null");
    refuse(&good, r, 2, gradients.misaligned(), "gradients is not aligned to 16 bytes");
    assert_eq!(memory.to_vec(), [7.0; 24]);
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    steps(9, 10, 16, None);
}
