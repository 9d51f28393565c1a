//! The storage of a table's rows, and moving rows in and out of it. f32.
//!
//! A row holds its slots side by side, [embedding | exp_avg | exp_avg_sq]: an update then touches
//! one place in memory instead of three. Rows never move, so growth copies nothing.

use crate::Result;
use crate::device::{Buffer, Device, Growing, Stream};
use crate::error::ensure;
use crate::ffi::recis_rows;
use crate::ops::hash_table::{NO_ROW, New};
use crate::ops::initialize::Sources;
use crate::ops::launch::launch;
use crate::ops::{count_on, cpu, host_count};

/// Rows of `slots` × `dim` values.
pub struct Rows {
    dim: usize,
    slots: usize,
    values: Growing<f32>,
}

impl Rows {
    /// Storage without rows, on the stream's device.
    pub fn new(dim: usize, slots: usize, stream: &Stream) -> Result<Self> {
        ensure(dim > 0 && slots > 0 && slots.checked_mul(dim).is_some(), "rows", || {
            format!("no rows have {slots} slots of {dim} values")
        })?;
        Ok(Self { dim, slots, values: Growing::new(stream)? })
    }

    /// Values a slot.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Slots a row.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The number of rows there is memory for.
    pub fn capacity(&self) -> usize {
        self.values.capacity() / self.stride()
    }

    /// Makes room for rows below `bound`; what new rows hold is unspecified.
    pub fn reserve(&mut self, bound: usize) -> Result<()> {
        self.values.grow(bound.saturating_mul(self.stride()))
    }

    fn stride(&self) -> usize {
        self.slots * self.dim
    }

    pub(crate) fn layout(&self) -> cpu::rows::Layout {
        cpu::rows::Layout { dim: self.dim, slots: self.slots }
    }

    pub(crate) fn on_cpu_mut(&mut self) -> Result<&mut [f32]> {
        self.values.on_cpu_mut()
    }

    /// The storage as kernels take it.
    pub(crate) fn raw(&self, stream: &Stream) -> Result<recis_rows> {
        Ok(recis_rows {
            storage: self.values.on(stream)?,
            bound: self.capacity() as i64,
            dim: self.dim as i64,
            stride: self.stride() as i64,
        })
    }

    /// Checks that `values` are one slot of each of `rows`, and on the host that there are such rows;
    /// kernels pass over others.
    pub(crate) fn check(&self, rows: &Buffer<u32>, values: usize) -> Result<()> {
        ensure(values == rows.len().saturating_mul(self.dim), "rows", || {
            format!("{values} values for {} rows of {}", rows.len(), self.dim)
        })?;
        if rows.device() != Device::Cpu {
            return Ok(());
        }
        let outside = rows.on_cpu()?.iter().find(|&&r| r != NO_ROW && r as usize >= self.capacity());
        ensure(outside.is_none(), "rows", || {
            format!("row {} of {}", outside.copied().unwrap_or_default(), self.capacity())
        })
    }
}

/// Copies a slot of each of the first `count` rows (one element; none: all) to `out` [rows, dim];
/// zeros for [`NO_ROW`].
pub fn gather(
    storage: &Rows,
    slot: usize,
    rows: &Buffer<u32>,
    count: Option<&Buffer<u32>>,
    out: &mut Buffer<f32>,
    stream: &Stream,
) -> Result<()> {
    storage.check(rows, out.len())?;
    ensure(slot < storage.slots, "rows", || format!("slot {slot} of {}", storage.slots))?;
    match stream.device() {
        Device::Cpu => {
            let count = host_count("rows", count, rows.len())?;
            let out = &mut out.on_cpu_mut()?[..count * storage.dim];
            cpu::rows::gather(storage.values.on_cpu()?, storage.layout(), slot, rows.on_cpu()?, out);
            Ok(())
        }
        _ => {
            let storage = storage.raw(stream)?;
            let (capacity, rows, count) = (rows.len() as i64, rows.on(stream)?, count_on(count, stream)?);
            let (slot, out) = (slot as i64, out.on_mut(stream)?);
            launch!(stream, recis_rows_gather(&storage, slot, rows, capacity, count, out))
        }
    }
}

