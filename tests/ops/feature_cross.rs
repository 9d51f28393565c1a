use recis::device::{Buffer, Stream};
use recis::ops::feature_cross::{Crossed, Side, forward};
use recis::ops::string_hash::murmur;

/// Values, offsets and weights of a side.
type Raw<'a> = (&'a [i64], &'a [i32], Option<&'a [f32]>);

fn run(x: Raw<'_>, y: Raw<'_>) -> recis::Result<Crossed> {
    let [x, y] = [x, y].map(|(values, offsets, weights)| {
        (
            Buffer::from(values.to_vec()),
            Buffer::from(offsets.to_vec()),
            weights.map(|w| Buffer::from(w.to_vec())),
        )
    });
    let [x, y] =
        [&x, &y].map(|(values, offsets, weights)| Side { values, offsets, weights: weights.as_ref() });
    forward(x, y, &Stream::default())
}

fn pair(x: i64, y: i64) -> i64 {
    murmur(&[x.to_le_bytes(), y.to_le_bytes()].concat()) as i64
}

#[test]
fn duplicates_count_once_with_their_first_weight() {
    let crossed = run((&[7, -3, 7], &[0, 3], Some(&[0.5, 2.0, 9.0])), (&[1, 1], &[0, 2], None)).unwrap();
    assert_eq!(crossed.values.host(), [pair(-3, 1), pair(7, 1)]);
    assert_eq!(crossed.weights.host(), [2.0, 0.5]);
    assert_eq!(crossed.offsets.host(), [0, 2]);
}

#[test]
fn rows_are_those_of_the_shorter_side_and_may_be_empty() {
    let crossed = run((&[1, 2, 3], &[0, 2, 2, 3], None), (&[4, 5], &[0, 1, 2], None)).unwrap();
    assert_eq!(crossed.offsets.host(), [0, 2, 2]);
    assert_eq!(crossed.values.host(), [pair(1, 4), pair(2, 4)]);
    assert_eq!(run((&[], &[0], None), (&[], &[0], None)).unwrap().offsets.host(), [0]);
}

#[test]
fn one_value_a_row_is_crossed_as_it_is() {
    let crossed = run((&[1, i64::MIN], &[0, 1, 2], None), (&[2, -1], &[0, 1, 2], Some(&[3.0, 4.0]))).unwrap();
    assert_eq!(crossed.values.host(), [pair(1, 2), pair(i64::MIN, -1)]);
    assert_eq!(crossed.weights.host(), [3.0, 4.0]);
}

#[test]
fn products_that_do_not_fit_are_refused() {
    let ids: Vec<i64> = (0..50_000).collect();
    let error = run((&ids, &[0, 50_000], None), (&ids, &[0, 50_000], None)).unwrap_err().to_string();
    assert_eq!(error, "feature_cross: 2500000000 pairs in a batch, above 2^31 - 1");
    let error = run((&[1], &[0, 1], Some(&[])), (&[1], &[0, 1], None)).unwrap_err().to_string();
    assert_eq!(error, "feature_cross: 0 weights for 1 values");
}
