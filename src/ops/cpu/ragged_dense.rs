//! Ragged columns as dense ones and back.

use crate::ops::ragged_dense::Side;

/// Rows, and the length of the longest list of each level.
pub fn shape(offsets: &[&[i32]]) -> Vec<usize> {
    let longest = |offsets: &&[i32]| offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
    let rows = offsets[0].len() - 1;
    std::iter::once(rows).chain(offsets.iter().map(|level| longest(level) as usize)).collect()
}

/// The values in rows of `shape`, `default` where there are none.
pub fn to_dense<T: Copy>(values: &[T], offsets: &[&[i32]], shape: &[usize], default: T) -> Vec<T> {
    let mut out = vec![default; shape.iter().product()];
    for row in 0..shape[0] {
        let width = out.len() / shape[0];
        copy_list(values, offsets, &shape[1..], row, &mut out[row * width..][..width]);
    }
    out
}

/// Copies a list of the first of these levels, and the lists in it.
fn copy_list<T: Copy>(values: &[T], offsets: &[&[i32]], shape: &[usize], list: usize, out: &mut [T]) {
    let (first, end) = (offsets[0][list] as usize, offsets[0][list + 1] as usize);
    if offsets.len() == 1 {
        out[..end - first].copy_from_slice(&values[first..end]);
        return;
    }
    let width = shape[1..].iter().product();
    for (i, inner) in (first..end).enumerate() {
        copy_list(values, &offsets[1..], &shape[1..], inner, &mut out[i * width..][..width]);
    }
}

/// The values of every innermost list up to the last valid one, and the offsets of all levels.
pub fn from_dense<T: Copy + PartialEq>(
    values: &[T],
    shape: &[usize],
    invalid: Option<T>,
) -> (Vec<T>, Vec<Vec<i32>>) {
    let (&width, outer) = shape.split_last().unwrap_or((&0, &[]));
    let mut lists = outer.first().copied().unwrap_or(0);
    let mut offsets = Vec::new();
    for &dim in outer.iter().skip(1) {
        offsets.push((0..=lists).map(|list| (list * dim) as i32).collect());
        lists *= dim;
    }
    let (mut kept, mut ends) = (Vec::new(), vec![0]);
    for list in 0..lists {
        let list = &values[list * width..][..width];
        let len = list.iter().rposition(|&value| Some(value) != invalid).map_or(0, |last| last + 1);
        kept.extend_from_slice(&list[..len]);
        ends.push(kept.len() as i32);
    }
    offsets.push(ends);
    (kept, offsets)
}

/// How rows were cut or padded to one length.
pub struct Cutoff<'a> {
    /// Where each row began and ended before.
    pub offsets: &'a [i32],
    /// How many values each row has lost.
    pub drop_num: &'a [i32],
    /// On which side.
    pub drop_side: Side,
    /// How many values each row was padded with.
    pub pad_num: &'a [i32],
    /// On which side.
    pub pad_side: Side,
}

/// Where the values at `topk` positions are, and how many of them each row has found, as offsets.
pub fn topk_index(cutoff: &Cutoff<'_>, topk: &[i64], k: usize, indicator: &[i64]) -> (Vec<i64>, Vec<i32>) {
    let on_left =
        |side, counts: &[i32], row: usize| if side == Side::Left { i64::from(counts[row]) } else { 0 };
    let (drop_num, pad_num, offsets) = (cutoff.drop_num, cutoff.pad_num, cutoff.offsets);
    let (mut places, mut ends) = (Vec::new(), vec![0]);
    for (positions, &row) in topk.chunks_exact(k).zip(indicator) {
        let row = row as usize;
        let first = i64::from(offsets[row]) + on_left(cutoff.drop_side, drop_num, row);
        let len = i64::from(offsets[row + 1] - offsets[row] - drop_num[row]);
        let padding = on_left(cutoff.pad_side, pad_num, row);
        let found = positions.iter().filter(|&&i| i >= padding && i - padding < len);
        places.extend(found.map(|&i| first + i - padding));
        ends.push(places.len() as i32);
    }
    (places, ends)
}
