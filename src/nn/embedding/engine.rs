use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::sharding::{Exchange, Notice, Sharding};
use super::{Combiner, EmbeddingOption, EmbeddingTable, GradReduceBy, PhysicalTable, Table, coalesce};
use crate::device::{Buffer, Stream};
use crate::ops::combine::{self, Denominator, Place};
use crate::ops::combine_tile;
use crate::ops::fill;
use crate::ops::linear_tile::Tile;
use crate::ops::lookup::Lookup;
use crate::ops::merge_gradients::Gradients;
use crate::ops::partition_ids::{self, Partition};
use crate::optim::{SparseOptimizer, Take};
use crate::snapshot::{ArraySnapshot, TableSnapshot};
use crate::tensor::{Batch, Tensor, Values};
use crate::{Error, Result};

/// Looks up the features of a batch in their tables and combines what it finds; gradients take the
/// way back. Features that share a physical table share one lookup a batch.
pub struct EmbeddingEngine {
    features: HashMap<String, Feature>,
    groups: Vec<Group>,
    /// With several ranks: who owns the rows.
    sharding: Option<Sharding>,
}

/// Makes the table for a physical table, given the seed of its initial values.
pub type MakeTable = dyn Fn(&PhysicalTable, u64, &Stream) -> Result<Box<dyn Table>>;

/// Makes an [`EmbeddingTable`].
pub fn embedding_table(layout: &PhysicalTable, seed: u64, stream: &Stream) -> Result<Box<dyn Table>> {
    Ok(Box::new(EmbeddingTable::new(layout, seed, stream)?))
}

/// A feature and where its ids are.
struct Feature {
    group: usize,
    place: usize,
    option: EmbeddingOption,
}

/// A physical table and its part of the current batch.
struct Group {
    layout: PhysicalTable,
    table: Box<dyn Table>,
    columns: Vec<Column>,
    partition: Partition,
    rows: Buffer<u32>,
    embeddings: Buffer<f32>,
    d_embeddings: Buffer<f32>,
    /// With several ranks: what is asked of the others, and what they ask for.
    exchange: Exchange,
    /// How many ids of each table each rank asks for, `[rank][table]`.
    asked: Vec<Vec<u64>>,
}

/// A feature's ids in the current batch.
struct Column {
    tensor: Arc<Tensor>,
    /// Of a dense column: where its rows begin.
    row_offsets: Option<Buffer<i32>>,
    /// Ids, at most.
    ids: usize,
}

impl EmbeddingEngine {
    /// An [`EmbeddingTable`] for every physical table of these features; initial values depend on
    /// `seed`.
    ///
    /// # Errors
    /// Options that contradict each other or cannot be used.
    pub fn new(options: &[(String, EmbeddingOption)], seed: u64, stream: &Stream) -> Result<Self> {
        Self::with_tables(options, &embedding_table, seed, stream)
    }

    /// Tables that `make` makes, one for every physical table of these features.
    ///
    /// # Errors
    /// Options that contradict each other or cannot be used, and what `make` finds.
    pub fn with_tables(
        options: &[(String, EmbeddingOption)],
        make: &MakeTable,
        seed: u64,
        stream: &Stream,
    ) -> Result<Self> {
        let mut features = HashMap::new();
        let mut groups = Vec::new();
        for layout in coalesce(options)? {
            for (place, (name, _)) in layout.features.iter().enumerate() {
                if let Some((_, option)) = options.iter().find(|(feature, _)| feature == name) {
                    let option = option.clone();
                    features.insert(name.clone(), Feature { group: groups.len(), place, option });
                }
            }
            let table = make(&layout, seed, stream)?;
            groups.push(Group::new(layout, table, stream)?);
        }
        Ok(Self { features, groups, sharding: None })
    }

    /// Makes room for the state of an optimizer. Called once, before the first batch.
    pub fn attach(&mut self, optimizer: &dyn SparseOptimizer, stream: &Stream) -> Result<()> {
        self.groups.iter_mut().try_for_each(|group| group.table.attach(optimizer, stream))
    }

    /// The logical tables and how many ids each holds.
    pub fn sizes(&self, stream: &Stream) -> Result<Vec<(&str, usize)>> {
        let sizes = self.groups.iter().map(|group| group.table.sizes(stream)).collect::<Result<Vec<_>>>()?;
        Ok(sizes.into_iter().flatten().collect())
    }

    /// Spreads the rows over several ranks. Called once, before any row exists. All ranks then call
    /// everything below up to [`EmbeddingEngine::restore`] together.
    pub fn shard(&mut self, sharding: Sharding) {
        self.sharding = Some(sharding);
    }

