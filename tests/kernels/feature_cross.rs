use recis::ffi::simt::{recis_feature_cross_forward, recis_feature_cross_workspace_size};
use recis::ffi::{recis_ragged, recis_status};
use recis::ops::cpu::feature_cross as cpu;

use crate::common::*;

/// A column on the host and between guard pages.
struct Column {
    values: Vec<i64>,
    offsets: Vec<i32>,
    weights: Option<Vec<f32>>,
    memory: (Guarded<i64>, Guarded<i32>, Option<Guarded<f32>>),
}

impl Column {
    fn new(lens: &[usize], values: Vec<i64>, weighted: bool) -> Self {
        let mut offsets = vec![0];
        lens.iter().for_each(|&len| offsets.push(offsets[offsets.len() - 1] + len as i32));
        let weights = weighted.then(|| tame_floats(values[..].len() as u64, values.len()));
        let memory =
            (Guarded::new(&values), Guarded::new(&offsets), weights.as_ref().map(|w| Guarded::new(w)));
        Self { values, offsets, weights, memory }
    }

    /// Rows of ids of which there are `distinct` in all, and spare values behind.
    fn random(seed: u64, lens: &[usize], distinct: u64, weighted: bool) -> Self {
        let count = lens.iter().sum::<usize>() + 3;
        let special = [0, -1, -2, i64::MIN, i64::MAX];
        let id = |bits: u64| match (bits % distinct) as usize {
            i if i < special.len() => special[i],
            i => (i as i64 - 100).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64),
        };
        Self::new(lens, bits(seed, count).map(id).collect(), weighted)
    }

    fn raw(&self) -> recis_ragged {
        let (values, offsets, weights) = &self.memory;
        recis_ragged {
            values: values.ptr(),
            offsets: offsets.ptr(),
            weights: weights.as_ref().map_or(std::ptr::null(), |weights| weights.ptr()),
            rows: self.offsets.len() as i64 - 1,
            capacity: self.values.len() as i64,
        }
    }

    fn side(&self) -> cpu::Side<'_> {
        cpu::Side { values: &self.values, offsets: &self.offsets, weights: self.weights.as_deref() }
    }
}

/// Values, offsets, weights and the number of pairs; everything is 7 before.
type Crossed = (Vec<i64>, Vec<i32>, Vec<f32>, i64);

fn cross(x: &recis_ragged, y: &recis_ragged, capacity: usize) -> Crossed {
    let rows = x.rows.min(y.rows);
    let mut bytes = 0;
    ok(unsafe { recis_feature_cross_workspace_size(rows, x.capacity, y.capacity, &mut bytes) });
    let workspace = Guarded::new(&vec![7u8; bytes]);
    let (values, weights) = (Guarded::new(&vec![7i64; capacity]), Guarded::new(&vec![7.0f32; capacity]));
    let (offsets, pairs) = (Guarded::new(&vec![7i32; rows as usize + 1]), Guarded::new(&[7i64]));
    ok(unsafe {
        recis_feature_cross_forward(
            x,
            y,
            values.ptr(),
            offsets.ptr(),
            weights.ptr(),
            capacity as i64,
            pairs.ptr(),
            workspace.ptr().cast(),
            bytes,
            STREAM,
        )
    });
    (values.to_vec(), offsets.to_vec(), weights.to_vec(), pairs.to_vec()[0])
}

fn check(x: &Column, y: &Column) {
    let ends = cpu::offsets(&x.side(), &y.side());
    let count = ends[ends.len() - 1] as usize;
    let offsets: Vec<i32> = ends.iter().map(|&end| end as i32).collect();
    let (mut values, mut weights) = (vec![0; count], vec![0.0; count]);
    cpu::forward(&x.side(), &y.side(), &offsets, &mut values, &mut weights);
    for capacity in [count, count + 9, count / 2] {
        let what = format!("{} rows, {count} pairs, room for {capacity}", ends.len() - 1);
        let got = cross(&x.raw(), &y.raw(), capacity);
        let written = capacity.min(count);
        assert_eq!(got.3, count as i64, "{what}");
        assert!(got.0[..written] == values[..written], "values of {what}");
        assert_same(&got.2[..written], &weights[..written], &what);
        let cut: Vec<_> = offsets.iter().map(|&end| end.min(written as i32)).collect();
        assert_eq!(got.1, cut, "{what}");
        assert!(got.0[written..].iter().all(|&value| value == 7), "values behind those of {what}");
        assert!(got.2[written..].iter().all(|&weight| weight == 7.0), "weights behind those of {what}");
    }
}

fn lens(seed: u64, rows: usize, most: u64) -> Vec<usize> {
    bits(seed, rows).map(|bits| ((bits >> 9) % (most + 1)) as usize).collect()
}

