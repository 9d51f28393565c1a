use recis::device::{Buffer, Stream};
use recis::ops::multi_hash::{Column, Hash, forward};

use crate::common::{each, on};

fn run(values: &[i64], hash: Hash, stream: &Stream) -> recis::Result<Vec<i64>> {
    let mut out = Buffer::zeros(values.len(), stream)?;
    forward(&mut [Column { values: &on(values, stream), hash, out: &mut out }], stream)?;
    out.to_vec(stream)
}

#[test]
fn primes_are_the_largest_up_to_the_multiple() {
    let hash = |index, buckets| Hash::new(index, buckets).unwrap();
    let primes: Vec<_> = (0..4).map(|index| hash(index, 1000).prime).collect();
    assert_eq!(primes, [28_979, 46_997, 66_977, 82_997]);
    assert_eq!(hash(0, 1), Hash { multiplier: 1, prime: 29, buckets: 1 });
    // 29 * 29 is not prime.
    assert_eq!(hash(0, 29).prime, 839);
    assert_eq!(hash(3, 5).multiplier, 7);
}

#[test]
fn hashes_are_those_of_wrapping_products_and_never_negative() {
    each(|stream| {
        let mut ids = vec![0, 1, -1, -5, 1001, i64::MIN, i64::MAX, 1 << 62, -(1 << 62)];
        ids.extend((0..10_000).map(|i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)));
        for hash in (0..4).flat_map(|index| [1, 1000, 123_457].map(|n| Hash::new(index, n).unwrap())) {
            let expected: Vec<_> = (ids.iter())
                .map(|id| {
                    let product = id.wrapping_mul(hash.multiplier);
                    ((product % hash.prime + hash.prime) % hash.prime) % hash.buckets
                })
                .collect();
            assert_eq!(run(&ids, hash, stream).unwrap(), expected, "{hash:?}");
        }
        // A prime so large that the formula's sum would not fit.
        let hash = Hash { multiplier: 1, prime: i64::MAX, buckets: i64::MAX };
        assert_eq!(run(&[5, -5], hash, stream).unwrap(), [5, i64::MAX - 5]);
    });
}

#[test]
fn no_ids_are_fine_and_no_buckets_are_not() {
    let hash = Hash::new(0, 10).unwrap();
    each(|stream| {
        assert!(run(&[], hash, stream).unwrap().is_empty());
        let none = run(&[1], Hash { prime: 0, ..hash }, stream).unwrap_err();
        assert_eq!(none.to_string(), "multi_hash: a prime of 0 and 10 buckets, below 1");
    });
    let error = |result: recis::Result<Hash>| result.unwrap_err().to_string();
    assert_eq!(error(Hash::new(4, 10)), "multi_hash: hash 4 of 4: there are no more");
    assert_eq!(error(Hash::new(3, 0)), "multi_hash: 0 buckets, not within 1..=111124964299455130");
}