    /// Finds the rows of all ids of a batch. Unknown ids get new rows if `insert`; else they count
    /// as zero rows.
    ///
    /// # Errors
    /// A feature that is missing or holds no ids.
    pub fn lookup(&mut self, batch: &Batch, insert: bool, stream: &Stream) -> Result<()> {
        self.announce(Some(batch), Notice::default(), stream)?;
        self.fetch(insert, stream)
    }

    /// The first half of [`EmbeddingEngine::lookup`]: finds the distinct ids of a batch, if this rank has
    /// one, and tells the other ranks of them. What every rank had to say, this one included.
    pub fn announce(
        &mut self,
        batch: Option<&Batch>,
        notice: Notice,
        stream: &Stream,
    ) -> Result<Vec<Notice>> {
        for group in &mut self.groups {
            match batch {
                Some(batch) => group.partition(batch, stream)?,
                None => group.clear(stream)?,
            }
        }
        let Some(sharding) = &self.sharding else { return Ok(vec![notice]) };
        let mut counts = vec![Vec::new(); sharding.communicator.world_size()];
        for group in &mut self.groups {
            let partition = batch.is_some().then_some(&group.partition);
            let dealt = group.exchange.deal(partition, group.layout.children.len(), sharding, stream)?;
            counts.iter_mut().zip(dealt).for_each(|(counts, dealt)| counts.extend(dealt));
        }
        let (asked, notices) = sharding.announce(notice, &counts, stream)?;
        let mut first = 0;
        for group in &mut self.groups {
            let tables = first..first + group.layout.children.len();
            first = tables.end;
            group.asked = asked.iter().map(|counts| counts[tables.clone()].to_vec()).collect();
        }
        Ok(notices)
    }

    /// The second half of [`EmbeddingEngine::lookup`]: brings the embeddings.
    pub fn fetch(&mut self, insert: bool, stream: &Stream) -> Result<()> {
        let sharding = self.sharding.as_ref();
        self.groups.iter_mut().try_for_each(|group| match sharding {
            None => group.lookup(insert, stream),
            Some(sharding) => group.fetch(insert, sharding, stream),
        })
    }

    /// Writes the combined embeddings of a feature, [rows, width], to `out`.
    pub fn combine(&self, feature: &str, out: &mut Buffer<f32>, place: Place, stream: &Stream) -> Result<()> {
        let (feature, group) = self.find(feature)?;
        let lookup = group.lookup_of(feature)?;
        match feature.option.combiner {
            Combiner::Tile { tile_len } => combine_tile::forward(&lookup, tile_len, out, place, stream),
            combiner => {
                let weights = group.weights_of(feature);
                combine::forward(&lookup, weights, denominator(combiner), out, place, stream)
            }
        }
    }

    /// Adds the gradient of a feature's combined embeddings, laid out as in
    /// [`EmbeddingEngine::combine`], to its rows' gradients.
    pub fn combine_backward(
        &mut self,
        feature: &str,
        d_out: &Buffer<f32>,
        place: Place,
        stream: &Stream,
    ) -> Result<()> {
        let (feature, group) = self.find_mut(feature)?;
        let mut d_embeddings = std::mem::take(&mut group.d_embeddings);
        let lookup = group.lookup_of(feature)?;
        match feature.option.combiner {
            Combiner::Tile { tile_len } => {
                combine_tile::backward(&lookup, tile_len, d_out, place, &mut d_embeddings, stream)?;
            }
            combiner => {
                let (weights, denominator) = (group.weights_of(feature), denominator(combiner));
                combine::backward(&lookup, weights, denominator, d_out, place, &mut d_embeddings, stream)?;
            }
        }
        group.d_embeddings = d_embeddings;
        Ok(())
    }

