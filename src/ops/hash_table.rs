//! From keys to rows. A key is a logical table and a 64-bit id; every id is valid. The rows of all
//! logical tables come from one storage; rows that are erased are used again.

mod kernels;

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Error, Result, ops::cpu};

use cpu::hash_table::Index;
pub use cpu::hash_table::NO_ROW;
use kernels::KernelTable;

/// The ids of several logical tables and their rows in one storage.
///
/// Ids come grouped by logical table: those of table `t` are `ids[offsets[t]..offsets[t + 1]]`, as
/// [`crate::ops::partition_ids`] gives them; ids behind the last offset are not looked at.
///
/// One thread at a time works on a table, whichever it is, on any stream of its device: the table is
/// `Send`, not `Sync`. Work on another stream than the last waits for it, on the device.
pub struct HashTable {
    tables: usize,
    form: Form,
}

enum Form {
    Cpu(CpuTable),
    Kernels(KernelTable),
}

struct CpuTable {
    indices: Vec<Index>,
    next_row: u32,
    free_rows: Vec<u32>,
}

/// The ids that have got a row.
#[derive(Debug)]
pub struct New {
    /// Where they are among the ids that were looked up; there may be room for more.
    pub places: Buffer<u32>,
    /// How many, one element.
    pub count: Buffer<u32>,
}

impl HashTable {
    /// An empty table of `tables` logical tables on the stream's device.
    pub fn create(tables: usize, stream: &Stream) -> Result<Self> {
        ensure((1..=4096).contains(&tables), "hash_table", || {
            format!("{tables} logical tables; there may be 1 to 4096")
        })?;
        let form = match stream.device() {
            Device::Cpu => Form::Cpu(CpuTable {
                indices: std::iter::repeat_with(Index::default).take(tables).collect(),
                next_row: 0,
                free_rows: Vec::new(),
            }),
            _ => Form::Kernels(KernelTable::create(stream)?),
        };
        Ok(Self { tables, form })
    }

    /// The number of ids in each logical table. On a device it waits for them.
    pub fn sizes(&self, stream: &Stream) -> Result<Vec<usize>> {
        match &self.form {
            Form::Cpu(table) => Ok(table.indices.iter().map(Index::len).collect()),
            Form::Kernels(table) => table.sizes(self.tables, stream),
        }
    }

    /// Rows are below this. On a device it may be more than there are, by what the last calls may have
    /// inserted.
    pub fn row_bound(&self) -> usize {
        match &self.form {
            Form::Cpu(table) => table.next_row as usize,
            Form::Kernels(table) => table.row_bound(),
        }
    }

    /// Makes room for so many ids more, so that inserting them does not have to.
    ///
    /// # Errors
    /// No memory.
    pub fn reserve(&mut self, ids: usize, stream: &Stream) -> Result<()> {
        match &mut self.form {
            Form::Cpu(_) => Ok(()),
            Form::Kernels(table) => table.reserve(ids, stream),
        }
    }

    /// The row of each id, [`NO_ROW`] for one that is not in the table. Behind the ids, rows are
    /// [`NO_ROW`] too.
    pub fn find(
        &self,
        ids: &Buffer<i64>,
        offsets: &Buffer<u32>,
        rows: &mut Buffer<u32>,
        stream: &Stream,
    ) -> Result<()> {
        self.check(ids, offsets, rows.len(), stream)?;
        match &self.form {
            Form::Cpu(table) => {
                let (ids, rows) = (ids.on_cpu()?, rows.on_cpu_mut()?);
                rows.fill(NO_ROW);
                for (index, range) in table.indices.iter().zip(ranges(ids, offsets)?) {
                    for i in range {
                        rows[i] = index.find(ids[i]);
                    }
                }
                Ok(())
            }
            Form::Kernels(table) => table.find(ids, offsets, rows, stream),
        }
    }

    /// The row of each id; an id that is not in the table gets one. Behind the ids, rows are
    /// [`NO_ROW`].
    ///
    /// # Errors
    /// No rows are left (2^32 - 1 of them), or no memory; ids that have their rows by then keep them.
    pub fn find_or_insert(
        &mut self,
        ids: &Buffer<i64>,
        offsets: &Buffer<u32>,
        rows: &mut Buffer<u32>,
        stream: &Stream,
    ) -> Result<New> {
        self.check(ids, offsets, rows.len(), stream)?;
        match &mut self.form {
            Form::Cpu(CpuTable { indices, next_row, free_rows }) => {
                let mut new = Vec::new();
                let (ids, rows) = (ids.on_cpu()?, rows.on_cpu_mut()?);
                rows.fill(NO_ROW);
                for (index, range) in indices.iter_mut().zip(ranges(ids, offsets)?) {
                    for i in range {
                        let allocate = || {
                            new.push(i as u32);
                            allocate(next_row, free_rows)
                        };
                        rows[i] = index.find_or_insert(ids[i], allocate)?;
                    }
                }
                Ok(New { count: vec![new.len() as u32].into(), places: new.into() })
            }
            Form::Kernels(table) => table.find_or_insert(ids, offsets, rows, stream),
        }
    }

    /// Removes ids; their rows may be given to others. Ids that are not in the table are passed over.
    pub fn erase(&mut self, ids: &Buffer<i64>, offsets: &Buffer<u32>, stream: &Stream) -> Result<()> {
        self.check(ids, offsets, ids.len(), stream)?;
        match &mut self.form {
            Form::Cpu(table) => {
                let ids = ids.on_cpu()?;
                for (index, range) in table.indices.iter_mut().zip(ranges(ids, offsets)?) {
                    let rows = ids[range].iter().map(|&id| index.erase(id));
                    table.free_rows.extend(rows.filter(|&row| row != NO_ROW));
                }
                Ok(())
            }
            Form::Kernels(table) => table.erase(ids, offsets, stream),
        }
    }

    /// The ids of a logical table, ascending, and their rows.
    pub fn export(&self, table: usize, stream: &Stream) -> Result<(Vec<i64>, Vec<u32>)> {
        ensure(table < self.tables, "hash_table", || format!("table {table} of {}", self.tables))?;
        match &self.form {
            Form::Cpu(form) => Ok(form.indices[table].export()),
            Form::Kernels(form) => form.export(table, self.tables, stream),
        }
    }

    fn check(&self, ids: &Buffer<i64>, offsets: &Buffer<u32>, rows: usize, stream: &Stream) -> Result<()> {
        if let Form::Cpu(_) = self.form {
            stream.write("a table", Device::Cpu, None)?;
        }
        ensure(ids.len() == rows, "hash_table", || format!("{} ids but room for {rows} rows", ids.len()))?;
        ensure(offsets.len() == self.tables + 1, "hash_table", || {
            format!("{} offsets for {} tables", offsets.len(), self.tables)
        })
    }
}

/// The places of each table's ids.
fn ranges<'a>(
    ids: &[i64],
    offsets: &'a Buffer<u32>,
) -> Result<impl Iterator<Item = std::ops::Range<usize>> + 'a> {
    let (offsets, ids) = (offsets.on_cpu()?, ids.len());
    let fit = offsets[0] == 0 && offsets.is_sorted() && offsets[offsets.len() - 1] as usize <= ids;
    ensure(fit, "hash_table", || format!("offsets {offsets:?} do not ascend from 0 to at most {ids} ids"))?;
    Ok(offsets.windows(2).map(|ends| ends[0] as usize..ends[1] as usize))
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
