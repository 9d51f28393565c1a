//! The distinct ids of a batch, by logical table, which of them each id is, and who owns them.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::hash_table::TableRange;
use crate::ops::string_hash::murmur;
use crate::{Result, ops::cpu};

/// The ids of one feature.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    /// The logical table that they are looked up in.
    pub table: usize,
    /// Any 64 bits each.
    pub ids: &'a Buffer<i64>,
}

/// The distinct ids of several columns.
#[derive(Debug, Default)]
pub struct Partition {
    /// Distinct ids, table after table; within a table by the low 16 bits, then by the upper 48,
    /// unsigned: RecIS's order (SPEC 3.4).
    pub ids: Buffer<i64>,
    /// Where each table's ids are, by ascending table.
    pub ranges: Vec<TableRange>,
    /// For each id of the concatenated columns, its place in `ids`.
    pub inverse: Buffer<u32>,
}

/// Finds the distinct ids of the columns.
pub fn forward(columns: &[Column<'_>], stream: &Stream) -> Result<Partition> {
    let count: usize = columns.iter().map(|column| column.ids.len()).sum();
    ensure(u32::try_from(count).is_ok(), "partition_ids", || {
        format!("{count} ids in a batch, above 2^32 - 1")
    })?;
    match stream.device() {
        Device::Cpu => {
            let columns: Vec<_> = columns.iter().map(|column| (column.table, column.ids.host())).collect();
            let (ids, ranges, inverse) = cpu::partition_ids::forward(&columns);
            Ok(Partition { ids: ids.into(), ranges, inverse: inverse.into() })
        }
    }
}

/// The rank that owns an id under RecIS's slices of the low 16 bits (SPEC 3.4).
pub fn owner(id: i64, world_size: usize) -> usize {
    let residue = (id & 0xffff) as usize;
    let (slice, longer) = (65_536 / world_size, 65_536 % world_size);
    // The first `longer` slices have one residue more.
    if residue < longer * (slice + 1) {
        residue / (slice + 1)
    } else {
        longer + (residue - longer * (slice + 1)) / slice.max(1)
    }
}

/// Which rank owns an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// RecIS's slices of the low 16 bits (SPEC 3.4): small ids all go to the first ranks.
    Slices,
    /// By a hash of the id: ranks own about as many each.
    Balanced,
}

impl Owner {
    /// The rank that owns an id.
    pub fn rank(self, id: i64, world_size: usize) -> usize {
        match self {
            Self::Slices => owner(id, world_size),
            Self::Balanced => (((murmur(&id.to_le_bytes()) >> 32) * world_size as u64) >> 32) as usize,
        }
    }
}

/// The owners of ids, and how many each rank owns.
#[derive(Debug, Default, PartialEq)]
pub struct Owners {
    /// One an id.
    pub owners: Buffer<u32>,
    /// One a rank.
    pub counts: Buffer<u32>,
}

/// Finds the rank that owns each id; `world_size` is between 1 and 65,536.
pub fn owners(ids: &Buffer<i64>, world_size: usize, owner: Owner, stream: &Stream) -> Result<Owners> {
    ensure((1..=65_536).contains(&world_size), "partition_ids", || {
        format!("a world size of {world_size}, not within 1..=65536")
    })?;
    match stream.device() {
        Device::Cpu => {
            let (owners, counts) = cpu::partition_ids::owners(ids.host(), world_size, owner);
            Ok(Owners { owners: owners.into(), counts: counts.into() })
        }
    }
}
