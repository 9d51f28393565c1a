//! From keys to rows. A key is a logical table and a 64-bit id; every id is valid. The rows of all
//! logical tables come from one storage; rows that are erased are used again.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Error, Result, ops::cpu};

use cpu::hash_table::Index;
pub use cpu::hash_table::NO_ROW;

/// The ids of several logical tables and their rows in one storage.
pub struct HashTable {
    indices: Vec<Index>,
    next_row: u32,
    free_rows: Vec<u32>,
}

/// The ids of one logical table that an operation works on: `ids[first..first + count]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRange {
    /// The logical table.
    pub table: usize,
    /// Its first id.
    pub first: usize,
    /// How many ids.
    pub count: usize,
}

impl HashTable {
    /// An empty table of `tables` logical tables on the stream's device.
    pub fn create(tables: usize, stream: &Stream) -> Result<Self> {
        match stream.device() {
            Device::Cpu => Ok(Self {
                indices: std::iter::repeat_with(Index::default).take(tables).collect(),
                next_row: 0,
                free_rows: Vec::new(),
            }),
        }
    }

    /// The number of ids in a logical table.
    pub fn len(&self, table: usize) -> usize {
        self.indices[table].len()
    }

    /// Whether no logical table holds an id.
    pub fn is_empty(&self) -> bool {
        self.indices.iter().all(Index::is_empty)
    }

    /// Rows are below this.
    pub fn row_bound(&self) -> usize {
        self.next_row as usize
    }

    /// Makes room for `additional` ids of a logical table.
    pub fn reserve(&mut self, table: usize, additional: usize) {
        self.indices[table].reserve(additional);
    }

    /// The row of each id, [`NO_ROW`] for one that is not in the table.
    pub fn find(
        &self,
        ids: &Buffer<i64>,
        ranges: &[TableRange],
        rows: &mut Buffer<u32>,
        stream: &Stream,
    ) -> Result<()> {
        self.check(ids, ranges, rows.len())?;
        match stream.device() {
            Device::Cpu => {
                for range in ranges {
                    for i in range.first..range.first + range.count {
                        rows.host_mut()[i] = self.indices[range.table].find(ids.host()[i]);
                    }
                }
            }
        }
        Ok(())
    }

    /// The row of each id; an id that is not in the table gets one. Returns where in `ids` the new
    /// ones are.
    ///
    /// # Errors
    /// No rows are left (2^32 - 1 of them); ids that have their rows by then keep them.
    pub fn find_or_insert(
        &mut self,
        ids: &Buffer<i64>,
        ranges: &[TableRange],
        rows: &mut Buffer<u32>,
        stream: &Stream,
    ) -> Result<Vec<u32>> {
        self.check(ids, ranges, rows.len())?;
        let mut new = Vec::new();
        match stream.device() {
            Device::Cpu => {
                for range in ranges {
                    for i in range.first..range.first + range.count {
                        let (next, free) = (&mut self.next_row, &mut self.free_rows);
                        let allocate = || {
                            new.push(i as u32);
                            allocate(next, free)
                        };
                        rows.host_mut()[i] =
                            self.indices[range.table].find_or_insert(ids.host()[i], allocate)?;
                    }
                }
            }
        }
        Ok(new)
    }

    /// Removes ids; their rows may be given to others. Ids that are not in the table are passed
    /// over. Returns how many were removed.
    pub fn erase(&mut self, ids: &Buffer<i64>, ranges: &[TableRange], stream: &Stream) -> Result<usize> {
        self.check(ids, ranges, ids.len())?;
        let before = self.free_rows.len();
        match stream.device() {
            Device::Cpu => {
                for range in ranges {
                    for &id in &ids.host()[range.first..range.first + range.count] {
                        let row = self.indices[range.table].erase(id);
                        self.free_rows.extend((row != NO_ROW).then_some(row));
                    }
                }
            }
        }
        Ok(self.free_rows.len() - before)
    }

    /// The ids of a logical table, ascending, and their rows.
    pub fn export(&self, table: usize) -> (Vec<i64>, Vec<u32>) {
        self.indices[table].export()
    }

    fn check(&self, ids: &Buffer<i64>, ranges: &[TableRange], rows: usize) -> Result<()> {
        ensure(ids.len() == rows, "hash_table", || format!("{} ids but room for {rows} rows", ids.len()))?;
        let mut end = 0;
        for range in ranges {
            let fits = range.first >= end && range.count <= ids.len().saturating_sub(range.first);
            ensure(fits && range.table < self.indices.len(), "hash_table", || {
                format!(
                    "{range:?} does not fit {} ids and {} tables, or overlaps the one before",
                    ids.len(),
                    self.indices.len()
                )
            })?;
            end = range.first + range.count;
        }
        Ok(())
    }
}

fn allocate(next_row: &mut u32, free_rows: &mut Vec<u32>) -> Result<u32> {
    if let Some(row) = free_rows.pop() {
        return Ok(row);
    }
    if *next_row == NO_ROW {
        return Err(Error::shape("hash_table", "all 2^32 - 1 rows are in use"));
    }
    *next_row += 1;
    Ok(*next_row - 1)
}
