use crate::device::{Buffer, Stream};
use crate::ops::hash_table::HashTable;
use crate::ops::initialize::Sources;
use crate::ops::merge_gradients::{self, Gradients};
use crate::ops::partition_ids::Partition;
use crate::ops::rows::{self, Rows};
use crate::optim::{SparseOptimizer, SparseState, Take};
use crate::snapshot::{ArrayData, ArraySnapshot, TableSnapshot};
use crate::{Error, Result};

use super::PhysicalTable;

/// A table of embeddings: finds rows by key, gathers them, and learns.
pub trait Table: Send {
    /// Values an embedding.
    fn dim(&self) -> usize;

    /// The number of ids in each logical table, with its name.
    fn sizes(&self, stream: &Stream) -> Result<Vec<(&str, usize)>>;

    /// Makes room for the state of the optimizer. Called once, before any row exists.
    fn attach(&mut self, optimizer: &dyn SparseOptimizer, stream: &Stream) -> Result<()>;

    /// Makes room for so many ids more, whatever of those before was new. Whether [`Table::lookup`] of as many, and
    /// all up to [`Table::step`], then only enqueues work, and never waits for the device (no): if so of all that a
    /// plan has, a step may be launched as one graph.
    fn reserve(&mut self, ids: usize, stream: &Stream) -> Result<bool> {
        let _ = (ids, stream);
        Ok(false)
    }

    /// The row of each distinct id and its embedding; `rows` and `embeddings` are as long as
    /// `partition.ids`. Unknown ids get new rows if `insert`, else
    /// [`crate::ops::hash_table::NO_ROW`] and zeros.
    fn lookup(
        &mut self,
        partition: &Partition,
        insert: bool,
        rows: &mut Buffer<u32>,
        embeddings: &mut Buffer<f32>,
        stream: &Stream,
    ) -> Result<()>;

    /// Keeps gradients until the next [`Table::step`]. Those of unknown ids are passed over.
    fn accept_gradients(&mut self, gradients: Gradients, stream: &Stream) -> Result<()>;

    /// Updates the rows that have gradients, each the sum over the kept lists divided by `steps`.
    fn step(&mut self, optimizer: &dyn SparseOptimizer, steps: usize, stream: &Stream) -> Result<()>;

    /// Every logical table, and what the optimizer keeps for all of them.
    fn snapshot(&self, stream: &Stream) -> Result<(Vec<TableSnapshot>, Vec<ArraySnapshot>)>;

    /// Takes back what [`Table::snapshot`] gave; `tables` are removed as they are used.
    fn restore(
        &mut self,
        tables: &mut Vec<TableSnapshot>,
        take: &mut Take<'_>,
        stream: &Stream,
    ) -> Result<()>;
}

/// A physical table: logical tables that share rows' storage, growing as ids arrive. A row's
/// initial value depends only on (seed, logical table, id).
pub struct EmbeddingTable {
    names: Vec<String>,
    /// Initial values, by logical table.
    sources: Sources,
    dim: usize,
    index: HashTable,
    rows: Rows,
    slot_names: Vec<String>,
    prefix: &'static str,
    state: SparseState,
    pending: Vec<Gradients>,
}

impl EmbeddingTable {
    /// An empty table.
    pub fn new(table: &PhysicalTable, seed: u64, stream: &Stream) -> Result<Self> {
        let dim = table.option.embedding_dim;
        Ok(Self {
            names: table.children.clone(),
            sources: Sources::new(&table.option.initializer, seed, &table.children, stream)?,
            dim,
            index: HashTable::create(table.children.len(), stream)?,
            rows: Rows::new(dim, 1, stream)?,
            slot_names: vec!["embedding".into()],
            prefix: "",
            state: SparseState::default(),
            pending: Vec::new(),
        })
    }

    fn scalars(&self, name: &str) -> [String; 2] {
        ["beta1", "beta2"].map(|scalar| format!("{name}.{}_{scalar}", self.prefix))
    }
}

impl Table for EmbeddingTable {
    fn dim(&self) -> usize {
        self.dim
    }

    fn sizes(&self, stream: &Stream) -> Result<Vec<(&str, usize)>> {
        Ok(self.names.iter().map(String::as_str).zip(self.index.sizes(stream)?).collect())
    }

    fn attach(&mut self, optimizer: &dyn SparseOptimizer, stream: &Stream) -> Result<()> {
        self.prefix = optimizer.prefix();
        self.slot_names.truncate(1);
        self.slot_names.extend(optimizer.slots().iter().map(|slot| format!("{}_{slot}", self.prefix)));
        self.rows = Rows::new(self.dim, self.slot_names.len(), stream)?;
        Ok(())
    }

    fn reserve(&mut self, ids: usize, stream: &Stream) -> Result<bool> {
        self.index.reserve(ids, stream)?;
        self.rows.reserve(self.index.row_bound() + ids)?;
        Ok(true)
    }

