use std::collections::BTreeMap;

use rand::Rng;
use recis::device::Stream;
use recis::ops::feature_cross::{Side, forward};
use recis::ops::string_hash::murmur;

use crate::common::{each, each_with_kernels, on, ragged, read, rng};

/// Values, offsets and weights of a side.
type Raw<'a> = (&'a [i64], &'a [i32], Option<&'a [f32]>);

#[derive(Debug, PartialEq)]
struct Crossed {
    values: Vec<i64>,
    offsets: Vec<i32>,
    weights: Vec<f32>,
}

fn run_knowing(x: Raw<'_>, y: Raw<'_>, longest: Option<usize>, stream: &Stream) -> recis::Result<Crossed> {
    let [x, y] = [x, y].map(|(values, offsets, weights)| {
        (on(values, stream), on(offsets, stream), weights.map(|w| on(w, stream)))
    });
    let [x, y] = [&x, &y].map(|(values, offsets, weights)| Side {
        values,
        offsets,
        weights: weights.as_ref(),
        longest,
    });
    let crossed = forward(x, y, stream)?;
    Ok(Crossed {
        values: ragged(&crossed.values, &crossed.offsets, stream),
        weights: ragged(&crossed.weights, &crossed.offsets, stream),
        offsets: crossed.offsets.to_vec(stream)?,
    })
}

/// Crosses with and without knowing how long rows are.
fn run(x: Raw<'_>, y: Raw<'_>, stream: &Stream) -> Crossed {
    let longest =
        |(_, offsets, _): Raw<'_>| offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
    let longest = longest(x).max(longest(y)) as usize;
    let asked = run_knowing(x, y, None, stream).unwrap();
    assert_eq!(run_knowing(x, y, Some(longest), stream).unwrap(), asked);
    asked
}

fn pair(x: i64, y: i64) -> i64 {
    murmur(&[x.to_le_bytes(), y.to_le_bytes()].concat()) as i64
}

#[test]
fn duplicates_count_once_with_their_first_weight() {
    each(|stream| {
        let crossed = run((&[7, -3, 7], &[0, 3], Some(&[0.5, 2.0, 9.0])), (&[1, 1], &[0, 2], None), stream);
        assert_eq!(crossed.values, [pair(-3, 1), pair(7, 1)]);
        assert_eq!(crossed.weights, [2.0, 0.5]);
        assert_eq!(crossed.offsets, [0, 2]);
    });
}

#[test]
fn rows_are_those_of_the_shorter_side_and_may_be_empty() {
    each(|stream| {
        let crossed = run((&[1, 2, 3], &[0, 2, 2, 3], None), (&[4, 5], &[0, 1, 2], None), stream);
        assert_eq!(crossed.offsets, [0, 2, 2]);
        assert_eq!(crossed.values, [pair(1, 4), pair(2, 4)]);
        assert_eq!(run((&[], &[0], None), (&[], &[0], None), stream).offsets, [0]);
        assert_eq!(run((&[], &[0, 0], None), (&[5], &[0, 1], None), stream).offsets, [0, 0]);
    });
}

#[test]
fn one_value_a_row_is_crossed_as_it_is() {
    each(|stream| {
        let x: Raw<'_> = (&[1, i64::MIN], &[0, 1, 2], None);
        let crossed = run(x, (&[2, -1], &[0, 1, 2], Some(&[3.0, 4.0])), stream);
        assert_eq!(crossed.values, [pair(1, 2), pair(i64::MIN, -1)]);
        assert_eq!(crossed.weights, [3.0, 4.0]);
    });
}

#[test]
fn random_rows_are_those_of_a_map() {
    each(|stream| {
        let mut rng = rng(1);
        let rows = 300;
        let mut side = |rows: usize, bound: i64| {
            let (mut values, mut offsets) = (Vec::new(), vec![0]);
            for _ in 0..rows {
                let len = rng.random_range(0..12);
                values.extend((0..len).map(|_| rng.random_range(-bound..bound)));
                offsets.push(values.len() as i32);
            }
            let weights: Vec<f32> = values.iter().map(|_| rng.random()).collect();
            (values, offsets, weights)
        };
        let (x, y) = (side(rows + 3, 5), side(rows, i64::MAX));
        let crossed = run((&x.0, &x.1, Some(&x.2)), (&y.0, &y.1, Some(&y.2)), stream);
        let mut expected = Crossed { values: Vec::new(), offsets: vec![0], weights: Vec::new() };
        for row in 0..rows {
            let [x, y] = [&x, &y].map(|(values, offsets, weights)| {
                let mut distinct = BTreeMap::new();
                (offsets[row] as usize..offsets[row + 1] as usize)
                    .for_each(|i| _ = distinct.entry(values[i]).or_insert(weights[i]));
                distinct
            });
            for (x, x_weight) in &x {
                for (y, y_weight) in &y {
                    expected.values.push(pair(*x, *y));
                    expected.weights.push(x_weight * y_weight);
                }
            }
            expected.offsets.push(expected.values.len() as i32);
        }
        assert_eq!(crossed, expected);
    });
}

#[test]
fn products_that_do_not_fit_are_refused() {
    each(|stream| {
        let ids: Vec<i64> = (0..50_000).collect();
        let side: Raw<'_> = (&ids, &[0, 50_000], None);
        let error = run_knowing(side, side, None, stream).unwrap_err().to_string();
        assert_eq!(error, "feature_cross: 2500000000 pairs in a batch, above 2^31 - 1");
        let error = run_knowing((&[1], &[0, 1], Some(&[])), (&[1], &[0, 1], None), None, stream).unwrap_err();
        assert_eq!(error.to_string(), "feature_cross: 0 weights for 1 values");
    });
}

#[test]
fn offsets_that_lead_nowhere_do_no_harm() {
    each_with_kernels(|stream| {
        // All ids are the second row's: rows that overlap would race, for what is unspecified anyway.
        let wild = [9, -3, i32::MAX, 0, i32::MIN, -7, 0, i32::MIN, -1, 0];
        let (ids, wild) = (on([1, 2, 1, 4], stream), on(wild, stream));
        let straight = on([0, 1, 1, 2, 2, 3, 3, 4, 4, 4], stream);
        for (x, y) in [(&wild, &straight), (&straight, &wild), (&wild, &wild)] {
            let [x, y] =
                [x, y].map(|offsets| Side { values: &ids, offsets, weights: None, longest: Some(4) });
            let crossed = forward(x, y, stream).unwrap();
            assert_eq!(read(&crossed.offsets, stream).len(), 10);
        }
    });
}
