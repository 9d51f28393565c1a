use recis::ffi::simt::{recis_rows_gather, recis_rows_initialize, recis_rows_scatter};
use recis::ffi::{RECIS_NO_ROW, recis_distribution, recis_initializer, recis_rows};
use recis::ops::cpu::initialize::{RowRng, normal_cdf};
use recis::ops::cpu::rows::{Layout, gather, scatter};
use recis::ops::initialize::Initializer;

use crate::common::*;

/// Storage of `bound` rows.
pub fn storage(memory: &Guarded<f32>, bound: usize, dim: usize, slots: usize) -> recis_rows {
    let [bound, dim, stride] = [bound, dim, dim * slots].map(|size| size as i64);
    recis_rows { storage: memory.ptr(), bound, dim, stride }
}

/// Rows that differ, in no order; every seventh is none, and the first ones are out of bounds.
pub fn different_rows(len: usize, bound: usize) -> Vec<u32> {
    let coprime = |step: &usize| {
        let (mut a, mut b) = (*step, bound);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let step = (bound / 2 + 1..).find(coprime).unwrap();
    let mut rows: Vec<u32> = (0..len.min(bound)).map(|i| ((i * step + 3) % bound) as u32).collect();
    rows.iter_mut().skip(5).step_by(7).for_each(|row| *row = RECIS_NO_ROW);
    rows.iter_mut().zip([bound as u32, RECIS_NO_ROW - 1]).for_each(|(row, outside)| *row = outside);
    rows
}

/// What the CPU form passes over: it knows no bound.
pub fn within(rows: &[u32], bound: usize) -> Vec<u32> {
    rows.iter().map(|&row| if (row as usize) < bound { row } else { RECIS_NO_ROW }).collect()
}

fn copies(len: usize, bound: usize, dim: usize, slots: usize, count: Option<u32>) {
    let what = format!("{len} rows of {bound}, dim {dim}, {slots} slots, count {count:?}");
    let layout = Layout { dim, slots };
    let mut values = tame_floats(1, bound * dim * slots);
    let rows = different_rows(len, bound);
    let there = count.map_or(rows.len(), |count| rows.len().min(count as usize));
    let memory = Guarded::new(&values);
    let (device_rows, device_count) = (Guarded::new(&rows), Guarded::new(&[count.unwrap_or(0)]));
    let count = if count.is_some() { device_count.ptr() } else { std::ptr::null_mut() };
    let capacity = rows.len() as i64;
    let storage = storage(&memory, bound, dim, slots);
    let rows = within(&rows[..there], bound);
    for slot in 0..slots {
        let mut expected = vec![7.0; device_rows.to_vec().len() * dim];
        gather(&values, layout, slot, &rows, &mut expected[..there * dim]);
        let out = Guarded::new(&vec![7.0f32; expected.len()]);
        let r = device_rows.ptr();
        ok(unsafe { recis_rows_gather(&storage, slot as i64, r, capacity, count, out.ptr(), STREAM) });
        assert_same(&out.to_vec(), &expected, &what);

        let new = tame_floats(2 + slot as u64, expected.len());
        scatter(&mut values, layout, slot, &rows, &new[..there * dim]);
        let new = Guarded::new(&new);
        ok(unsafe { recis_rows_scatter(&storage, slot as i64, r, capacity, count, new.ptr(), STREAM) });
        assert_same(&memory.to_vec(), &values, &what);
    }
}

#[test]
fn gathered_and_scattered() {
    for dim in [1, 3, 7, 8, 16, 17, 64, 128, 132] {
        for len in [0, 1, 2, 31, 33, 500] {
            copies(len, 1000, dim, 3, None);
        }
        copies(40, 40, dim, 1, Some(23));
        copies(40, 50, dim, 2, Some(0));
        copies(9, 10, dim, 3, Some(u32::MAX));
    }
    // More rows than a grid has groups of lanes.
    copies(132 * 16 * 256 / 4 + 77, 150_001, 16, 1, None);
}

/// Initial values by the CPU form, and by the launcher.
fn initialized(initializer: &Initializer, raw: recis_initializer, dim: usize, slots: usize, spare: usize) {
    let what = format!("{initializer}, dim {dim}, {slots} slots");
    let (bound, tables) = (300, 4);
    let keys: Vec<u64> = bits(7, tables).collect();
    let ids = ids(200);
    // The second table is empty; places behind the last are not read.
    let table_offsets = [0u32, 50, 50, 120, 180];
    let rows = different_rows(200, bound);
    let mut places: Vec<u32> = (0..180).filter(|i| i % 3 != 1).rev().collect();
    let count = places.len() as u32;
    places.extend(vec![0; spare]);
    let start = tame_floats(1, bound * dim * slots);
    let mut expected = start.clone();
    for &place in &places[..count as usize] {
        let (place, row) = (place as usize, rows[place as usize] as usize);
        if row < bound {
            let table = table_offsets.iter().rposition(|&first| first as usize <= place).unwrap();
            let to = &mut expected[row * dim * slots..][..dim * slots];
            to.fill(0.0);
            RowRng::new(keys[table], ids[place]).fill(&mut to[..dim], |q| initializer.quantile(q));
        }
    }
    let memory = Guarded::new(&start);
    let storage = storage(&memory, bound, dim, slots);
    let (keys, ids, rows) = (Guarded::new(&keys), Guarded::new(&ids), Guarded::new(&rows));
    let (table_offsets, places) = (Guarded::new(&table_offsets), Guarded::new(&places));
    let device_count = Guarded::new(&[count]);
    let counted = if spare > 0 { device_count.ptr() } else { std::ptr::null_mut() };
    ok(unsafe {
        recis_rows_initialize(
            &storage,
            &raw,
            keys.ptr(),
            ids.ptr(),
            rows.ptr(),
            200,
            table_offsets.ptr(),
            tables as i64,
            places.ptr(),
            i64::from(count) + spare as i64,
            counted,
            STREAM,
        )
    });
    assert_same(&memory.to_vec(), &expected, &what);
}

/// The distributions, and what the launcher takes of them.
fn initializers() -> Vec<(Initializer, recis_initializer)> {
    let none = recis_initializer {
        distribution: recis_distribution::RECIS_CONSTANT,
        a: 0.0,
        b: 0.0,
        lower_q: 0.0,
        upper_q: 1.0,
        lower: 0.0,
        upper: 0.0,
    };
    let cut = |mean: f64, std: f64, lower: f64, upper: f64| {
        let [lower_q, upper_q] = [lower, upper].map(|bound| normal_cdf((bound - mean) / std));
        let distribution = recis_distribution::RECIS_TRUNC_NORMAL;
        let raw = recis_initializer { distribution, a: mean, b: std, lower_q, upper_q, lower, upper };
        (Initializer::TruncNormal { mean, std, a: lower, b: upper }, raw)
    };
    let uniform = recis_initializer { distribution: recis_distribution::RECIS_UNIFORM, ..none };
    let normal = recis_initializer { distribution: recis_distribution::RECIS_NORMAL, ..none };
    vec![
        (Initializer::Constant(0.1), recis_initializer { a: 0.1, ..none }),
        (Initializer::Uniform { a: -0.3, b: 1.1 }, recis_initializer { a: -0.3, b: 1.1, ..uniform }),
        (Initializer::Normal { mean: 0.7, std: 1.3 }, recis_initializer { a: 0.7, b: 1.3, ..normal }),
        cut(0.0, 0.01, -2.0, 2.0),
        // Far out in a tail.
        cut(0.5, 1.0, 5.0, 9.0),
        cut(-0.1, 2.0, -8.0, -3.5),
    ]
}

#[test]
fn initial_values_have_the_cpus_bits() {
    for (initializer, raw) in initializers() {
        for dim in [1, 3, 7, 8, 16, 17, 64, 128, 132] {
            initialized(&initializer, raw, dim, 3, dim % 2 * 5);
        }
        initialized(&initializer, raw, 8, 1, 0);
        initialized(&initializer, raw, 5, 2, 1);
    }
}

/// Enough words that every branch of the quantile is taken: by the words themselves, 1e-5 are beyond
/// the middle polynomials.
#[test]
fn many_initial_values_have_the_cpus_bits() {
    let (initializer, raw) = initializers().swap_remove(2);
    let (dim, len) = (128, 2000);
    let (ids, rows): (Vec<i64>, Vec<u32>) = (ids(len), (0..len as u32).collect());
    let mut expected = vec![0.0; len * dim];
    for (out, id) in expected.chunks_exact_mut(dim).zip(&ids) {
        RowRng::new(3, *id).fill(out, |q| initializer.quantile(q));
    }
    let memory = Guarded::new(&vec![7.0f32; len * dim]);
    let storage = storage(&memory, len, dim, 1);
    let (keys, ids, rows) = (Guarded::new(&[3u64]), Guarded::new(&ids), Guarded::new(&rows));
    let table_offsets = Guarded::new(&[0, len as u32]);
    ok(unsafe {
        recis_rows_initialize(
            &storage,
            &raw,
            keys.ptr(),
            ids.ptr(),
            rows.ptr(),
            len as i64,
            table_offsets.ptr(),
            1,
            rows.ptr(),
            len as i64,
            std::ptr::null(),
            STREAM,
        )
    });
    assert_same(&memory.to_vec(), &expected, "normal");
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let memory = Guarded::new(&[7.0f32; 24]);
    let (rows, values) = (Guarded::new(&[0u32, 1]), Guarded::new(&[9.0f32; 8]));
    let good = storage(&memory, 2, 4, 3);
    let null = std::ptr::null();
    let both = |storage: *const recis_rows, slot, rows, capacity, count, what: &str| {
        let v = values.ptr();
        let status = unsafe { recis_rows_gather(storage, slot, rows, capacity, count, v, STREAM) };
        refused(status, &format!("rows.gather: {what}"));
        let status = unsafe { recis_rows_scatter(storage, slot, rows, capacity, count, v, STREAM) };
        refused(status, &format!("rows.scatter: {what}"));
    };
    let r = rows.ptr().cast_const();
    both(std::ptr::null(), 0, r, 2, null, "storage is null");
    let bad = |change: fn(&mut recis_rows), what: &str| {
        let mut bad = good;
        change(&mut bad);
        both(&bad, 0, r, 2, null, what);
    };
    bad(|s| s.storage = std::ptr::null_mut(), "storage is null");
    bad(|s| s.storage = s.storage.wrapping_byte_add(4), "storage is not aligned to 16 bytes");
    bad(|s| s.bound = -1, "bound is negative or above RECIS_NO_ROW");
    bad(|s| s.bound = 1 << 32, "bound is negative or above RECIS_NO_ROW");
    bad(|s| s.dim = 0, "dim is below 1");
    bad(|s| s.dim = 5, "stride is not a multiple of dim");
    bad(|s| s.stride = 0, "stride is not a multiple of dim");
    both(&good, -1, r, 2, null, "slot is not one of the row's");
    both(&good, 3, r, 2, null, "slot is not one of the row's");
    both(&good, 0, null, 2, null, "rows is null");
    both(&good, 0, r, -1, null, "rows has a negative size");
    both(&good, 0, r, 2, rows.misaligned(), "count is not aligned to 16 bytes");
    let status = unsafe { recis_rows_gather(&good, 0, r, 2, null, std::ptr::null_mut(), STREAM) };
    refused(status, "rows.gather: out is null");
    let status = unsafe { recis_rows_scatter(&good, 0, r, 2, null, std::ptr::null(), STREAM) };
    refused(status, "rows.scatter: values is null");

    let (_, raw) = initializers()[0];
    let (keys, ids) = (Guarded::new(&[1u64]), Guarded::new(&[5i64, 6]));
    let table_offsets = Guarded::new(&[0u32, 2]);
    let (k, i, t) = (keys.ptr().cast_const(), ids.ptr().cast_const(), table_offsets.ptr().cast_const());
    let initialize = |initializer: *const recis_initializer, k, i, t, tables, places, what: &str| {
        let status = unsafe {
            recis_rows_initialize(&good, initializer, k, i, r, 2, t, tables, places, 2, null, STREAM)
        };
        refused(status, &format!("rows.initialize: {what}"));
    };
    initialize(std::ptr::null(), k, i, t, 1, r, "initializer is null");
    initialize(&raw, std::ptr::null(), i, t, 1, r, "keys is null");
    initialize(&raw, k, std::ptr::null(), t, 1, r, "ids is null");
    initialize(&raw, k, i, null, 1, r, "table_offsets is null");
    initialize(&raw, k, i, t, 0, r, "tables is below 1");
    initialize(&raw, k, i, t, 1, null, "places is null");
    let unknown = recis_initializer { distribution: recis_distribution(4), ..raw };
    initialize(&unknown, k, i, t, 1, r, "distribution is unknown");
    assert_eq!((memory.to_vec(), values.to_vec()), (vec![7.0; 24], vec![9.0; 8]));
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    copies(9, 10, 16, 3, None);
    let (initializer, raw) = initializers().swap_remove(0);
    initialized(&initializer, raw, 8, 3, 0);
}