    /// A tiled feature, for a layer that gathers it from `first_column` of its input.
    pub fn tile(&self, feature: &str, first_column: usize) -> Result<Tile<'_>> {
        let (feature, group) = self.find(feature)?;
        group.tile_of(feature, first_column)
    }

    /// Calls `backward` with a tiled feature and its rows' gradients, to be added to.
    pub fn tile_backward(
        &mut self,
        feature: &str,
        first_column: usize,
        backward: impl FnOnce(&Tile<'_>, &mut Buffer<f32>) -> Result<()>,
    ) -> Result<()> {
        let (feature, group) = self.find_mut(feature)?;
        let mut d_embeddings = std::mem::take(&mut group.d_embeddings);
        backward(&group.tile_of(feature, first_column)?, &mut d_embeddings)?;
        group.d_embeddings = d_embeddings;
        Ok(())
    }

    /// Hands the gradients of the batch to the tables.
    pub fn finish_backward(&mut self, stream: &Stream) -> Result<()> {
        let sharding = self.sharding.as_ref();
        self.groups.iter_mut().try_for_each(|group| group.finish_backward(sharding, stream))
    }

    /// Updates the rows that have gradients, by their mean over `steps` batches. Those of several ranks
    /// are one batch each, or one together, as the table's option says.
    pub fn step(&mut self, optimizer: &dyn SparseOptimizer, steps: usize, stream: &Stream) -> Result<()> {
        let ranks = self.sharding.as_ref().map_or(1, |sharding| sharding.communicator.world_size());
        self.groups.iter_mut().try_for_each(|group| {
            let ranks = match group.layout.option.grad_reduce_by {
                GradReduceBy::Worker => ranks,
                GradReduceBy::Id => 1,
            };
            group.table.step(optimizer, steps * ranks, stream)
        })
    }

    /// All logical tables, and what the optimizer keeps for whole tables. With several ranks, rank 0
    /// has the rows of all of them, the others none.
    pub fn snapshot(&self, stream: &Stream) -> Result<(Vec<TableSnapshot>, Vec<ArraySnapshot>)> {
        let (mut tables, mut arrays) = (Vec::new(), Vec::new());
        for group in &self.groups {
            let (more_tables, more_arrays) = group.table.snapshot(stream)?;
            for table in more_tables {
                tables.push(match &self.sharding {
                    Some(sharding) => sharding.gather(table, stream)?,
                    None => table,
                });
            }
            arrays.extend(more_arrays);
        }
        Ok((tables, arrays))
    }

    /// Takes back what [`EmbeddingEngine::snapshot`] gave, rank 0's; `tables` are removed as they are
    /// used. Of several ranks each keeps the rows that it owns.
    pub fn restore(
        &mut self,
        tables: &mut Vec<TableSnapshot>,
        take: &mut Take<'_>,
        stream: &Stream,
    ) -> Result<()> {
        if let Some(sharding) = &self.sharding {
            tables.iter_mut().for_each(|table| sharding.keep_own(table));
        }
        self.groups.iter_mut().try_for_each(|group| group.table.restore(tables, take, stream))
    }

    fn find(&self, name: &str) -> Result<(&Feature, &Group)> {
        let feature = self.features.get(name).ok_or_else(|| no_option(name))?;
        Ok((feature, &self.groups[feature.group]))
    }

    fn find_mut(&mut self, name: &str) -> Result<(&Feature, &mut Group)> {
        let feature = self.features.get(name).ok_or_else(|| no_option(name))?;
        Ok((feature, &mut self.groups[feature.group]))
    }
}

fn no_option(feature: &str) -> Error {
    Error::Model(format!("feature '{feature}' has no embedding option"))
}

fn denominator(combiner: Combiner) -> Denominator {
    match combiner {
        Combiner::Mean => Denominator::Weights,
        Combiner::Sum | Combiner::Tile { .. } => Denominator::One,
    }
}

impl Group {
    fn new(layout: PhysicalTable, table: Box<dyn Table>, stream: &Stream) -> Result<Self> {
        Ok(Self {
            layout,
            table,
            columns: Vec::new(),
            partition: Partition::default(),
            rows: Buffer::zeros(0, stream)?,
            embeddings: Buffer::zeros(0, stream)?,
            d_embeddings: Buffer::zeros(0, stream)?,
            exchange: Exchange::default(),
            asked: Vec::new(),
        })
    }

    /// No batch.
    fn clear(&mut self, stream: &Stream) -> Result<()> {
        self.columns.clear();
        self.d_embeddings = Buffer::zeros(0, stream)?;
        Ok(())
    }

