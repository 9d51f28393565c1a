//! The table that lives on a device, and what the host knows of it.
//!
//! The host never waits for the device's counters: it reads them back as they come, and until then
//! reckons with all ids of the batches since being new.

use std::collections::VecDeque;

use crate::Result;
use crate::device::{Buffer, Order, ReadBack, Stream};
use crate::error::ensure;
use crate::ffi::{recis_hash_table, recis_hash_table_counter};
use crate::ops::launch::{call, launch};

use super::New;

/// Ids that a new table has room for.
const FIRST_CAPACITY: usize = 1 << 12;

const COUNTERS: usize = recis_hash_table_counter::RECIS_TABLE_COUNTERS.0 as usize;

/// An owned handle of the C ABI, and what orders its work.
pub struct KernelTable {
    handle: *mut recis_hash_table,
    /// The stream it was made on.
    stream: Stream,
    order: Option<Order>,
    /// Ids that there is room for.
    capacity: usize,
    known: Counters,
    /// Counters on their way, and how many ids the call before each may have inserted.
    coming: VecDeque<(ReadBack<i64>, usize)>,
}

// SAFETY: the handle may be used by one thread at a time, whichever it is.
unsafe impl Send for KernelTable {}

/// What the device has counted some calls ago.
#[derive(Clone, Copy, Default)]
struct Counters {
    size: usize,
    used: usize,
    row_bound: usize,
}

