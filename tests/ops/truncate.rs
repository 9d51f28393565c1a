use rand::Rng;
use recis::device::Stream;
use recis::ops::truncate::{Column, Lists, Side, forward, lists};

use crate::common::{each, each_with_kernels, hostile_offsets, on, ragged, read, rng};

/// Values, offsets and weights that are there.
type Cut = (Vec<i64>, Vec<i32>, Vec<f32>);

/// Cuts rows of these lengths; the values count from 0, and there is room for more.
fn run(lens: &[i32], keep: usize, side: Side, stream: &Stream) -> Cut {
    let mut offsets = vec![0];
    lens.iter().for_each(|len| offsets.push(offsets[offsets.len() - 1] + len));
    let room = i64::from(offsets[lens.len()]) + 5;
    let values = on((0..room).collect::<Vec<_>>(), stream);
    let weights = on((0..room).map(|i| i as f32 / 2.0).collect::<Vec<_>>(), stream);
    let offsets = on(offsets, stream);
    let run = |weights| {
        let column = Column { values: &values, offsets: &offsets, weights, keep, side, modulus: None };
        forward(&[column], stream).unwrap().remove(0)
    };
    let (plain, cut) = (run(None), run(Some(&weights)));
    assert!(plain.weights.is_none());
    let plain = ragged(&plain.values, &plain.offsets, stream);
    let values = ragged(&cut.values, &cut.offsets, stream);
    assert_eq!(plain, values);
    let weights = ragged(&cut.weights.unwrap(), &cut.offsets, stream);
    (values, read(&cut.offsets, stream), weights)
}

#[test]
fn either_side_is_cut_and_weights_with_it() {
    each(|stream| {
        let lens = [0, 1, 2, 3, 4, 0];
        for (side, expected) in [(Side::Right, [0, 1, 2, 3, 4, 6, 7]), (Side::Left, [0, 1, 2, 4, 5, 8, 9])] {
            let (values, offsets, weights) = run(&lens, 2, side, stream);
            assert_eq!(offsets, [0, 0, 1, 3, 5, 7, 7]);
            assert_eq!(values, expected, "{side:?}");
            assert_eq!(weights, expected.map(|i| i as f32 / 2.0));
        }
    });
}

#[test]
fn limits_at_and_beyond_the_lengths() {
    each(|stream| {
        assert_eq!(run(&[3, 1], 0, Side::Left, stream).1, [0, 0, 0]);
        assert_eq!(run(&[3, 1], 3, Side::Left, stream).0, [0, 1, 2, 3]);
        assert_eq!(run(&[3, 1], usize::MAX, Side::Right, stream).0, [0, 1, 2, 3]);
        assert_eq!(run(&[], 5, Side::Right, stream).1, [0]);
    });
}

