use recis::ffi::recis_gradients;
use recis::ffi::simt::{recis_merge_gradients_forward, recis_merge_gradients_workspace_size};
use recis::ops::cpu;

use crate::common::*;
use crate::rows::different_rows;

/// One list of gradients, and how much of it counts.
struct List {
    rows: Vec<u32>,
    values: Vec<f32>,
    count: Option<u32>,
}

fn list(seed: u64, len: usize, bound: usize, dim: usize, count: Option<u32>) -> List {
    // Rows out of bounds are rows like others here: the operation knows no bound.
    let rows = different_rows(len, bound);
    List { values: tame_floats(seed, rows.len() * dim), rows, count }
}

fn run(lists: &[List], dim: usize, steps: usize) {
    let capacities: Vec<usize> = lists.iter().map(|list| list.rows.len()).collect();
    let what = format!("dim {dim}, lists of {capacities:?}, {steps} steps");
    let used: Vec<_> = (lists.iter())
        .map(|list| {
            let there = list.count.map_or(list.rows.len(), |count| list.rows.len().min(count as usize));
            (&list.rows[..there], &list.values[..there * dim])
        })
        .collect();
    let (rows, values) = cpu::merge_gradients::forward(&used, dim, steps);

    let device: Vec<_> = (lists.iter())
        .map(|list| {
            let count = list.count.map(|count| Guarded::new(&[count]));
            (Guarded::new(&list.rows), Guarded::new(&list.values), count)
        })
        .collect();
    let raw: Vec<recis_gradients> = (device.iter().zip(&capacities))
        .map(|((rows, values, count), capacity)| recis_gradients {
            rows: rows.ptr(),
            values: values.ptr(),
            count: count.as_ref().map_or(std::ptr::null(), |count| count.ptr()),
            capacity: *capacity as i64,
        })
        .collect();
    let total: usize = capacities.iter().sum();
    let mut bytes = 0;
    ok(unsafe { recis_merge_gradients_workspace_size(total as i64, &mut bytes) });
    let workspace = Guarded::new(&vec![0xa5u8; bytes]);
    let (out_rows, out_values) = (Guarded::new(&vec![7u32; total]), Guarded::new(&vec![7f32; total * dim]));
    let count = Guarded::new(&[7u32]);
    ok(unsafe {
        recis_merge_gradients_forward(
            raw.as_ptr(),
            raw.len() as i64,
            dim as i64,
            steps as f32,
            out_rows.ptr(),
            out_values.ptr(),
            count.ptr(),
            workspace.ptr().cast(),
            bytes,
            STREAM,
        )
    });
    assert_eq!(count.to_vec(), [rows.len() as u32], "{what}");
    let mut expected = rows.clone();
    expected.resize(total, 7);
    assert_eq!(out_rows.to_vec(), expected, "{what}");
    // The same sums in the same order.
    let mut expected = values;
    expected.resize(total * dim, 7.0);
    assert_same(&out_values.to_vec(), &expected, &what);
}