    fn lookup(
        &mut self,
        partition: &Partition,
        insert: bool,
        rows: &mut Buffer<u32>,
        embeddings: &mut Buffer<f32>,
        stream: &Stream,
    ) -> Result<()> {
        let Partition { ids, table_offsets, count, .. } = partition;
        if insert {
            let new = self.index.find_or_insert(ids, table_offsets, rows, stream)?;
            self.rows.reserve(self.index.row_bound())?;
            rows::initialize(&mut self.rows, &self.sources, ids, table_offsets, rows, &new, stream)?;
        } else {
            self.index.find(ids, table_offsets, rows, stream)?;
        }
        rows::gather(&self.rows, 0, rows, Some(count), embeddings, stream)
    }

    fn accept_gradients(&mut self, gradients: Gradients, _: &Stream) -> Result<()> {
        self.pending.push(gradients);
        Ok(())
    }

    fn step(&mut self, optimizer: &dyn SparseOptimizer, steps: usize, stream: &Stream) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let merged = match (pending.len(), steps) {
            (0, _) => return Ok(()),
            (1, 1) => pending.swap_remove(0),
            _ => merge_gradients::forward(&pending, self.dim, steps, stream)?,
        };
        optimizer.step(&mut self.state, &mut self.rows, &merged, stream)
    }

    fn snapshot(&self, stream: &Stream) -> Result<(Vec<TableSnapshot>, Vec<ArraySnapshot>)> {
        let (mut tables, mut arrays) = (Vec::new(), Vec::new());
        for (i, name) in self.names.iter().enumerate() {
            let (ids, rows) = self.index.export(i, stream)?;
            let rows = Buffer::from_vec(rows, stream)?;
            let mut slots = Vec::new();
            for (slot, slot_name) in self.slot_names.iter().enumerate() {
                let mut values = Buffer::zeros(ids.len() * self.dim, stream)?;
                rows::gather(&self.rows, slot, &rows, None, &mut values, stream)?;
                slots.push((slot_name.clone(), values.to_vec(stream)?));
            }
            tables.push(TableSnapshot { name: name.clone(), dim: self.dim, ids, slots });
            let powers = [self.state.beta1_power, self.state.beta2_power];
            for (name, power) in self.scalars(name).into_iter().zip(powers) {
                arrays.push(ArraySnapshot { name, shape: vec![1], data: ArrayData::F32(vec![power]) });
            }
        }
        Ok((tables, arrays))
    }

    fn restore(
        &mut self,
        tables: &mut Vec<TableSnapshot>,
        take: &mut Take<'_>,
        stream: &Stream,
    ) -> Result<()> {
        self.index = HashTable::create(self.names.len(), stream)?;
        self.pending.clear();
        for (i, name) in self.names.iter().enumerate() {
            let place = tables.iter().position(|t| t.name == *name);
            let place = place.ok_or_else(|| Error::Model(format!("table '{name}' is missing")))?;
            let table = tables.swap_remove(place);
            if table.dim != self.dim {
                let what = format!("table '{name}' has dim {}, the model wants {}", table.dim, self.dim);
                return Err(Error::Model(what));
            }
            let count = table.ids.len();
            let ids = Buffer::from_vec(table.ids, stream)?;
            let mut rows = Buffer::zeros(count, stream)?;
            let bound = u32::try_from(count)
                .map_err(|_| Error::Model(format!("table '{name}' has {count} ids, above 2^32 - 1")))?;
            // All of them are this table's.
            let offsets = (0..=self.names.len()).map(|table| if table > i { bound } else { 0 }).collect();
            let offsets = Buffer::from_vec(offsets, stream)?;
            self.index.find_or_insert(&ids, &offsets, &mut rows, stream)?;
            self.rows.reserve(self.index.row_bound())?;
            for (slot, slot_name) in self.slot_names.iter().enumerate() {
                let values = table.slots.iter().find(|(name, _)| name == slot_name);
                let (_, values) = values
                    .ok_or_else(|| Error::Model(format!("table '{name}' has no slot '{slot_name}'")))?;
                let values = Buffer::from_vec(values.clone(), stream)?;
                rows::scatter(&mut self.rows, slot, &rows, &values, stream)?;
            }
            let [beta1, beta2] = self.scalars(name);
            let mut power = |name: &str| Ok::<_, Error>(take(name, &[1])?.into_f32(name)?[0]);
            let state = SparseState { beta1_power: power(&beta1)?, beta2_power: power(&beta2)? };
            if i > 0 && state != self.state {
                let what = format!(
                    "tables '{}' and '{name}' share storage but not the number of steps",
                    self.names[0]
                );
                return Err(Error::Model(what));
            }
            self.state = state;
        }
        Ok(())
    }
}
