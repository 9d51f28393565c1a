use recis::device::{Buffer, Stream};
use recis::ops::truncate::{Column, Lists, Side, Truncated, forward, lists};

fn run(lens: &[i32], keep: usize, side: Side) -> Truncated {
    let mut offsets = vec![0];
    lens.iter().for_each(|len| offsets.push(offsets[offsets.len() - 1] + len));
    let count = i64::from(offsets[lens.len()]);
    let values = Buffer::from((0..count).collect::<Vec<i64>>());
    let weights = Buffer::from((0..count).map(|i| i as f32 / 2.0).collect::<Vec<f32>>());
    let offsets = Buffer::from(offsets);
    let column = Column { values: &values, offsets: &offsets, weights: Some(&weights), keep, side };
    forward(&[column], &Stream::default()).unwrap().remove(0)
}

#[test]
fn either_side_is_cut_and_weights_with_it() {
    let lens = [0, 1, 2, 3, 4, 0];
    for (side, expected) in [(Side::Right, [0, 1, 2, 3, 4, 6, 7]), (Side::Left, [0, 1, 2, 4, 5, 8, 9])] {
        let cut = run(&lens, 2, side);
        assert_eq!(cut.offsets.host(), [0, 0, 1, 3, 5, 7, 7]);
        assert_eq!(cut.values.host(), expected, "{side:?}");
        assert_eq!(cut.weights.unwrap().host(), expected.map(|i| i as f32 / 2.0));
    }
}

#[test]
fn limits_at_and_beyond_the_lengths() {
    assert_eq!(run(&[3, 1], 0, Side::Left).offsets.host(), [0, 0, 0]);
    assert_eq!(run(&[3, 1], 3, Side::Left).values.host(), [0, 1, 2, 3]);
    assert_eq!(run(&[3, 1], usize::MAX, Side::Right).values.host(), [0, 1, 2, 3]);
    assert_eq!(run(&[], 5, Side::Right).offsets.host(), [0]);
}

/// Cuts rows of so many lists of so many values.
fn run_lists(rows: &[&[i32]], keep: usize, side: Side) -> recis::Result<Truncated> {
    let (mut offsets, mut row_offsets) = (vec![0], vec![0]);
    for row in rows {
        row.iter().for_each(|len| offsets.push(offsets[offsets.len() - 1] + len));
        row_offsets.push(offsets.len() as i32 - 1);
    }
    let count = i64::from(offsets[offsets.len() - 1]);
    let values = Buffer::from((0..count).collect::<Vec<i64>>());
    let weights = Buffer::from((0..count).map(|i| i as f32 / 2.0).collect::<Vec<f32>>());
    let (offsets, row_offsets) = (offsets.into(), row_offsets.into());
    let column = Lists {
        values: &values,
        offsets: &offsets,
        row_offsets: &row_offsets,
        weights: Some(&weights),
        keep,
        side,
    };
    Ok(lists(&[column], &Stream::default())?.remove(0))
}

#[test]
fn rows_have_exactly_as_many_lists() {
    let rows: [&[i32]; 4] = [&[1, 0, 2], &[], &[3], &[1, 1]];
    let right = run_lists(&rows, 2, Side::Right).unwrap();
    assert_eq!(right.offsets.host(), [0, 1, 1, 1, 1, 4, 4, 5, 6]);
    assert_eq!(right.values.host(), [0, 3, 4, 5, 6, 7]);
    let left = run_lists(&rows, 2, Side::Left).unwrap();
    assert_eq!(left.offsets.host(), [0, 0, 2, 2, 2, 5, 5, 6, 7]);
    assert_eq!(left.values.host(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(left.weights.unwrap().host(), [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]);
    // Longer than any row: all lists are kept, and empty ones come behind them.
    for side in [Side::Left, Side::Right] {
        let all = run_lists(&rows, 4, side).unwrap();
        assert_eq!(all.offsets.host(), [0, 1, 1, 3, 3, 3, 3, 3, 3, 6, 6, 6, 6, 7, 8, 8, 8]);
        assert_eq!(all.values.len(), 8);
    }
}

#[test]
fn no_rows_no_lists_and_too_many() {
    assert_eq!(run_lists(&[], 3, Side::Left).unwrap().offsets.host(), [0]);
    assert_eq!(run_lists(&[&[1]], 0, Side::Left).unwrap().offsets.host(), [0]);
    assert_eq!(run_lists(&[&[]], 2, Side::Right).unwrap().offsets.host(), [0, 0, 0]);
    let error = run_lists(&[&[1], &[2]], 1 << 30, Side::Left).unwrap_err();
    assert_eq!(error.to_string(), "truncate: 2 rows of 1073741824 lists are above 2^31 - 2");
}