/// Writes `values` [rows, dim] to a slot of each row; [`NO_ROW`] is passed over. Rows must differ.
pub fn scatter(
    storage: &mut Rows,
    slot: usize,
    rows: &Buffer<u32>,
    values: &Buffer<f32>,
    stream: &Stream,
) -> Result<()> {
    storage.check(rows, values.len())?;
    ensure(slot < storage.slots, "rows", || format!("slot {slot} of {}", storage.slots))?;
    match stream.device() {
        Device::Cpu => {
            let layout = storage.layout();
            cpu::rows::scatter(storage.values.on_cpu_mut()?, layout, slot, rows.on_cpu()?, values.on_cpu()?);
            Ok(())
        }
        _ => {
            let storage = storage.raw(stream)?;
            let (capacity, rows, values) = (rows.len() as i64, rows.on(stream)?, values.on(stream)?);
            let (slot, all) = (slot as i64, std::ptr::null::<u32>());
            launch!(stream, recis_rows_scatter(&storage, slot, rows, capacity, all, values))
        }
    }
}

/// Gives new rows their initial values, and zeros in the slots behind the first: erased rows come back
/// with what they last held. `ids` are grouped by logical table: those of table `t` are
/// `table_offsets[t]..table_offsets[t + 1]`.
pub fn initialize(
    storage: &mut Rows,
    sources: &Sources,
    ids: &Buffer<i64>,
    table_offsets: &Buffer<u32>,
    rows: &Buffer<u32>,
    new: &New,
    stream: &Stream,
) -> Result<()> {
    ensure(ids.len() == rows.len() && new.places.len() <= ids.len(), "rows", || {
        format!("{} ids, {} rows, at most {} new ones", ids.len(), rows.len(), new.places.len())
    })?;
    ensure(sources.tables() + 1 == table_offsets.len(), "rows", || {
        format!("initial values for {} tables, offsets of {}", sources.tables(), table_offsets.len())
    })?;
    match stream.device() {
        Device::Cpu => {
            storage.check(rows, rows.len() * storage.dim)?;
            let count = host_count("rows", Some(&new.count), new.places.len())?;
            let (layout, new) = (storage.layout(), &new.places.on_cpu()?[..count]);
            let (ids, rows, offsets) = (ids.on_cpu()?, rows.on_cpu()?, table_offsets.on_cpu()?);
            let end = offsets.last().map_or(0, |&end| ids.len().min(end as usize));
            let fits = offsets.first() == Some(&0) && offsets.is_sorted();
            ensure(fits && new.iter().all(|&place| (place as usize) < end), "rows", || {
                format!("new places {new:?} are not below {end}, or offsets {offsets:?} do not ascend from 0")
            })?;
            let new_rows: Vec<u32> = new.iter().map(|&place| rows[place as usize]).collect();
            cpu::rows::for_each_row(storage.values.on_cpu_mut()?, layout, &new_rows, |row, i| {
                let place = new[i];
                let table = offsets.partition_point(|&first| first <= place) - 1;
                let (embedding, slots) = row.split_at_mut(layout.dim);
                sources.fill(table, ids[place as usize], embedding);
                slots.fill(0.0);
            });
            Ok(())
        }
        _ => {
            let storage = storage.raw(stream)?;
            let (initializer, keys) = (sources.raw(), sources.keys_on(stream)?);
            let (id_capacity, tables) = (ids.len() as i64, sources.tables() as i64);
            let (ids, rows, offsets) = (ids.on(stream)?, rows.on(stream)?, table_offsets.on(stream)?);
            let capacity = new.places.len() as i64;
            let (places, count) = (new.places.on(stream)?, new.count.on(stream)?);
            launch!(
                stream,
                recis_rows_initialize(
                    &storage,
                    &initializer,
                    keys,
                    ids,
                    rows,
                    id_capacity,
                    offsets,
                    tables,
                    places,
                    capacity,
                    count
                )
            )
        }
    }
}
