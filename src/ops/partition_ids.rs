//! The distinct ids of a batch, by logical table, which of them each id is, and who owns them.

use std::str::FromStr;

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::{recis_ids_column, recis_owner};
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::ops::lookup::{Occurrences, TableRange};
use crate::ops::string_hash::murmur;
use crate::ops::{check_offsets, cpu};
use crate::{Error, Result};

/// The ids of one feature.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    /// The logical table that they are looked up in.
    pub table: usize,
    /// Any 64 bits each.
    pub ids: &'a Buffer<i64>,
    /// Of a ragged column: where each row's ids begin and end. Ids behind are not looked at.
    pub offsets: Option<&'a Buffer<i32>>,
    /// Whether it must be known where its ids occur: what the backward pass of a combination needs on a device,
    /// and what takes most of the time.
    pub listed: bool,
}

/// The distinct ids of several columns. Arrays may be longer than what they hold.
#[derive(Debug, Default)]
pub struct Partition {
    /// Distinct ids, table after table; within a table by the low 16 bits, then by the upper 48,
    /// unsigned: RecIS's order (SPEC 3.4).
    pub ids: Buffer<i64>,
    /// Where the ids of each logical table begin in `ids`; one entry more than there are tables, the
    /// last being the number of distinct ids.
    pub table_offsets: Buffer<u32>,
    /// Where each column's ids begin in `inverse`.
    pub first_ids: Vec<usize>,
    /// For each id of the columns, its place in `ids`.
    pub inverse: Buffer<u32>,
    /// The number of distinct ids, one element.
    pub count: Buffer<u32>,
    /// The positions in `inverse` of each distinct id, one id after the other, those of listed columns at least;
    /// empty on the CPU, whose backward passes do without.
    positions: Buffer<u32>,
    /// Where the positions of each distinct id begin.
    starts: Buffer<u32>,
    /// The positions of listed columns are those below it.
    listed: usize,
}

impl Partition {
    /// Where the ids of a logical table's listed columns occur, for backward passes on a device.
    pub fn occurrences(&self, table: usize) -> Option<Occurrences<'_>> {
        let Self { positions, starts, table_offsets, listed, .. } = self;
        let occurrences = Occurrences { positions, starts, listed: *listed, table_offsets, table };
        (!starts.is_empty()).then_some(occurrences)
    }

    /// Which of the distinct ids are a logical table's.
    pub fn range(&self, table: usize) -> TableRange<'_> {
        TableRange { table_offsets: &self.table_offsets, table }
    }
}

/// Finds the distinct ids of the columns, whose tables are below `tables`.
pub fn forward(columns: &[Column<'_>], tables: usize, stream: &Stream) -> Result<Partition> {
    let mut pieces = Vec::with_capacity(columns.len());
    for &Column { table, ids, offsets, listed } in columns {
        offsets.map_or(Ok(()), |offsets| check_offsets("partition_ids", offsets, ids.len()))?;
        pieces.push(Piece { table, ids, first: 0, len: ids.len(), offsets, listed });
    }
    run(&pieces, tables, stream)
}

/// [`forward`] of columns that lie in one array, one after the other: the table of each, and its length.
pub fn forward_parts(
    ids: &Buffer<i64>,
    parts: &[(usize, usize)],
    tables: usize,
    stream: &Stream,
) -> Result<Partition> {
    let (mut pieces, mut first) = (Vec::with_capacity(parts.len()), 0);
    for &(table, len) in parts {
        pieces.push(Piece { table, ids, first, len, offsets: None, listed: true });
        first += len;
    }
    ensure(first <= ids.len(), "partition_ids", || format!("parts of {first} ids, of {}", ids.len()))?;
    run(&pieces, tables, stream)
}

/// Where the kernel may begin to read: at multiples of so many bytes.
const ALIGNMENT: usize = 16;

/// A column, and where in its array it begins.
struct Piece<'a> {
    table: usize,
    ids: &'a Buffer<i64>,
    first: usize,
    len: usize,
    offsets: Option<&'a Buffer<i32>>,
    listed: bool,
}

