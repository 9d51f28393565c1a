use recis::device::{Buffer, Stream};
use recis::ops::modulo::{Column, forward};

fn run(values: Vec<i64>, modulus: u64) -> recis::Result<Vec<i64>> {
    let stream = Stream::default();
    let mut out = Buffer::zeros(values.len(), &stream)?;
    forward(&mut [Column { values: &values.into(), modulus, out: &mut out }], &stream)?;
    out.to_vec(&stream)
}

#[test]
fn ids_are_unsigned() {
    let ids = [0, 1, -1, -2, i64::MIN, i64::MAX, 10_000, 9_999];
    for modulus in [1, 2, 3, 10_000, 1 << 31, u64::MAX] {
        let expected: Vec<_> = ids.iter().map(|&id| (id as u64 % modulus) as i64).collect();
        assert_eq!(run(ids.to_vec(), modulus).unwrap(), expected, "modulus {modulus}");
    }
}

#[test]
fn no_values_are_fine_and_modulus_zero_is_not() {
    assert!(run(vec![], 7).unwrap().is_empty());
    assert_eq!(run(vec![1], 0).unwrap_err().to_string(), "modulo: the modulus is 0");
}

#[test]
fn many_values_are_split_over_threads() {
    let ids: Vec<i64> = (0..100_003).map(|i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)).collect();
    let expected: Vec<_> = ids.iter().map(|&id| (id as u64 % 10_007) as i64).collect();
    assert_eq!(run(ids, 10_007).unwrap(), expected);
}