impl KernelTable {
    pub fn create(stream: &Stream) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        launch!(stream, recis_hash_table_create(FIRST_CAPACITY as i64, &mut handle))?;
        Ok(Self {
            handle,
            stream: stream.clone(),
            order: stream.order(),
            capacity: FIRST_CAPACITY,
            known: Counters::default(),
            coming: VecDeque::new(),
        })
    }

    /// The table, for a call on `stream`.
    fn on(&self, stream: &Stream) -> Result<*mut recis_hash_table> {
        stream.write("a table", self.stream.device(), self.order.as_ref())?;
        Ok(self.handle)
    }

    /// How many ids may have been inserted since the counters that are known.
    fn since(&self) -> usize {
        self.coming.iter().map(|(_, inserted)| inserted).sum()
    }

    pub fn row_bound(&self) -> usize {
        self.known.row_bound + self.since()
    }

    pub fn sizes(&self, tables: usize, stream: &Stream) -> Result<Vec<usize>> {
        let mut counts = Buffer::<i64>::zeros(tables, stream)?;
        launch!(stream, recis_hash_table_size(self.on(stream)?, tables as i64, counts.on_mut(stream)?))?;
        Ok(counts.to_vec(stream)?.into_iter().map(|count| count as usize).collect())
    }

    pub fn find(
        &self,
        ids: &Buffer<i64>,
        offsets: &Buffer<u32>,
        rows: &mut Buffer<u32>,
        stream: &Stream,
    ) -> Result<()> {
        let (tables, capacity) = (offsets.len() as i64 - 1, ids.len() as i64);
        let (ids, offsets) = (ids.on(stream)?, offsets.on(stream)?);
        let rows = rows.on_mut(stream)?;
        launch!(stream, recis_hash_table_find(self.on(stream)?, ids, offsets, tables, capacity, rows))
    }

    pub fn find_or_insert(
        &mut self,
        ids: &Buffer<i64>,
        offsets: &Buffer<u32>,
        rows: &mut Buffer<u32>,
        stream: &Stream,
    ) -> Result<New> {
        let table = self.on(stream)?;
        self.reserve(ids.len(), stream)?;
        let (tables, capacity) = (offsets.len() as i64 - 1, ids.len() as i64);
        let mut new = New { places: Buffer::unset(ids.len(), stream)?, count: Buffer::unset(1, stream)? };
        let (id, offsets, rows) = (ids.on(stream)?, offsets.on(stream)?, rows.on_mut(stream)?);
        let (places, count) = (new.places.on_mut(stream)?, new.count.on_mut(stream)?);
        let counters = ReadBack::written(COUNTERS, stream, |counters| {
            launch!(
                stream,
                recis_hash_table_find_or_insert(
                    table, id, offsets, tables, capacity, rows, places, count, counters
                )
            )
        })?;
        self.coming.push_back((counters, ids.len()));
        Ok(new)
    }

    pub fn erase(&mut self, ids: &Buffer<i64>, offsets: &Buffer<u32>, stream: &Stream) -> Result<()> {
        let (tables, capacity) = (offsets.len() as i64 - 1, ids.len() as i64);
        let (ids, offsets) = (ids.on(stream)?, offsets.on(stream)?);
        launch!(stream, recis_hash_table_erase(self.on(stream)?, ids, offsets, tables, capacity))?;
        let counters = ReadBack::written(COUNTERS, stream, |counters| {
            launch!(stream, recis_hash_table_counters(self.on(stream)?, counters))
        })?;
        self.coming.push_back((counters, 0));
        Ok(())
    }

    pub fn export(&self, table: usize, tables: usize, stream: &Stream) -> Result<(Vec<i64>, Vec<u32>)> {
        let len = self.sizes(tables, stream)?[table];
        let (mut ids, mut rows) = (Buffer::unset(len, stream)?, Buffer::unset(len, stream)?);
        let mut count = Buffer::<i64>::unset(1, stream)?;
        let (capacity, out_ids, out_rows) = (len as i64, ids.on_mut(stream)?, rows.on_mut(stream)?);
        launch!(
            stream,
            recis_hash_table_export(
                self.on(stream)?,
                table as u32,
                capacity,
                out_ids,
                out_rows,
                count.on_mut(stream)?
            )
        )?;
        let mut pairs: Vec<(i64, u32)> = ids.to_vec(stream)?.into_iter().zip(rows.to_vec(stream)?).collect();
        pairs.sort_unstable();
        Ok(pairs.into_iter().unzip())
    }

    /// Makes room for `additional` ids, whatever of those before was new.
    pub fn reserve(&mut self, additional: usize, stream: &Stream) -> Result<()> {
        self.learn()?;
        let since = self.since();
        if self.known.used + since + additional <= self.capacity {
            return Ok(());
        }
        // Twice, so that moving costs little a key; erased ids are forgotten by moving.
        let ids = (self.known.size + since + additional).max(2 * (self.known.size + since));
        let reserve = || launch!(stream, recis_hash_table_reserve(self.on(stream)?, ids as i64));
        if reserve().is_err() {
            // It may be for want of memory, which may be kept for later.
            stream.give_back_memory()?;
            reserve()?;
        }
        self.capacity = self.capacity.max(ids);
        self.known.used = self.known.size;
        Ok(())
    }

    /// Takes the counters that have come.
    fn learn(&mut self) -> Result<()> {
        while self.coming.front().is_some_and(|(counters, _)| counters.is_ready()) {
            let Some((counters, _)) = self.coming.pop_front() else { break };
            let counters = counters.wait()?;
            let counter = |which: recis_hash_table_counter| counters[which.0 as usize] as usize;
            self.known = Counters {
                size: counter(recis_hash_table_counter::RECIS_TABLE_SIZE),
                used: counter(recis_hash_table_counter::RECIS_TABLE_USED),
                row_bound: counter(recis_hash_table_counter::RECIS_TABLE_ROW_BOUND),
            };
            let failed = counter(recis_hash_table_counter::RECIS_TABLE_FAILED);
            ensure(failed == 0, "hash_table", || format!("{failed} ids were not placed"))?;
        }
        Ok(())
    }
}

impl Drop for KernelTable {
    fn drop(&mut self) {
        let destroy = || -> Result<()> { call!(&self.stream, recis_hash_table_destroy(self.handle)) };
        // There is nobody to tell; the driver frees what is left when the process ends.
        _ = destroy();
    }
}
