use recis::ffi::simt::{
    recis_truncate_forward, recis_truncate_lists, recis_truncate_lists_workspace_size,
    recis_truncate_workspace_size,
};
use recis::ffi::{recis_ragged, recis_side};
use recis::ops::cpu::modulo::in_place;
use recis::ops::cpu::truncate as cpu;
use recis::ops::truncate::Side;

use crate::common::*;

const SIDES: [(Side, recis_side); 2] =
    [(Side::Left, recis_side::RECIS_LEFT), (Side::Right, recis_side::RECIS_RIGHT)];

fn offsets_of(lens: &[usize]) -> Vec<i32> {
    let ends = lens.iter().scan(0, |end, &len| {
        *end += len as i32;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Lengths below `most`, a fifth of them 0.
fn random_lens(seed: u64, rows: usize, most: usize) -> Vec<usize> {
    bits(seed, rows).map(|bits| if bits % 5 == 0 { 0 } else { (bits >> 8) as usize % most }).collect()
}

/// Values, offsets and weights between guard pages.
struct Ragged {
    values: Guarded<i64>,
    offsets: Guarded<i32>,
    weights: Option<Guarded<f32>>,
}

impl Ragged {
    /// With `spare` values that belong to no row behind the others.
    fn new(offsets: &[i32], spare: usize, weighted: bool) -> Self {
        let count = offsets[offsets.len() - 1] as usize + spare;
        Self {
            values: Guarded::new(&ids(count)),
            offsets: Guarded::new(offsets),
            weights: weighted.then(|| Guarded::new(&tame_floats(3, count))),
        }
    }

    fn raw(&self) -> recis_ragged {
        recis_ragged {
            values: self.values.ptr(),
            offsets: self.offsets.ptr(),
            weights: self.weights.as_ref().map_or(std::ptr::null(), |weights| weights.ptr()),
            rows: self.offsets.to_vec().len() as i64 - 1,
            capacity: self.values.to_vec().len() as i64,
        }
    }
}

/// What a launcher writes: everything is 7 before.
struct Out {
    values: Guarded<i64>,
    offsets: Guarded<i32>,
    weights: Option<Guarded<f32>>,
    workspace: Guarded<u8>,
}

impl Out {
    fn new(capacity: usize, rows: usize, weighted: bool, workspace: usize) -> Self {
        Self {
            values: Guarded::new(&vec![7; capacity]),
            offsets: Guarded::new(&vec![7; rows + 1]),
            weights: weighted.then(|| Guarded::new(&vec![7.0; capacity])),
            workspace: Guarded::new(&vec![7; workspace]),
        }
    }

    fn weights(&self) -> *mut f32 {
        self.weights.as_ref().map_or(std::ptr::null_mut(), Guarded::ptr)
    }

    /// Checks the result, and that what is behind it is untouched.
    fn check(&self, values: &[i64], offsets: &[i32], weights: Option<&[f32]>, what: &str) {
        assert_eq!(self.offsets.to_vec(), offsets, "{what}");
        let (got, count) = (self.values.to_vec(), values.len());
        assert!(got[..count] == *values, "values of {what}");
        assert!(got[count..].iter().all(|&value| value == 7), "values behind those of {what}");
        if let (Some(got), Some(weights)) = (&self.weights, weights) {
            let got = got.to_vec();
            assert_same(&got[..count], weights, what);
            assert!(got[count..].iter().all(|&weight| weight == 7.0), "weights behind those of {what}");
        }
    }
}

fn run(lens: &[usize], keep: i64, spare: usize, weighted: bool) {
    let offsets = offsets_of(lens);
    let column = Ragged::new(&offsets, spare, weighted);
    let raw = column.raw();
    let cut = cpu::offsets(&offsets, keep as usize);
    // As little room as allowed, and more.
    let least = raw.capacity.min(raw.rows.saturating_mul(keep)) as usize;
    for (side, raw_side) in SIDES {
        for (capacity, modulus) in [(least, 0), (least + 5, 7)] {
            let what =
                format!("{} rows, keep {keep}, {side:?}, capacity {capacity}, spare {spare}", lens.len());
            let mut bytes = 0;
            ok(unsafe { recis_truncate_workspace_size(raw.rows, &mut bytes) });
            let out = Out::new(capacity, lens.len(), weighted, bytes);
            let workspace = out.workspace.ptr().cast();
            ok(unsafe {
                recis_truncate_forward(
                    &raw,
                    keep,
                    raw_side,
                    modulus,
                    out.values.ptr(),
                    out.offsets.ptr(),
                    out.weights(),
                    capacity as i64,
                    workspace,
                    bytes,
                    STREAM,
                )
            });
            let mut values = cpu::copy(&column.values.to_vec(), &offsets, &cut, side);
            if modulus > 0 {
                in_place(&mut values, modulus);
            }
            let weights = column.weights.as_ref().map(|w| cpu::copy(&w.to_vec(), &offsets, &cut, side));
            out.check(&values, &cut, weights.as_deref(), &what);
        }
    }
}

#[test]
fn forward() {
    // Empty, and around the limit.
    for lens in [&[][..], &[0], &[0, 0, 0], &[1], &[4, 5, 6, 0, 1, 5], &[5; 70]] {
        for keep in [0, 1, 4, 5, 6, i64::MAX] {
            run(lens, keep, 0, true);
            run(lens, keep, 9, false);
        }
    }
    // Rows that a chunk of the result lies in, aligned or not.
    for lens in [&[1000, 1, 2000, 0, 513, 512, 700][..], &[4000], &[1, 4000, 3, 4000, 2, 4001]] {
        for keep in [255, 256, 999, 1000, 3000] {
            run(lens, keep, 3, true);
        }
    }
    // Many rows in one block's sums, and more than those.
    run(&random_lens(1, 1024, 2000), 1000, 0, false);
    run(&random_lens(2, 1025, 30), 20, 1, true);
    run(&random_lens(3, 8192, 9), 5, 2, false);
    run(&random_lens(4, 8193, 9), 5, 0, true);
}

#[test]
fn offsets_that_make_no_sense_lead_nowhere() {
    let offsets = [0, 900, 100, -5, i32::MAX, 3, i32::MIN, 700, 0, 1000, 1000];
    let column = Ragged::new(&[0, 600], 0, true);
    let bad = Guarded::new(&offsets);
    let raw = recis_ragged { offsets: bad.ptr(), rows: offsets.len() as i64 - 1, ..column.raw() };
    for ((_, side), modulus) in SIDES.into_iter().zip([0, 10]) {
        let out = Out::new(600, 10, true, 0);
        let (values, ends, weights) = (out.values.ptr(), out.offsets.ptr(), out.weights());
        ok(unsafe {
            let null = std::ptr::null_mut();
            recis_truncate_forward(&raw, i64::MAX, side, modulus, values, ends, weights, 600, null, 0, STREAM)
        });
        let out = Out::new(600, 20, true, 0);
        let (values, ends, weights) = (out.values.ptr(), out.offsets.ptr(), out.weights());
        ok(unsafe {
            let (rows, null) = (bad.ptr(), std::ptr::null_mut());
            recis_truncate_lists(&raw, rows, 10, 2, side, values, ends, weights, 600, null, 0, STREAM)
        });
    }
}

fn run_lists(list_lens: &[usize], row_lens: &[usize], keep: usize, weighted: bool) {
    let (offsets, row_offsets) = (offsets_of(list_lens), offsets_of(row_lens));
    let lists = Ragged::new(&offsets, 2, weighted);
    let (raw, rows) = (lists.raw(), Guarded::new(&row_offsets));
    let (row_count, capacity) = (row_lens.len(), raw.capacity as usize);
    for (side, raw_side) in SIDES {
        let what = format!("{row_count} rows of {} lists, keep {keep}, {side:?}", list_lens.len());
        let mut bytes = 0;
        ok(unsafe { recis_truncate_lists_workspace_size(row_count as i64, keep as i64, &mut bytes) });
        let out = Out::new(capacity, row_count * keep, weighted, bytes);
        ok(unsafe {
            recis_truncate_lists(
                &raw,
                rows.ptr(),
                row_count as i64,
                keep as i64,
                raw_side,
                out.values.ptr(),
                out.offsets.ptr(),
                out.weights(),
                capacity as i64,
                out.workspace.ptr().cast(),
                bytes,
                STREAM,
            )
        });
        let kept = cpu::lists(&offsets, &row_offsets, keep, side);
        let values = cpu::copy_lists(&lists.values.to_vec(), &kept);
        let weights = lists.weights.as_ref().map(|w| cpu::copy_lists(&w.to_vec(), &kept));
        out.check(&values, &cpu::lists_offsets(&kept), weights.as_deref(), &what);
    }
}

#[test]
fn lists() {
    run_lists(&[], &[], 3, true);
    run_lists(&[], &[0, 0], 3, false);
    run_lists(&[5], &[1], 0, true);
    for keep in [1, 2, 3, 4] {
        run_lists(&[1, 0, 2, 3, 1, 1, 0], &[3, 0, 1, 2], keep, true);
        // One list belongs to no row, and rows of empty lists.
        run_lists(&[0, 0, 0, 9], &[2, 1], keep, false);
    }
    for keep in [2, 10, 60] {
        let row_lens = random_lens(5, 300, 20);
        let list_lens = random_lens(6, row_lens.iter().sum(), if keep == 2 { 700 } else { 12 });
        run_lists(&list_lens, &row_lens, keep, keep != 10);
    }
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut();
    let column = Ragged::new(&[0, 2, 3], 0, true);
    let out = Out::new(4, 8, true, 0);
    let (values, offsets, weights) = (out.values.ptr(), out.offsets.ptr(), out.weights());
    let good = column.raw();
    let left = recis_side::RECIS_LEFT;
    let forward = |column: &recis_ragged, keep, side, values, offsets, weights, capacity, what: &str| {
        let status = unsafe {
            recis_truncate_forward(column, keep, side, 0, values, offsets, weights, capacity, null, 0, STREAM)
        };
        refused(status, &format!("truncate.forward: {what}"));
    };
    let lists = |lists: &recis_ragged, row_offsets, rows, keep, capacity, what: &str| {
        let status = unsafe {
            let stream = STREAM;
            recis_truncate_lists(
                lists,
                row_offsets,
                rows,
                keep,
                left,
                values,
                offsets,
                weights,
                capacity,
                null,
                0,
                stream,
            )
        };
        refused(status, &format!("truncate.lists: {what}"));
    };
    for (bad, what) in [
        (recis_ragged { rows: -1, ..good }, "rows is negative"),
        (recis_ragged { rows: 1 << 31, ..good }, "rows is too large"),
        (recis_ragged { capacity: -1, ..good }, "values has a negative size"),
        (recis_ragged { values: null.cast(), ..good }, "values is null"),
        (recis_ragged { offsets: null.cast(), ..good }, "offsets is null"),
        (recis_ragged { weights: null.cast(), ..good }, "weights is null, but out_weights is not"),
        (
            recis_ragged { weights: column.weights.as_ref().unwrap().misaligned(), ..good },
            "weights is not aligned to 16 bytes",
        ),
    ] {
        forward(&bad, 2, left, values, offsets, weights, 4, what);
        lists(&bad, good.offsets, 2, 2, 4, what);
    }
    let no_weights = std::ptr::null_mut();
    forward(&good, -1, left, values, offsets, weights, 4, "keep is negative");
    forward(&good, 1, recis_side(2), values, offsets, weights, 4, "side is unknown");
    forward(&good, 1, left, std::ptr::null_mut(), offsets, weights, 4, "out_values is null");
    forward(&good, 1, left, values, std::ptr::null_mut(), weights, 4, "out_offsets is null");
    forward(&good, 1, left, values, offsets, no_weights, 4, "out_weights is null");
    forward(&good, 1, left, values, offsets, weights, 1, "out_capacity is too small");
    forward(&good, 9, left, values, offsets, weights, 2, "out_capacity is too small");
    lists(&good, good.offsets, -1, 2, 4, "rows is negative");
    lists(&good, good.offsets, 2, -1, 4, "keep is negative");
    lists(&good, good.offsets, 2, 1 << 30, 4, "rows is too large");
    lists(&good, std::ptr::null(), 2, 2, 4, "row_offsets is null");
    lists(&good, good.offsets, 2, 2, 2, "out_capacity is too small");
    let status = unsafe {
        recis_truncate_forward(null.cast(), 1, left, 0, values, offsets, weights, 4, null, 0, STREAM)
    };
    refused(status, "truncate.forward: column is null");

    // More rows than one block sums need scratch memory.
    let mut bytes = 0;
    ok(unsafe { recis_truncate_workspace_size(10_000, &mut bytes) });
    let many = Ragged::new(&[0; 10_001], 0, false);
    let raw = many.raw();
    let status = unsafe {
        recis_truncate_forward(&raw, 1, left, 0, null.cast(), offsets, no_weights, 0, null, bytes - 1, STREAM)
    };
    assert_eq!(status, recis::ffi::recis_status::RECIS_WORKSPACE_TOO_SMALL.0 as i32);
    out.check(&[], &[7; 9], Some(&[]), "nothing");
    refused(
        unsafe { recis_truncate_workspace_size(-1, &mut bytes) },
        "truncate.workspace_size: rows is negative",
    );
    refused(
        unsafe { recis_truncate_lists_workspace_size(1, 1, std::ptr::null_mut()) },
        "truncate.lists_workspace_size: bytes is null",
    );
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    run(&[3, 1], 2, 0, true);
    run_lists(&[1, 2], &[2], 1, true);
}