#[test]
fn forward() {
    run(&[], 4, 1);
    for dim in [1, 3, 7, 8, 16, 17, 64, 128, 132] {
        run(&[list(1, 0, 10, dim, None), list(2, 0, 10, dim, None)], dim, 1);
        run(&[list(1, 1, 1, dim, None)], dim, 3);
        run(&[list(1, 100, 150, dim, None)], dim, 1);
        let lists = [
            list(1, 90, 100, dim, None),
            list(2, 0, 1, dim, None),
            list(3, 40, 41, dim, Some(17)),
            list(4, 90, 100, dim, Some(u32::MAX)),
            list(5, 30, 100, dim, Some(0)),
            list(6, 100, 100, dim, None),
        ];
        run(&lists, dim, 3);
        // Nothing but what is passed over.
        run(&[List { rows: vec![u32::MAX; 5], values: vec![1.0; 5 * dim], count: None }], dim, 1);
    }
    let lists: Vec<List> = (0..64).map(|i| list(i, 20 + i as usize, 84, 4, None)).collect();
    run(&lists, 4, 64);
    // More rows than a grid has groups of lanes.
    run(&[list(1, 100_000, 100_003, 16, None), list(2, 50_000, 100_003, 16, None)], 16, 2);
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let (rows, values) = (Guarded::new(&[0u32, 1]), Guarded::new(&[9.0f32; 8]));
    let (out_rows, out_values, count) =
        (Guarded::new(&[7u32; 2]), Guarded::new(&[7f32; 8]), Guarded::new(&[7u32]));
    let good =
        recis_gradients { rows: rows.ptr(), values: values.ptr(), count: std::ptr::null(), capacity: 2 };
    let mut bytes = 0;
    ok(unsafe { recis_merge_gradients_workspace_size(2, &mut bytes) });
    let size = |total, bytes, what: &str| {
        let status = unsafe { recis_merge_gradients_workspace_size(total, bytes) };
        refused(status, &format!("merge_gradients.workspace_size: {what}"));
    };
    size(-1, &raw mut bytes, "total is negative or too large");
    size(1 << 31, &raw mut bytes, "total is negative or too large");
    size(2, std::ptr::null_mut(), "bytes is null");
    let workspace = Guarded::new(&vec![0u8; bytes]);
    let merge = |lists: *const recis_gradients, len, dim, steps, r, v, c, w: *mut u8, bytes| unsafe {
        recis_merge_gradients_forward(lists, len, dim, steps, r, v, c, w.cast(), bytes, STREAM)
    };
    let (r, v, c, w) = (out_rows.ptr(), out_values.ptr(), count.ptr(), workspace.ptr());
    let refuse = |status, what: &str| refused(status, &format!("merge_gradients.forward: {what}"));
    let (lists, null) = (&raw const good, std::ptr::null_mut());
    refuse(merge(std::ptr::null(), 1, 4, 1.0, r, v, c, w, bytes), "lists is null");
    refuse(merge(lists, -1, 4, 1.0, r, v, c, w, bytes), "list_count is not in 0..64");
    refuse(merge(lists, 65, 4, 1.0, r, v, c, w, bytes), "list_count is not in 0..64");
    refuse(merge(lists, 1, 0, 1.0, r, v, c, w, bytes), "dim is below 1");
    refuse(merge(lists, 1, 4, 0.0, r, v, c, w, bytes), "steps is not above 0");
    refuse(merge(lists, 1, 4, 1.0, std::ptr::null_mut(), v, c, w, bytes), "rows is null");
    refuse(merge(lists, 1, 4, 1.0, r, null, c, w, bytes), "values is null");
    refuse(merge(lists, 1, 4, 1.0, r, v, std::ptr::null_mut(), w, bytes), "count is null");
    refuse(merge(lists, 1, 4, 1.0, r, v, c, std::ptr::null_mut(), bytes), "workspace is null");
    assert_eq!(merge(lists, 1, 4, 1.0, r, v, c, w, bytes - 1), 2, "{}", last_error());
    let bad = |change: fn(&mut recis_gradients), what: &str| {
        let mut bad = good;
        change(&mut bad);
        refuse(merge(&bad, 1, 4, 1.0, r, v, c, w, bytes), what);
    };
    bad(|l| l.rows = std::ptr::null(), "a list's rows is null");
    bad(|l| l.values = std::ptr::null(), "a list's values is null");
    bad(|l| l.values = l.values.wrapping_byte_add(4), "a list's values is not aligned to 16 bytes");
    bad(|l| l.capacity = -1, "a list's rows has a negative size");
    bad(|l| l.capacity = i64::from(u32::MAX), "the lists' capacity is too large");
    assert_eq!((out_rows.to_vec(), out_values.to_vec(), count.to_vec()), (vec![7; 2], vec![7.0; 8], vec![7]));
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    run(&[list(1, 9, 10, 4, None), list(2, 5, 10, 4, None)], 4, 2);
}
