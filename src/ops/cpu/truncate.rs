//! Rows cut to a length.

use crate::ops::truncate::Side;

/// Where each row begins and ends when none has more than `keep` values.
pub fn offsets(offsets: &[i32], keep: usize) -> Vec<i32> {
    let keep = i32::try_from(keep).unwrap_or(i32::MAX);
    let mut end = 0;
    let cut = offsets.windows(2).map(|ends| {
        end += (ends[1] - ends[0]).min(keep);
        end
    });
    std::iter::once(0).chain(cut).collect()
}

/// The kept values of every row.
pub fn copy<T: Copy>(values: &[T], from: &[i32], to: &[i32], side: Side) -> Vec<T> {
    let mut out = Vec::with_capacity(to[to.len() - 1] as usize);
    for (from, to) in from.windows(2).zip(to.windows(2)) {
        let kept = to[1] - to[0];
        let first = match side {
            Side::Left => from[1] - kept,
            Side::Right => from[0],
        };
        out.extend_from_slice(&values[first as usize..(first + kept) as usize]);
    }
    out
}
