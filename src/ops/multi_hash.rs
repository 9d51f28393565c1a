//! Ids hashed into buckets, several ways (SPEC 2.6).

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::{Result, ops::cpu};

/// The multiplier of each hash, and what multiple of the buckets its prime is at most.
const HASHES: [(i64, i64); 4] = [(1, 29), (3, 47), (5, 67), (7, 83)];

/// `hash(x) = (x * multiplier) mod prime mod buckets`; the product wraps around, and `mod` is never
/// negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// What ids are multiplied with.
    pub multiplier: i64,
    /// At least 1.
    pub prime: i64,
    /// At least 1; hashes are below.
    pub buckets: i64,
}

impl Hash {
    /// RecIS's hash number `index`, of 4. Its prime is the largest one up to a multiple of the buckets:
    /// 29, 47, 67 or 83 times.
    ///
    /// # Errors
    /// No such hash, no buckets, or so many that the multiple is above 2^63 - 1.
    pub fn new(index: usize, buckets: i64) -> Result<Self> {
        ensure(index < HASHES.len(), "multi_hash", || {
            format!("hash {index} of {}: there are no more", HASHES.len())
        })?;
        let (multiplier, multiple) = HASHES[index];
        ensure(buckets > 0 && buckets <= i64::MAX / multiple, "multi_hash", || {
            format!("{buckets} buckets, not within 1..={}", i64::MAX / multiple)
        })?;
        let most = (buckets * multiple) as u64;
        let prime = (1..=most).rev().find(|&n| is_prime(n)).unwrap_or(1);
        Ok(Self { multiplier, prime: prime as i64, buckets })
    }
}

/// Whether nothing from 2 to its root divides a number.
fn is_prime(n: u64) -> bool {
    (n == 2 || !n.is_multiple_of(2)) && (3..=n.isqrt()).step_by(2).all(|divisor| !n.is_multiple_of(divisor))
}

/// One column to hash one way.
pub struct Column<'a> {
    /// Any 64 bits each.
    pub values: &'a Buffer<i64>,
    /// How.
    pub hash: Hash,
    /// As many elements as `values`.
    pub out: &'a mut Buffer<i64>,
}

/// Hashes every id of every column.
pub fn forward(columns: &mut [Column<'_>], stream: &Stream) -> Result<()> {
    for c in columns.iter() {
        ensure(c.hash.prime > 0 && c.hash.buckets > 0, "multi_hash", || {
            format!("a prime of {} and {} buckets, below 1", c.hash.prime, c.hash.buckets)
        })?;
        ensure(c.values.len() == c.out.len(), "multi_hash", || {
            format!("{} values but room for {}", c.values.len(), c.out.len())
        })?;
    }
    columns.iter_mut().try_for_each(|c| match stream.device() {
        Device::Cpu => {
            cpu::multi_hash::forward(c.values.on_cpu()?, c.hash, c.out.on_cpu_mut()?);
            Ok(())
        }
        _ => {
            let Hash { multiplier, prime, buckets } = c.hash;
            let (values, count, out) = (c.values.on(stream)?, c.values.len() as i64, c.out.on_mut(stream)?);
            launch!(stream, recis_multi_hash_forward(values, count, multiplier, prime, buckets, out))
        }
    })
}
