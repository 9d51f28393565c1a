use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::group::{Feature, Group};
use super::partitioner::{BatchIds, Partitioner, TableIds};
use super::sharding::{Notice, Sharding};
use super::{Combiner, EmbeddingOption, EmbeddingTable, GradReduceBy, PhysicalTable, Table, coalesce};
use crate::device::{Buffer, ReadBack, Stream};
use crate::ops::combine::{self, CombinedGradient, EmbeddingGradients, Place};
use crate::ops::combine_tile;
use crate::ops::linear_tile::Tile;
use crate::optim::{SparseOptimizer, Take};
use crate::snapshot::{ArraySnapshot, TableSnapshot};
use crate::tensor::Batch;
use crate::{Error, Result};

/// Looks up the features of a batch in their tables and combines what it finds; gradients take the
/// way back. Features that share a physical table share one lookup a batch.
pub struct EmbeddingEngine {
    features: HashMap<String, Feature>,
    groups: Vec<Group>,
    partitioner: Arc<Partitioner>,
    /// With several ranks: who owns the rows.
    sharding: Option<Sharding>,
    /// How many of the batch's ids each rank owns, `[rank][table]`.
    dealt: Vec<Vec<u64>>,
}

/// Makes the table for a physical table, given the seed of its initial values.
pub type MakeTable = dyn Fn(&PhysicalTable, u64, &Stream) -> Result<Box<dyn Table>>;