#[test]
fn many_rows_are_those_of_a_plain_loop() {
    each(|stream| {
        let mut rng = rng(1);
        let lens: Vec<i32> = (0..5000).map(|_| rng.random_range(0..20)).collect();
        for (keep, side) in [(1, Side::Left), (7, Side::Right), (10, Side::Left), (19, Side::Left)] {
            let (mut expected, mut ends, mut first) = (Vec::new(), vec![0], 0);
            for &len in &lens {
                let kept = len.min(keep as i32);
                let from = if side == Side::Left { first + len - kept } else { first };
                expected.extend((from..from + kept).map(i64::from));
                ends.push(expected.len() as i32);
                first += len;
            }
            let (values, offsets, _) = run(&lens, keep, side, stream);
            assert!(values == expected && offsets == ends, "{keep} {side:?}");
        }
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    each(|stream| {
        let (values, offsets, weights) = (on([1, 2], stream), on([0, 2], stream), on([1.0], stream));
        let (keep, side) = (1, Side::Left);
        let column =
            Column { values: &values, offsets: &offsets, weights: Some(&weights), keep, side, modulus: None };
        let error = forward(&[column], stream).unwrap_err().to_string();
        assert_eq!(error, "truncate: 1 weights for 2 values");
        let none = on([], stream);
        let column = Column { values: &values, offsets: &none, weights: None, keep, side, modulus: None };
        assert!(forward(&[column], stream).is_err());
    });
    let stream = &Stream::default();
    let (values, offsets) = (on([1, 2], stream), on([0, 3], stream));
    let column = Column {
        values: &values,
        offsets: &offsets,
        weights: None,
        keep: 1,
        side: Side::Left,
        modulus: None,
    };
    let error = forward(&[column], stream).unwrap_err().to_string();
    assert_eq!(error, "truncate: offsets end at 3, but there are 2 values");
}

#[test]
fn offsets_that_lead_nowhere_do_no_harm() {
    each_with_kernels(|stream| {
        let (values, weights) = (on([1, 2, 3, 4], stream), on([1.0; 4], stream));
        let offsets = on(hostile_offsets(9), stream);
        for (keep, side) in [(0, Side::Left), (1, Side::Right), (3, Side::Left), (100, Side::Right)] {
            let column = Column {
                values: &values,
                offsets: &offsets,
                weights: Some(&weights),
                keep,
                side,
                modulus: None,
            };
            let cut = forward(&[column], stream).unwrap().remove(0);
            assert_eq!(read(&cut.offsets, stream).len(), 10);
        }
        let straight = on([0, 1, 1, 2, 2, 3, 3, 4, 4, 4], stream);
        for (offsets, row_offsets) in [(&offsets, &straight), (&straight, &offsets), (&offsets, &offsets)] {
            for (keep, side) in [(0, Side::Left), (1, Side::Right), (3, Side::Left), (100, Side::Right)] {
                let (values, weights) = (&values, Some(&weights));
                let column = Lists { values, offsets, row_offsets, weights, keep, side };
                let cut = lists(&[column], stream).unwrap().remove(0);
                assert_eq!(read(&cut.offsets, stream).len(), 9 * keep + 1);
            }
        }
    });
}

/// Cuts rows of so many lists of so many values.
fn run_lists(rows: &[&[i32]], keep: usize, side: Side, stream: &Stream) -> recis::Result<Cut> {
    let (mut offsets, mut row_offsets) = (vec![0], vec![0]);
    for row in rows {
        row.iter().for_each(|len| offsets.push(offsets[offsets.len() - 1] + len));
        row_offsets.push(offsets.len() as i32 - 1);
    }
    let count = i64::from(offsets[offsets.len() - 1]);
    let values = on((0..count).collect::<Vec<_>>(), stream);
    let weights = on((0..count).map(|i| i as f32 / 2.0).collect::<Vec<_>>(), stream);
    let (offsets, row_offsets) = (on(offsets, stream), on(row_offsets, stream));
    let column = Lists {
        values: &values,
        offsets: &offsets,
        row_offsets: &row_offsets,
        weights: Some(&weights),
        keep,
        side,
    };
    let cut = lists(&[column], stream)?.remove(0);
    let weights = ragged(&cut.weights.unwrap(), &cut.offsets, stream);
    Ok((ragged(&cut.values, &cut.offsets, stream), read(&cut.offsets, stream), weights))
}

#[test]
fn rows_have_exactly_as_many_lists() {
    each(|stream| {
        let rows: [&[i32]; 4] = [&[1, 0, 2], &[], &[3], &[1, 1]];
        let (values, offsets, _) = run_lists(&rows, 2, Side::Right, stream).unwrap();
        assert_eq!(offsets, [0, 1, 1, 1, 1, 4, 4, 5, 6]);
        assert_eq!(values, [0, 3, 4, 5, 6, 7]);
        let (values, offsets, weights) = run_lists(&rows, 2, Side::Left, stream).unwrap();
        assert_eq!(offsets, [0, 0, 2, 2, 2, 5, 5, 6, 7]);
        assert_eq!(values, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(weights, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]);
        // Longer than any row: all lists are kept, and empty ones come behind them.
        for side in [Side::Left, Side::Right] {
            let (values, offsets, _) = run_lists(&rows, 4, side, stream).unwrap();
            assert_eq!(offsets, [0, 1, 1, 3, 3, 3, 3, 3, 3, 6, 6, 6, 6, 7, 8, 8, 8]);
            assert_eq!(values.len(), 8);
        }
    });
}

#[test]
fn no_rows_no_lists_and_too_many() {
    each(|stream| {
        let offsets = |rows: &[&[i32]], keep, side| run_lists(rows, keep, side, stream).unwrap().1;
        assert_eq!(offsets(&[], 3, Side::Left), [0]);
        assert_eq!(offsets(&[&[1]], 0, Side::Left), [0]);
        assert_eq!(offsets(&[&[]], 2, Side::Right), [0, 0, 0]);
        let error = run_lists(&[&[1], &[2]], 1 << 30, Side::Left, stream).unwrap_err();
        assert_eq!(error.to_string(), "truncate: 2 rows of 1073741824 lists are above 2^31 - 2");
    });
}
