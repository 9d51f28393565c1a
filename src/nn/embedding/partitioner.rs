//! The distinct ids of a batch in every physical table: all of a lookup that needs no table.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::device::{Buffer, Stream};
use crate::ops::partition_ids::{self, Partition};
use crate::tensor::{Batch, Tensor, Values};
use crate::{Error, Result};

/// Finds the distinct ids of batches, for an engine's tables, on any thread.
#[derive(Debug)]
pub struct Partitioner {
    pub(super) tables: Vec<TableIds>,
    /// Of each feature that is a dense column: where the rows of the last batch began.
    offsets: Mutex<HashMap<String, DenseOffsets>>,
}

/// The ids of a batch, for the engine whose partitioner has found them.
#[derive(Debug)]
pub struct BatchIds(pub(super) Vec<GroupIds>);

/// What is to be known of a physical table.
#[derive(Clone, Debug)]
pub(super) struct TableIds {
    /// The features that use it, and the logical table of each.
    pub(super) features: Vec<(String, usize)>,
    pub(super) tables: usize,
    /// The features that a layer gathers.
    pub(super) gathered: HashSet<String>,
    /// Where the work runs, if not on the others' stream.
    pub(super) beside: Option<Stream>,
}

#[derive(Debug)]
struct DenseOffsets {
    width: usize,
    rows: usize,
    offsets: Buffer<i32>,
}

/// The ids of a batch in one physical table.
#[derive(Debug, Default)]
pub(super) struct GroupIds {
    pub(super) columns: Vec<Column>,
    pub(super) partition: Partition,
}

/// A feature's ids.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) tensor: Arc<Tensor>,
    /// Of a dense column: where its rows begin.
    pub(super) row_offsets: Option<Buffer<i32>>,
    /// Ids, at most.
    pub(super) ids: usize,
    /// Whether it is known where they occur.
    pub(super) listed: bool,
}

impl Partitioner {
    pub(super) fn new(tables: Vec<TableIds>) -> Self {
        Self { tables, offsets: Mutex::default() }
    }

    /// The streams of their own that tables have here.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.tables.iter().filter_map(|table| table.beside.as_ref())
    }

    /// Finds the distinct ids of a batch, on `stream` or beside it.
    ///
    /// # Errors
    /// A feature that is missing or holds no ids.
    pub fn partition(&self, batch: &Batch, stream: &Stream) -> Result<BatchIds> {
        let mut found: Vec<_> = self.tables.iter().map(|_| GroupIds::default()).collect();
        // Those first whose work runs beside the others': enqueued behind, it would wait.
        for is_beside in [true, false] {
            for (table, found) in self.tables.iter().zip(&mut found) {
                if table.beside.is_some() == is_beside {
                    *found = self.partition_table(table, batch, table.beside.as_ref().unwrap_or(stream))?;
                }
            }
        }
        Ok(BatchIds(found))
    }

    fn partition_table(&self, table: &TableIds, batch: &Batch, stream: &Stream) -> Result<GroupIds> {
        let mut columns = Vec::with_capacity(table.features.len());
        for (name, _) in &table.features {
            let tensor = batch.get(name)?.clone();
            let row_offsets = match tensor.as_ref() {
                Tensor::Dense(t) => Some(self.dense_offsets(name, t.width, t.rows, stream)?),
                Tensor::Ragged(ragged) if ragged.offsets.len() == 1 => None,
                Tensor::Ragged(_) => return unfit(name, "an embedding needs one list of ids a row", &tensor),
            };
            let (ids, listed) = (ids(name, &tensor)?.len(), !table.gathered.contains(name));
            columns.push(Column { tensor, row_offsets, ids, listed });
        }
        stream.read_all(columns.iter().flat_map(|column| column.tensor.orders()))?;
        let of = columns.iter().zip(&table.features).map(|(column, (name, table))| {
            let offsets = match column.tensor.as_ref() {
                Tensor::Ragged(ragged) => Some(ragged.segments()),
                Tensor::Dense(_) => None,
            };
            let (ids, listed) = (ids(name, &column.tensor)?, column.listed);
            Ok(partition_ids::Column { table: *table, ids, offsets, listed })
        });
        let of = of.collect::<Result<Vec<_>>>()?;
        let partition = partition_ids::forward(&of, table.tables, stream)?;
        Ok(GroupIds { columns, partition })
    }

    /// Where the rows of a dense column begin: as in the batch before, if it was as large.
    fn dense_offsets(
        &self,
        feature: &str,
        width: usize,
        rows: usize,
        stream: &Stream,
    ) -> Result<Buffer<i32>> {
        let mut kept = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = kept.get(feature)
            && (last.width, last.rows, last.offsets.device()) == (width, rows, stream.device())
        {
            return Ok(last.offsets.clone());
        }
        let offsets = every(width, rows, stream)?;
        kept.insert(feature.into(), DenseOffsets { width, rows, offsets: offsets.clone() });
        Ok(offsets)
    }
}

/// The ids of a column.
fn ids<'a>(feature: &str, tensor: &'a Tensor) -> Result<&'a Buffer<i64>> {
    match tensor.values() {
        Values::I64(ids) => Ok(ids),
        _ => unfit(feature, "an embedding needs ids", tensor),
    }
}

fn unfit<T>(feature: &str, what: &str, tensor: &Tensor) -> Result<T> {
    let what = format!("{what}, this is {}", tensor.describe());
    Err(Error::Data { place: format!("feature '{feature}'"), what })
}

/// 0, width, 2 width, …: the offsets of rows of equal length.
fn every(width: usize, rows: usize, stream: &Stream) -> Result<Buffer<i32>> {
    let offsets = (0..=rows).map(|row| i32::try_from(row * width));
    let offsets: Result<Vec<i32>, _> = offsets.collect();
    let offsets = offsets.map_err(|_| Error::Model(format!("{rows} rows of {width} ids, above 2^31 - 1")))?;
    Buffer::from_vec(offsets, stream)
}
