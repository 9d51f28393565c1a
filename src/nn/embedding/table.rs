use rayon::prelude::*;

use crate::device::{Buffer, Stream};
use crate::ops::hash_table::{HashTable, TableRange};
use crate::ops::initialize::Source;
use crate::ops::merge_gradients;
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
    fn sizes(&self) -> Vec<(&str, usize)>;

    /// Makes room for the state of the optimizer. Called once, before any row exists.
    fn attach(&mut self, optimizer: &dyn SparseOptimizer) -> Result<()>;

    /// The row of each distinct key and its embedding. Keys are ids grouped by logical table;
    /// unknown ones get new rows if `insert`, else [`crate::ops::hash_table::NO_ROW`] and zeros.
    fn lookup(
        &mut self,
        ids: &Buffer<i64>,
        ranges: &[TableRange],
        insert: bool,
        rows: &mut Buffer<u32>,
        embeddings: &mut Buffer<f32>,
        stream: &Stream,
    ) -> Result<()>;

    /// Keeps gradients [rows, dim] until the next [`Table::step`]. Rows differ within one call;
    /// those of unknown ids are passed over.
    fn accept_gradients(&mut self, rows: Buffer<u32>, gradients: Buffer<f32>, stream: &Stream) -> Result<()>;

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
    sources: Vec<Source>,
    dim: usize,
    index: HashTable,
    rows: Rows,
    slot_names: Vec<String>,
    prefix: &'static str,
    state: SparseState,
    pending: Vec<(Buffer<u32>, Buffer<f32>)>,
}

impl EmbeddingTable {
    /// An empty table.
    pub fn new(table: &PhysicalTable, seed: u64, stream: &Stream) -> Result<Self> {
        let dim = table.option.embedding_dim;
        Ok(Self {
            names: table.children.clone(),
            sources: (table.children.iter())
                .map(|name| Source::new(&table.option.initializer, seed, name))
                .collect(),
            dim,
            index: HashTable::create(table.children.len(), stream)?,
            rows: Rows::new(dim, 1)?,
            slot_names: vec!["embedding".into()],
            prefix: "",
            state: SparseState::default(),
            pending: Vec::new(),
        })
    }

    /// Gives new rows their initial values, and zeros in the optimizer's slots.
    fn initialize(
        &mut self,
        new: &[u32],
        ids: &Buffer<i64>,
        ranges: &[TableRange],
        rows: &Buffer<u32>,
        stream: &Stream,
    ) -> Result<()> {
        self.rows.reserve(self.index.row_bound(), stream)?;
        let ids = ids.to_vec(stream)?;
        let all_rows = rows.to_vec(stream)?;
        let mut values = vec![0.0; new.len() * self.dim];
        values.par_chunks_exact_mut(self.dim).with_min_len(64).zip(new).for_each(|(values, &i)| {
            let range = ranges.iter().find(|r| (r.first..r.first + r.count).contains(&(i as usize)));
            if let Some(range) = range {
                self.sources[range.table].fill(ids[i as usize], values);
            }
        });
        let rows = Buffer::from_vec(new.iter().map(|&i| all_rows[i as usize]).collect(), stream)?;
        rows::scatter(&mut self.rows, 0, &rows, &Buffer::from_vec(values, stream)?, stream)?;
        // Erased rows come back with what they last held.
        let zeros = Buffer::zeros(new.len() * self.dim, stream)?;
        (1..self.slot_names.len())
            .try_for_each(|slot| rows::scatter(&mut self.rows, slot, &rows, &zeros, stream))
    }

    fn scalars(&self, name: &str) -> [String; 2] {
        ["beta1", "beta2"].map(|scalar| format!("{name}.{}_{scalar}", self.prefix))
    }
}

impl Table for EmbeddingTable {
    fn dim(&self) -> usize {
        self.dim
    }

    fn sizes(&self) -> Vec<(&str, usize)> {
        self.names.iter().enumerate().map(|(i, name)| (name.as_str(), self.index.len(i))).collect()
    }

    fn attach(&mut self, optimizer: &dyn SparseOptimizer) -> Result<()> {
        self.prefix = optimizer.prefix();
        self.slot_names.truncate(1);
        self.slot_names.extend(optimizer.slots().iter().map(|slot| format!("{}_{slot}", self.prefix)));
        self.rows = Rows::new(self.dim, self.slot_names.len())?;
        Ok(())
    }

    fn lookup(
        &mut self,
        ids: &Buffer<i64>,
        ranges: &[TableRange],
        insert: bool,
        rows: &mut Buffer<u32>,
        embeddings: &mut Buffer<f32>,
        stream: &Stream,
    ) -> Result<()> {
        if insert {
            let new = self.index.find_or_insert(ids, ranges, rows, stream)?;
            if !new.is_empty() {
                self.initialize(&new, ids, ranges, rows, stream)?;
            }
        } else {
            self.index.find(ids, ranges, rows, stream)?;
        }
        rows::gather(&self.rows, 0, rows, embeddings, stream)
    }

    fn accept_gradients(&mut self, rows: Buffer<u32>, gradients: Buffer<f32>, _: &Stream) -> Result<()> {
        self.pending.push((rows, gradients));
        Ok(())
    }

    fn step(&mut self, optimizer: &dyn SparseOptimizer, steps: usize, stream: &Stream) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let merged = match (pending.len(), steps) {
            (0, _) => return Ok(()),
            (1, 1) => pending.swap_remove(0),
            _ => merge_gradients::forward(&pending, self.dim, steps, stream)?,
        };
        optimizer.step(&mut self.state, &mut self.rows, &merged.0, &merged.1, stream)
    }

    fn snapshot(&self, stream: &Stream) -> Result<(Vec<TableSnapshot>, Vec<ArraySnapshot>)> {
        let (mut tables, mut arrays) = (Vec::new(), Vec::new());
        for (i, name) in self.names.iter().enumerate() {
            let (ids, rows) = self.index.export(i);
            let rows = Buffer::from_vec(rows, stream)?;
            let mut slots = Vec::new();
            for (slot, slot_name) in self.slot_names.iter().enumerate() {
                let mut values = Buffer::zeros(ids.len() * self.dim, stream)?;
                rows::gather(&self.rows, slot, &rows, &mut values, stream)?;
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
            let whole = [TableRange { table: i, first: 0, count }];
            self.index.find_or_insert(&ids, &whole, &mut rows, stream)?;
            self.rows.reserve(self.index.row_bound(), stream)?;
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