/// Makes an [`EmbeddingTable`].
pub fn embedding_table(layout: &PhysicalTable, seed: u64, stream: &Stream) -> Result<Box<dyn Table>> {
    Ok(Box::new(EmbeddingTable::new(layout, seed, stream)?))
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
        let tables = groups.iter().map(|Group { layout, .. }: &Group| TableIds {
            features: layout.features.clone(),
            tables: layout.children.len(),
            gathered: HashSet::new(),
            beside: None,
        });
        let partitioner = Arc::new(Partitioner::new(tables.collect()));
        Ok(Self { features, groups, partitioner, sharding: None, dealt: Vec::new() })
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
        self.groups.iter_mut().for_each(|group| group.beside = None);
        self.sharding = Some(sharding);
        self.change_partitioner(|_, table| table.beside = None);
    }

    /// Changes what the partitioner knows of each table.
    fn change_partitioner(&mut self, change: impl Fn(&Group, &mut TableIds)) {
        let mut tables = self.partitioner.tables.clone();
        self.groups.iter().zip(&mut tables).for_each(|(group, table)| change(group, table));
        self.partitioner = Arc::new(Partitioner::new(tables));
    }

    /// What finds the distinct ids of batches for this engine, as it is now.
    pub fn partitioner(&self) -> Arc<Partitioner> {
        self.partitioner.clone()
    }

    /// Gives physical tables that are combined alone, not tiled, streams of their own: their lookups and
    /// updates, often too little for a device, then run beside the rest, whatever stream calls are given. Buffers that
    /// it has to do with are ordered as always. Not with several ranks: [`EmbeddingEngine::shard`] ends it.
    ///
    /// # Errors
    /// A device that has no stream left.
    pub fn run_beside(&mut self, stream: &Stream) -> Result<()> {
        for group in &mut self.groups {
            if self.sharding.is_none() && !group.has_tiles(&self.features) {
                group.beside = Some(Stream::urgent(stream.device())?);
            }
        }
        // Ids are found by another thread: on the tables' own streams it would be in the way.
        let mut tables = self.partitioner.tables.clone();
        for (group, table) in self.groups.iter().zip(&mut tables) {
            table.beside = group.beside.as_ref().map(|_| Stream::new(stream.device())).transpose()?;
        }
        self.partitioner = Arc::new(Partitioner::new(tables));
        Ok(())
    }

    /// Leaves the tiles of these features to a layer that gathers them: their gradients come by
    /// [`EmbeddingEngine::tiles_backward`] alone, for which nobody needs to know where which id occurs.
    ///
    /// # Errors
    /// A feature without an embedding option.
    pub fn gather<'a>(&mut self, features: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for feature in features {
            self.find(feature)?;
            self.change_partitioner(|group, table| {
                if group.layout.features.iter().any(|(name, _)| name == feature) {
                    table.gathered.insert(feature.into());
                }
            });
        }
        Ok(())
    }

    /// Waits for what runs on streams of its own.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn synchronize(&self) -> Result<()> {
        self.streams().try_for_each(Stream::synchronize)
    }

    /// The streams of their own that tables have.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.groups.iter().filter_map(|group| group.beside.as_ref())
    }

    /// Makes room for the ids of a batch. Whether looking them up, and all up to [`EmbeddingEngine::step`], then only
    /// enqueues work, and never waits for the device.
    ///
    /// # Errors
    /// No memory.
    pub fn reserve(&mut self, ids: &BatchIds, stream: &Stream) -> Result<bool> {
        let mut only_enqueues = self.sharding.is_none();
        for (group, ids) in self.groups.iter_mut().zip(&ids.0) {
            let stream = group.stream(stream);
            only_enqueues &= group.table.reserve(ids.partition.ids.len(), &stream)?;
        }
        Ok(only_enqueues)
    }

    /// All groups, those first whose work runs beside the others': enqueued behind, it would wait.
    fn by_turns(&mut self) -> impl Iterator<Item = &mut Group> {
        let (beside, rest): (Vec<_>, Vec<_>) =
            self.groups.iter_mut().partition(|group| group.beside.is_some());
        beside.into_iter().chain(rest)
    }

    /// Finds the rows of all ids of a batch. Unknown ids get new rows if `insert`; else they count
    /// as zero rows.
    ///
    /// # Errors
    /// A feature that is missing or holds no ids.
    pub fn lookup(&mut self, batch: &Batch, insert: bool, stream: &Stream) -> Result<()> {
        let ids = self.partitioner.partition(batch, stream)?;
        self.take(Some(ids), stream)?;
        self.announce(Notice::default(), stream)?;
        self.fetch(insert, stream)
    }

    /// The first part of [`EmbeddingEngine::lookup`]: takes the ids of a batch, if this rank has one, that its
    /// [partitioner](EmbeddingEngine::partitioner) has found, and finds their owners.
    pub fn take(&mut self, ids: Option<BatchIds>, stream: &Stream) -> Result<()> {
        let is_there = ids.is_some();
        match ids {
            Some(BatchIds(ids)) => {
                let features = |group: &Group| group.layout.features.len();
                let columns = ids.iter().map(|ids| ids.columns.len());
                if !columns.eq(self.groups.iter().map(features)) {
                    return Err(Error::Model("ids that another engine's partitioner has found".into()));
                }
                self.groups.iter_mut().zip(ids).for_each(|(group, ids)| group.take(ids));
            }
            None => self.by_turns().try_for_each(|group| group.clear(&group.stream(stream)))?,
        }
        let Some(sharding) = &self.sharding else { return Ok(()) };
        let distinct = self.distinct(is_there, stream)?;
        self.dealt = vec![Vec::new(); sharding.communicator.world_size()];
        for (group, (ids, table_offsets)) in self.groups.iter_mut().zip(distinct) {
            let dealt = group.exchange.deal(&ids, &table_offsets, sharding);
            self.dealt.iter_mut().zip(dealt).for_each(|(all, dealt)| all.extend(dealt));
        }
        Ok(())
    }

    /// The second part: tells the other ranks how many ids of each table are theirs. What every rank had to say,
    /// this one included.
    pub fn announce(&mut self, notice: Notice, stream: &Stream) -> Result<Vec<Notice>> {
        let Some(sharding) = &self.sharding else { return Ok(vec![notice]) };
        let (asked, notices) = sharding.announce(notice, &self.dealt, stream)?;
        let mut first = 0;
        for group in &mut self.groups {
            let tables = first..first + group.layout.children.len();
            first = tables.end;
            group.asked = asked.iter().map(|counts| counts[tables.clone()].to_vec()).collect();
        }
        Ok(notices)
    }

    /// The distinct ids of a batch in each physical table, and where those of its logical tables begin.
    /// Waits twice for all of them: for how many there are, then for the ids.
    fn distinct(&self, is_there: bool, stream: &Stream) -> Result<Vec<(Vec<i64>, Vec<u32>)>> {
        if !is_there {
            let none = |group: &Group| (Vec::new(), vec![0; group.layout.children.len() + 1]);
            return Ok(self.groups.iter().map(none).collect());
        }
        let read = self.groups.iter().map(|group| group.partition.table_offsets.read_back(stream));
        let read = read.collect::<Result<Vec<_>>>()?;
        let offsets = read.into_iter().map(ReadBack::wait).collect::<Result<Vec<_>>>()?;
        let read = self.groups.iter().zip(&offsets).map(|(group, offsets)| {
            // The partition has room for as many ids as the batch has.
            let mut ids = group.partition.ids.clone();
            ids.resize(offsets[offsets.len() - 1] as usize, stream)?;
            ids.read_back(stream)
        });
        let read = read.collect::<Result<Vec<_>>>()?;
        read.into_iter().zip(offsets).map(|(ids, offsets)| Ok((ids.wait()?, offsets))).collect()
    }

    /// The last part of [`EmbeddingEngine::lookup`]: brings the embeddings.
    pub fn fetch(&mut self, insert: bool, stream: &Stream) -> Result<()> {
        if let Some(sharding) = &self.sharding {
            return self.groups.iter_mut().try_for_each(|group| group.fetch(insert, sharding, stream));
        }
        self.by_turns().try_for_each(|group| group.lookup(insert, &group.stream(stream)))
    }

    /// Writes the combined embeddings of features, each [rows, width] from its first column, to `out` [rows, stride]: all
    /// sums and means in one launch, on `stream`.
    pub fn combine(
        &self,
        features: &[(&str, usize)],
        out: &mut Buffer<f32>,
        stride: usize,
        stream: &Stream,
    ) -> Result<()> {
        let mut combined = Vec::new();
        for &(name, first_column) in features {
            let (feature, group) = self.find(name)?;
            match feature.option.combiner {
                Combiner::Tile { tile_len } => {
                    let (lookup, place) = (group.lookup_of(feature)?, Place { first_column, stride });
                    combine_tile::forward(&lookup, tile_len, out, place, stream)?;
                }
                _ => combined.push(group.combined(feature, first_column)?),
            }
        }
        if combined.is_empty() { Ok(()) } else { combine::forward(&combined, out, stride, stream) }
    }

    /// Clears all gradients on `stream`, so that what is first to add to them need not.
    pub fn begin_backward(&mut self, stream: &Stream) -> Result<()> {
        self.groups.iter_mut().try_for_each(|group| group.add_gradients(stream, |_, _| Ok(())))
    }

    /// Adds the gradients of features' combined embeddings, each laid out as in [`EmbeddingEngine::combine`], to their
    /// rows' gradients, on `stream`: those of sums and means in one launch, if ids are few, tables not the same and columns
    /// aligned alike.
    pub fn combine_backward(
        &mut self,
        features: &[(&str, &Buffer<f32>, Place)],
        stream: &Stream,
    ) -> Result<()> {
        let Self { features: known, groups, .. } = self;
        let mut combined: Vec<Vec<_>> = groups.iter().map(|_| Vec::new()).collect();
        for &(name, d_out, place) in features {
            let feature = known.get(name).ok_or_else(|| no_option(name))?;
            match feature.option.combiner {
                Combiner::Tile { tile_len } => {
                    groups[feature.group].add_gradients(stream, |group, d_embeddings| {
                        let lookup = group.lookup_of(feature)?;
                        combine_tile::backward(&lookup, tile_len, d_out, place, d_embeddings, stream)
                    })?;
                }
                _ => combined[feature.group].push((feature, d_out, place)),
            }
        }
        let mut taken = Vec::new();
        for (i, group) in groups.iter_mut().enumerate().filter(|(i, _)| !combined[*i].is_empty()) {
            taken.push((i, group.take_gradients(stream)?));
        }
        let done = add_combined(groups, &combined, &mut taken, stream);
        taken.into_iter().for_each(|(i, d_embeddings)| groups[i].put_gradients(d_embeddings));
        done
    }

    /// A tiled feature, for a layer that gathers it from `first_column` of its input.
    pub fn tile(&self, feature: &str, first_column: usize) -> Result<Tile<'_>> {
        let (feature, group) = self.find(feature)?;
        group.tile_of(feature, first_column)
    }

    /// Calls `backward` for every physical table that tiled features, given with where their columns begin, are of:
    /// with those features and the gradients of its rows, to be added to on `stream`.
    pub fn tiles_backward(
        &mut self,
        features: &[(&str, usize)],
        stream: &Stream,
        mut backward: impl FnMut(&[Tile<'_>], &mut Buffer<f32>) -> Result<()>,
    ) -> Result<()> {
        let found = features.iter().map(|&(name, first_column)| {
            Ok((self.features.get(name).ok_or_else(|| no_option(name))?, first_column))
        });
        let found = found.collect::<Result<Vec<_>>>()?;
        for (i, group) in self.groups.iter_mut().enumerate() {
            let own: Vec<_> = found.iter().filter(|(feature, _)| feature.group == i).collect();
            if own.is_empty() {
                continue;
            }
            group.add_gradients(stream, |group, d_embeddings| {
                let tiles = own.iter().map(|&&(feature, first_column)| group.tile_of(feature, first_column));
                backward(&tiles.collect::<Result<Vec<_>>>()?, d_embeddings)
            })?;
        }
        Ok(())
    }

    /// Hands the gradients of the batch to the tables.
    pub fn finish_backward(&mut self, stream: &Stream) -> Result<()> {
        let sharding = self.sharding.as_ref();
        self.groups.iter_mut().try_for_each(|group| group.finish_backward(sharding, &group.stream(stream)))
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
            group.table.step(optimizer, steps * ranks, &group.stream(stream))
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
}

/// Adds the gradients of each group's combined features to what is taken of it.
fn add_combined(
    groups: &[Group],
    combined: &[Vec<(&Feature, &Buffer<f32>, Place)>],
    taken: &mut [(usize, Buffer<f32>)],
    stream: &Stream,
) -> Result<()> {
    let mut tables = Vec::new();
    for (i, d_embeddings) in taken {
        let gradients = combined[*i].iter().map(|&(feature, d_out, place)| {
            let feature = groups[*i].combined(feature, place.first_column)?;
            Ok(CombinedGradient { feature, d_out, stride: place.stride })
        });
        tables.push(EmbeddingGradients { gradients: gradients.collect::<Result<_>>()?, d_embeddings });
    }
    if tables.is_empty() { Ok(()) } else { combine::backward(&mut tables, stream) }
}

fn no_option(feature: &str) -> Error {
    Error::Model(format!("feature '{feature}' has no embedding option"))
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