    /// Finds the distinct ids of a batch.
    fn partition(&mut self, batch: &Batch, stream: &Stream) -> Result<()> {
        self.columns.clear();
        for (name, _) in &self.layout.features {
            let tensor = batch.get(name)?.clone();
            let row_offsets = match tensor.as_ref() {
                Tensor::Dense(t) => Some(every(t.width, t.rows, stream)?),
                Tensor::Ragged(ragged) if ragged.offsets.len() == 1 => None,
                Tensor::Ragged(_) => return unfit(name, "an embedding needs one list of ids a row", &tensor),
            };
            let ids = ids(name, &tensor)?.len();
            self.columns.push(Column { tensor, row_offsets, ids });
        }
        let columns = self.columns.iter().zip(&self.layout.features).map(|(column, (name, table))| {
            let offsets = match column.tensor.as_ref() {
                Tensor::Ragged(ragged) => Some(ragged.segments()),
                Tensor::Dense(_) => None,
            };
            Ok(partition_ids::Column { table: *table, ids: ids(name, &column.tensor)?, offsets })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        self.partition = partition_ids::forward(&columns, self.layout.children.len(), stream)?;
        Ok(())
    }

    /// Finds their rows in this rank's table.
    fn lookup(&mut self, insert: bool, stream: &Stream) -> Result<()> {
        let (ids, dim) = (self.partition.ids.len(), self.table.dim());
        self.rows.resize(ids, stream)?;
        self.embeddings.resize(ids * dim, stream)?;
        self.table.lookup(&self.partition, insert, &mut self.rows, &mut self.embeddings, stream)?;
        if insert {
            self.d_embeddings.resize(ids * dim, stream)?;
            fill::forward(&mut self.d_embeddings, dim, Some(&self.partition.count), 0.0, stream)?;
        }
        Ok(())
    }

    /// Finds their rows where they are, and those that others ask for here.
    fn fetch(&mut self, insert: bool, sharding: &Sharding, stream: &Stream) -> Result<()> {
        let asked: Vec<&[u64]> = self.asked.iter().map(Vec::as_slice).collect();
        self.embeddings = self.exchange.fetch(&asked, self.table.as_mut(), insert, sharding, stream)?;
        self.d_embeddings = Buffer::zeros(if insert { self.embeddings.len() } else { 0 }, stream)?;
        Ok(())
    }

    /// Hands the gradients of the batch to the table, with several ranks those of its rows.
    fn finish_backward(&mut self, sharding: Option<&Sharding>, stream: &Stream) -> Result<()> {
        let values = std::mem::take(&mut self.d_embeddings);
        let gradients = match sharding {
            None => {
                let rows = std::mem::take(&mut self.rows);
                Gradients { rows, values, count: Some(self.partition.count.clone()) }
            }
            Some(sharding) => {
                let (dim, reduce_by) = (self.table.dim(), self.layout.option.grad_reduce_by);
                self.exchange.send_gradients(&values, dim, reduce_by, sharding, stream)?
            }
        };
        self.table.accept_gradients(gradients, stream)
    }

    fn lookup_of(&self, feature: &Feature) -> Result<Lookup<'_>> {
        let column = self.columns.get(feature.place);
        let column =
            column.ok_or_else(|| Error::Model("embeddings are combined before they are looked up".into()))?;
        let offsets = match (column.tensor.as_ref(), &column.row_offsets) {
            (_, Some(offsets)) => offsets,
            (Tensor::Ragged(ragged), None) => ragged.segments(),
            (Tensor::Dense(_), None) => return Err(Error::Model("a dense column has no offsets".into())),
        };
        Ok(Lookup {
            embeddings: &self.embeddings,
            inverse: &self.partition.inverse,
            first_id: self.partition.first_ids[feature.place],
            ids: column.ids,
            offsets,
            dim: self.table.dim(),
            occurrences: self.partition.occurrences(self.layout.features[feature.place].1),
        })
    }

    fn weights_of(&self, feature: &Feature) -> Option<&Buffer<f32>> {
        match self.columns.get(feature.place).map(|column| column.tensor.as_ref()) {
            Some(Tensor::Ragged(ragged)) if feature.option.use_weight => ragged.weights.as_ref(),
            _ => None,
        }
    }

    fn tile_of(&self, feature: &Feature, first_column: usize) -> Result<Tile<'_>> {
        match feature.option.combiner {
            Combiner::Tile { tile_len } => {
                Ok(Tile { lookup: self.lookup_of(feature)?, tile_len, first_column })
            }
            other => Err(Error::Model(format!("a feature combined by {other} has no tile"))),
        }
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

/// The physical tables, and the features that use them.
impl fmt::Display for EmbeddingEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Group { layout: PhysicalTable { option, features, children, .. }, .. } in &self.groups {
            writeln!(f, "  dim {}, {}", option.embedding_dim, option.initializer)?;
            for (name, child) in features {
                let combiner = self.features.get(name).map_or(option.combiner, |f| f.option.combiner);
                writeln!(f, "    {name}: {combiner} of table {}", children[*child])?;
            }
        }
        Ok(())
    }
}
