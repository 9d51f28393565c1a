//! 64-bit hashes of byte strings (SPEC 2.3): FarmHash's Fingerprint64 and MurmurHash64A, seed 0.

use std::num::NonZeroU64;

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::launch;
use crate::{Result, ops::cpu};

pub use cpu::string_hash::{farm, murmur};

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashType {
    /// FarmHash's Fingerprint64.
    Farm,
    /// MurmurHash64A with seed 0.
    Murmur,
}

impl HashType {
    /// The hash of one string.
    pub fn hash(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Farm => farm(bytes),
            Self::Murmur => murmur(bytes),
        }
    }
}

/// One column of strings.
pub struct Column<'a> {
    /// The bytes of all strings.
    pub bytes: &'a Buffer<i8>,
    /// Where each string begins and ends: one entry more than there are strings, ascending.
    pub offsets: &'a Buffer<i32>,
    /// Which hash.
    pub hash_type: HashType,
    /// If remainders of the hashes are wanted, as [`modulo`](super::modulo) makes them: the modulus.
    pub modulus: Option<NonZeroU64>,
    /// One hash a string, the unsigned one bit-cast.
    pub out: &'a mut Buffer<i64>,
}

/// Hashes every string of every column.
pub fn forward(columns: &mut [Column<'_>], stream: &Stream) -> Result<()> {
    for c in columns.iter() {
        ensure(c.offsets.len() == c.out.len() + 1, "string_hash", || {
            format!("{} offsets for {} strings", c.offsets.len(), c.out.len())
        })?;
        super::check_offsets("string_hash", c.offsets, c.bytes.len())?;
    }
    columns.iter_mut().try_for_each(|c| match stream.device() {
        Device::Cpu => {
            let bytes: &[u8] = bytemuck::cast_slice(c.bytes.on_cpu()?);
            let (offsets, out) = (c.offsets.on_cpu()?, c.out.on_cpu_mut()?);
            match c.hash_type {
                HashType::Farm => cpu::string_hash::forward(bytes, offsets, farm, out),
                HashType::Murmur => cpu::string_hash::forward(bytes, offsets, murmur, out),
            }
            if let Some(modulus) = c.modulus {
                cpu::modulo::in_place(out, modulus.get());
            }
            Ok(())
        }
        _ => {
            let (bytes, offsets) = (c.bytes.on(stream)?, c.offsets.on(stream)?);
            let (capacity, count) = (c.bytes.len() as i64, c.out.len() as i64);
            let (modulus, out) = (c.modulus.map_or(0, NonZeroU64::get), c.out.on_mut(stream)?);
            match c.hash_type {
                HashType::Farm => {
                    launch!(stream, recis_string_hash_farm(bytes, capacity, offsets, count, modulus, out))
                }
                HashType::Murmur => {
                    launch!(stream, recis_string_hash_murmur(bytes, capacity, offsets, count, modulus, out))
                }
            }
        }
    })
}
