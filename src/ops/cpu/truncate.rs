//! Rows, and rows of lists, cut to a length.

use std::ops::Range;

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

/// Where the values of every list of the result are: `keep` lists a row, empty ones appended.
pub fn lists(offsets: &[i32], row_offsets: &[i32], keep: usize, side: Side) -> Vec<Range<usize>> {
    let mut out = Vec::with_capacity((row_offsets.len() - 1) * keep);
    for row in row_offsets.windows(2) {
        let (begin, end) = (row[0] as usize, row[1] as usize);
        let kept = keep.min(end - begin);
        let first = match side {
            Side::Left => end - kept,
            Side::Right => begin,
        };
        let ends = &offsets[first..=first + kept];
        out.extend(ends.windows(2).map(|list| list[0] as usize..list[1] as usize));
        out.resize(out.len() + keep - kept, 0..0);
    }
    out
}

/// Where lists begin and end when they follow one another.
pub fn lists_offsets(lists: &[Range<usize>]) -> Vec<i32> {
    let mut end = 0;
    let ends = lists.iter().map(|list| {
        end += list.len() as i32;
        end
    });
    std::iter::once(0).chain(ends).collect()
}

/// The values of the lists, one after another.
pub fn copy_lists<T: Copy>(values: &[T], lists: &[Range<usize>]) -> Vec<T> {
    lists.iter().flat_map(|list| &values[list.clone()]).copied().collect()
}