fn run(pieces: &[Piece<'_>], tables: usize, stream: &Stream) -> Result<Partition> {
    let total = pieces.iter().map(|piece| piece.len).sum::<usize>();
    let mut first_ids = vec![0; pieces.len()];
    // The listed ones first.
    let (mut listed, mut next) = (0, 0);
    for pass in [true, false] {
        for (first, piece) in first_ids.iter_mut().zip(pieces).filter(|(_, piece)| piece.listed == pass) {
            let table = piece.table;
            ensure(table < tables, "partition_ids", || format!("table {table} of {tables}"))?;
            *first = next;
            next += piece.len;
        }
        if pass {
            listed = next;
        }
    }
    ensure(i32::try_from(total).is_ok(), "partition_ids", || {
        format!("{total} ids in a batch, above 2^31 - 1")
    })?;
    match stream.device() {
        Device::Cpu => {
            let mut host = Vec::with_capacity(pieces.len());
            for &Piece { table, ids, first, len, offsets, .. } in in_order(pieces, &first_ids) {
                let end = offsets.map(Buffer::on_cpu).transpose()?.and_then(<[i32]>::last);
                let valid = end.map_or(len, |&end| end as usize);
                host.push((table, &ids.on_cpu()?[first..first + valid], len));
            }
            let (ids, table_offsets, inverse) = cpu::partition_ids::forward(&host, tables);
            Ok(Partition {
                count: vec![ids.len() as u32].into(),
                ids: ids.into(),
                table_offsets: table_offsets.into(),
                first_ids,
                inverse: inverse.into(),
                ..Partition::default()
            })
        }
        _ => {
            let mut copies = Vec::new();
            let raw = |(piece, &first): (&Piece<'_>, &usize)| {
                let ids = if (piece.first * size_of::<i64>()).is_multiple_of(ALIGNMENT) {
                    piece.ids.on(stream)?.wrapping_add(piece.first)
                } else {
                    copies.push(piece.ids.part(piece.first, piece.len, stream)?);
                    copies[copies.len() - 1].on(stream)?
                };
                Ok(recis_ids_column {
                    ids,
                    offsets: piece
                        .offsets
                        .map_or(Ok(std::ptr::null::<i32>()), |offsets| offsets.on(stream))?,
                    rows: piece.offsets.map_or(0, |offsets| offsets.len() as i64 - 1),
                    capacity: piece.len as i64,
                    first: first as i64,
                    table: piece.table as u32,
                })
            };
            let raw = pieces.iter().zip(&first_ids).map(raw).collect::<Result<Vec<_>>>()?;
            let (total_ids, table_count, listed_ids) = (total as i64, tables as i64, listed as i64);
            let mut scratch =
                workspace!(stream, recis_partition_ids_workspace_size(total_ids, table_count, listed_ids))?;
            let mut ids = Buffer::unset(total, stream)?;
            let mut table_offsets = Buffer::unset(tables + 1, stream)?;
            let [mut inverse, mut positions] = [Buffer::unset(total, stream)?, Buffer::unset(total, stream)?];
            let mut starts = Buffer::unset(total + 1, stream)?;
            let mut count = Buffer::unset(1, stream)?;
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_partition_ids_forward(
                    raw.as_ptr(),
                    raw.len() as i64,
                    table_count,
                    total_ids,
                    listed_ids,
                    ids.on_mut(stream)?,
                    table_offsets.on_mut(stream)?,
                    inverse.on_mut(stream)?,
                    positions.on_mut(stream)?,
                    starts.on_mut(stream)?,
                    count.on_mut(stream)?,
                    scratch,
                    bytes
                )
            )?;
            Ok(Partition { ids, table_offsets, first_ids, inverse, count, positions, starts, listed })
        }
    }
}

/// Pieces in the order of their positions.
fn in_order<'a>(pieces: &'a [Piece<'a>], first_ids: &[usize]) -> Vec<&'a Piece<'a>> {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|&i| first_ids[i]);
    order.into_iter().map(|i| &pieces[i]).collect()
}

/// The rank that owns an id under RecIS's slices of the low 16 bits (SPEC 3.4). Of no ranks, the first.
pub fn owner(id: i64, world_size: usize) -> usize {
    let (residue, world_size) = ((id & 0xffff) as usize, world_size.max(1));
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
    fn raw(self) -> recis_owner {
        match self {
            Self::Slices => recis_owner::RECIS_OWNER_SLICES,
            Self::Balanced => recis_owner::RECIS_OWNER_BALANCED,
        }
    }

    /// The rank that owns an id.
    pub fn rank(self, id: i64, world_size: usize) -> usize {
        match self {
            Self::Slices => owner(id, world_size),
            Self::Balanced => (((murmur(&id.to_le_bytes()) >> 32) * world_size as u64) >> 32) as usize,
        }
    }
}

/// Reads `balanced` or `slices`.
impl FromStr for Owner {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "balanced" => Ok(Self::Balanced),
            "slices" => Ok(Self::Slices),
            _ => {
                let what = format!("'{name}' is unknown; one of balanced, slices");
                Err(Error::Option { option: "owner".into(), what })
            }
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
            let (owners, counts) = cpu::partition_ids::owners(ids.on_cpu()?, world_size, owner);
            Ok(Owners { owners: owners.into(), counts: counts.into() })
        }
        _ => {
            let mut found = Owners {
                owners: Buffer::unset(ids.len(), stream)?,
                counts: Buffer::unset(world_size, stream)?,
            };
            let (capacity, all, owner) = (ids.len() as i64, std::ptr::null::<u32>(), owner.raw());
            let (ids, world_size) = (ids.on(stream)?, world_size as i32);
            let (owners, counts) = (found.owners.on_mut(stream)?, found.counts.on_mut(stream)?);
            launch!(
                stream,
                recis_partition_ids_owner(ids, capacity, all, world_size, owner, owners, counts)
            )?;
            Ok(found)
        }
    }
}
