use recis::device::{Buffer, Stream};
use recis::ops::truncate::{Column, Side, Truncated, forward};

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