#[test]
fn forward() {
    // No rows, empty rows, and more rows on either side.
    let column = |lens: &[usize], weighted| Column::random(7, lens, 9, weighted);
    check(&column(&[], true), &column(&[], false));
    check(&column(&[], true), &column(&[1, 2], false));
    check(&column(&[0, 0, 0], false), &column(&[0, 2], true));
    check(&column(&[0, 3, 1, 0], true), &column(&[2, 0, 1], true));
    // One id a row: in one block's sums, and in more rows than those and than a block has threads.
    for rows in [1, 31, 1024, 8200] {
        let ones = vec![1; rows];
        check(&Column::random(1, &ones, 50, true), &Column::random(2, &ones, 1 << 60, false));
    }
    // Rows for a warp, with many equal ids and without.
    for distinct in [1, 6, 40, 1 << 60] {
        let (x, y) = (lens(3, 70, 33), lens(4, 70, 12));
        check(&Column::random(3, &x, distinct, true), &Column::random(4, &y, distinct, true));
    }
    // Lengths around a warp, a tile and two of them.
    let x = [31, 32, 33, 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 2049, 5000];
    let y = [33, 1, 32, 3, 40, 2, 1, 2, 3, 1, 2, 1, 2];
    for distinct in [1, 70, 1 << 60] {
        check(&Column::random(5, &x, distinct, true), &Column::random(6, &y, distinct, true));
        check(&Column::random(6, &y, distinct, false), &Column::random(5, &x, distinct, true));
    }
    // All at once, in any order, several rows a block.
    let mixed: Vec<_> = bits(8, 2300).map(|bits| [0, 1, 1, 1, 1, 2, 5, 40][bits as usize % 8]).collect();
    check(&Column::random(8, &mixed, 30, true), &Column::random(9, &lens(9, 2300, 3), 30, false));
}

#[test]
fn a_column_with_itself_twice_gives_the_same_bits() {
    let column = Column::random(1, &[3, 40, 1, 1100], 60, true);
    check(&column, &column);
    let run = || cross(&column.raw(), &column.raw(), 10_000);
    let ((a, b, c, d), second) = (run(), run());
    assert!((&a, &b, d) == (&second.0, &second.1, second.3));
    assert_same(&second.2, &c, "weights");
}

#[test]
fn offsets_that_make_no_sense_lead_nowhere() {
    let column = Column::random(1, &[600], 40, true);
    let offsets = [0, 500, 100, -5, i32::MAX, 3, i32::MIN, 700, 0, 40, 20, 21];
    let bad = Guarded::new(&offsets);
    let raw = recis_ragged { offsets: bad.ptr(), rows: offsets.len() as i64 - 1, ..column.raw() };
    // Rows that overlap share their part of the workspace.
    unsafe { recis_simt_allow_races(1) };
    cross(&raw, &raw, 5000);
    unsafe { recis_simt_allow_races(0) };
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut::<u8>();
    let column = Column::random(1, &[2, 1], 40, true);
    let good = column.raw();
    let (values, offsets) = (Guarded::new(&[7i64; 8]), Guarded::new(&[7i32; 3]));
    let (weights, pairs) = (Guarded::new(&[7.0f32; 8]), Guarded::new(&[7i64]));
    let mut bytes = 0;
    ok(unsafe { recis_feature_cross_workspace_size(2, good.capacity, good.capacity, &mut bytes) });
    let workspace = Guarded::new(&vec![7u8; bytes]);
    let call = |x: &recis_ragged, y: &recis_ragged, capacity, bytes| unsafe {
        let (values, offsets, weights) = (values.ptr(), offsets.ptr(), weights.ptr());
        let workspace = workspace.ptr().cast();
        recis_feature_cross_forward(
            x,
            y,
            values,
            offsets,
            weights,
            capacity,
            pairs.ptr(),
            workspace,
            bytes,
            STREAM,
        )
    };
    for (bad, what) in [
        (recis_ragged { rows: -1, ..good }, "has a negative number of rows"),
        (recis_ragged { rows: i64::MAX, ..good }, "has too many rows"),
        (recis_ragged { capacity: -1, ..good }, "has a negative size"),
        (recis_ragged { values: null.cast(), ..good }, "is null"),
        (recis_ragged { offsets: null.cast(), ..good }, "is null"),
        (recis_ragged { values: column.memory.0.misaligned(), ..good }, "is not aligned to 16 bytes"),
    ] {
        refused(call(&bad, &good, 8, bytes), &format!("feature_cross.forward: x {what}"));
        refused(call(&good, &bad, 8, bytes), &format!("feature_cross.forward: y {what}"));
    }
    refused(call(&good, &good, -1, bytes), "feature_cross.forward: values has a negative size");
    let status = call(&good, &good, 8, bytes - 1);
    assert_eq!(status, recis_status::RECIS_WORKSPACE_TOO_SMALL.0 as i32);
    let null_outputs = |values, offsets, weights, pairs, what: &str| {
        let workspace = workspace.ptr().cast();
        let status = unsafe {
            recis_feature_cross_forward(
                &good, &good, values, offsets, weights, 8, pairs, workspace, bytes, STREAM,
            )
        };
        refused(status, &format!("feature_cross.forward: {what} is null"));
    };
    let (v, o, w, p) = (values.ptr(), offsets.ptr(), weights.ptr(), pairs.ptr());
    null_outputs(null.cast(), o, w, p, "values");
    null_outputs(v, null.cast(), w, p, "offsets");
    null_outputs(v, o, null.cast(), p, "weights");
    null_outputs(v, o, w, null.cast(), "pairs");
    assert_eq!((values.to_vec(), offsets.to_vec()), (vec![7; 8], vec![7; 3]));
    assert_eq!((weights.to_vec(), pairs.to_vec()), (vec![7.0; 8], vec![7]));
    let size = |rows, x, what: &str| {
        let mut bytes = 0;
        let status = unsafe { recis_feature_cross_workspace_size(rows, x, 0, &mut bytes) };
        refused(status, &format!("feature_cross.workspace_size: {what}"));
    };
    size(-1, 0, "rows are negative or too many");
    size(1, -1, "a capacity is negative");
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    let column = Column::random(1, &[1, 3], 9, true);
    check(&column, &column);
}
