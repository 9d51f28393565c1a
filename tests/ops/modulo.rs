use recis::device::{Buffer, Stream};
use recis::ops::modulo::{Column, forward};

use crate::common::{each, on, read};

fn run(values: &[i64], modulus: u64, stream: &Stream) -> recis::Result<Vec<i64>> {
    let mut out = Buffer::zeros(values.len(), stream)?;
    forward(&mut [Column { values: &on(values, stream), modulus, out: &mut out }], stream)?;
    out.to_vec(stream)
}

#[test]
fn ids_are_unsigned() {
    each(|stream| {
        let ids = [0, 1, -1, -2, i64::MIN, i64::MAX, 10_000, 9_999];
        for modulus in [1, 2, 3, 10_000, 1 << 31, u64::MAX] {
            let expected: Vec<_> = ids.iter().map(|&id| (id as u64 % modulus) as i64).collect();
            assert_eq!(run(&ids, modulus, stream).unwrap(), expected, "modulus {modulus}");
        }
    });
}

/// Where a quotient that is off by one or two would show.
#[test]
fn ids_beside_multiples_of_the_modulus() {
    each(|stream| {
        let moduli =
            (0..64).map(|bit| 1_u64 << bit).flat_map(|power| [power, power + 1, power | (power / 3)]);
        for modulus in moduli.chain([10_000, u64::MAX - 1, u64::MAX / 2, u64::MAX / 3]) {
            let most = u64::MAX / modulus;
            let times = [0, 1, 2, most / 3, most / 2, most - 1, most];
            let beside = |times: u64| {
                [-1, 0, 1].map(|off| times.wrapping_mul(modulus).wrapping_add_signed(off) as i64)
            };
            let ids: Vec<i64> = times.into_iter().flat_map(beside).chain([-1]).collect();
            let expected: Vec<_> = ids.iter().map(|&id| (id as u64 % modulus) as i64).collect();
            assert_eq!(run(&ids, modulus, stream).unwrap(), expected, "modulus {modulus}");
        }
    });
}

#[test]
fn no_values_are_fine_and_modulus_zero_is_not() {
    each(|stream| {
        assert!(run(&[], 7, stream).unwrap().is_empty());
        assert_eq!(run(&[1], 0, stream).unwrap_err().to_string(), "modulo: the modulus is 0");
    });
}

#[test]
fn many_values_are_split_over_threads() {
    let ids: Vec<i64> = (0..100_003).map(|i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)).collect();
    let expected: Vec<_> = ids.iter().map(|&id| (id as u64 % 10_007) as i64).collect();
    each(|stream| assert_eq!(run(&ids, 10_007, stream).unwrap(), expected));
}

#[test]
fn several_columns_are_served_by_one_call() {
    each(|stream| {
        let (short, long) = (on([-1], stream), on([10, 11, 12], stream));
        let (mut first, mut second) = (on([0], stream), on([0; 3], stream));
        let columns = &mut [
            Column { values: &short, modulus: 7, out: &mut first },
            Column { values: &long, modulus: 5, out: &mut second },
        ];
        forward(columns, stream).unwrap();
        assert_eq!((read(&first, stream), read(&second, stream)), (vec![1], vec![0, 1, 2]));
    });
}
