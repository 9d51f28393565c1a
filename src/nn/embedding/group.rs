use std::collections::HashMap;

use super::partitioner::{Column, GroupIds};
use super::sharding::{Exchange, Sharding};
use super::{Combiner, EmbeddingOption, PhysicalTable, Table};
use crate::device::{Buffer, Stream};
use crate::ops::combine::{Combined, Denominator};
use crate::ops::fill;
use crate::ops::linear_tile::Tile;
use crate::ops::lookup::Lookup;
use crate::ops::merge_gradients::Gradients;
use crate::ops::partition_ids::Partition;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// A feature and where its ids are.
pub(super) struct Feature {
    pub(super) group: usize,
    pub(super) place: usize,
    pub(super) option: EmbeddingOption,
}

/// A physical table and its part of the current batch.
pub(super) struct Group {
    pub(super) layout: PhysicalTable,
    pub(super) table: Box<dyn Table>,
    columns: Vec<Column>,
    pub(super) partition: Partition,
    rows: Buffer<u32>,
    embeddings: Buffer<f32>,
    d_embeddings: Buffer<f32>,
    /// Whether they have yet to become zeros: the first backward pass does that, where it runs.
    gradients_are_unset: bool,
    /// With several ranks: what is asked of the others, and what they ask for.
    pub(super) exchange: Exchange,
    /// How many ids of each table each rank asks for, `[rank][table]`.
    pub(super) asked: Vec<Vec<u64>>,
    /// Where its work runs, if not on the others' stream.
    pub(super) beside: Option<Stream>,
}

impl Group {
    pub(super) fn new(layout: PhysicalTable, table: Box<dyn Table>, stream: &Stream) -> Result<Self> {
        Ok(Self {
            layout,
            table,
            columns: Vec::new(),
            partition: Partition::default(),
            rows: Buffer::zeros(0, stream)?,
            embeddings: Buffer::zeros(0, stream)?,
            d_embeddings: Buffer::zeros(0, stream)?,
            gradients_are_unset: false,
            exchange: Exchange::default(),
            asked: Vec::new(),
            beside: None,
        })
    }

    /// Whether a layer may gather some of its features.
    pub(super) fn has_tiles(&self, features: &HashMap<String, Feature>) -> bool {
        let is_tile = |feature: &Feature| matches!(feature.option.combiner, Combiner::Tile { .. });
        self.layout.features.iter().any(|(name, _)| features.get(name).is_some_and(is_tile))
    }

    /// Where its work runs when the others' runs on `stream`.
    pub(super) fn stream(&self, stream: &Stream) -> Stream {
        self.beside.as_ref().unwrap_or(stream).clone()
    }

    /// No batch.
    pub(super) fn clear(&mut self, stream: &Stream) -> Result<()> {
        self.columns.clear();
        self.d_embeddings = Buffer::zeros(0, stream)?;
        self.gradients_are_unset = false;
        Ok(())
    }

    /// The ids of a batch.
    pub(super) fn take(&mut self, ids: GroupIds) {
        (self.columns, self.partition) = (ids.columns, ids.partition);
    }

    /// Finds their rows in this rank's table.
    pub(super) fn lookup(&mut self, insert: bool, stream: &Stream) -> Result<()> {
        let (ids, dim) = (self.partition.ids.len(), self.table.dim());
        self.rows.resize(ids, stream)?;
        self.embeddings.resize(ids * dim, stream)?;
        self.table.lookup(&self.partition, insert, &mut self.rows, &mut self.embeddings, stream)?;
        if insert {
            self.d_embeddings.resize(ids * dim, stream)?;
        }
        self.gradients_are_unset = insert;
        Ok(())
    }

    /// Finds their rows where they are, and those that others ask for here.
    pub(super) fn fetch(&mut self, insert: bool, sharding: &Sharding, stream: &Stream) -> Result<()> {
        let table = self.table.as_mut();
        self.embeddings = self.exchange.fetch(&self.asked, table, insert, sharding, stream)?;
        self.d_embeddings = Buffer::zeros(if insert { self.embeddings.len() } else { 0 }, stream)?;
        self.gradients_are_unset = false;
        Ok(())
    }

    /// The gradients of the batch's embeddings, to be added to on `stream` and put back.
    pub(super) fn take_gradients(&mut self, stream: &Stream) -> Result<Buffer<f32>> {
        let mut d_embeddings = std::mem::take(&mut self.d_embeddings);
        if std::mem::take(&mut self.gradients_are_unset) {
            let count = Some(&self.partition.count);
            fill::forward(&mut d_embeddings, self.table.dim(), count, 0.0, stream)?;
        }
        Ok(d_embeddings)
    }

    pub(super) fn put_gradients(&mut self, d_embeddings: Buffer<f32>) {
        self.d_embeddings = d_embeddings;
    }

    /// Calls `backward` with them.
    pub(super) fn add_gradients(
        &mut self,
        stream: &Stream,
        backward: impl FnOnce(&Self, &mut Buffer<f32>) -> Result<()>,
    ) -> Result<()> {
        let mut d_embeddings = self.take_gradients(stream)?;
        let done = backward(self, &mut d_embeddings);
        self.put_gradients(d_embeddings);
        done
    }

    /// Hands the gradients of the batch to the table, with several ranks those of its rows.
    pub(super) fn finish_backward(&mut self, sharding: Option<&Sharding>, stream: &Stream) -> Result<()> {
        self.add_gradients(stream, |_, _| Ok(()))?;
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

    pub(super) fn lookup_of(&self, feature: &Feature) -> Result<Lookup<'_>> {
        let column = self.columns.get(feature.place);
        let column =
            column.ok_or_else(|| Error::Model("embeddings are combined before they are looked up".into()))?;
        let offsets = match (column.tensor.as_ref(), &column.row_offsets) {
            (_, Some(offsets)) => offsets,
            (Tensor::Ragged(ragged), None) => ragged.segments(),
            (Tensor::Dense(_), None) => return Err(Error::Model("a dense column has no offsets".into())),
        };
        let table = self.layout.features[feature.place].1;
        Ok(Lookup {
            embeddings: &self.embeddings,
            inverse: &self.partition.inverse,
            first_id: self.partition.first_ids[feature.place],
            ids: column.ids,
            offsets,
            dim: self.table.dim(),
            occurrences: if column.listed { self.partition.occurrences(table) } else { None },
            range: Some(self.partition.range(table)),
        })
    }

    /// A feature whose embeddings are summed or averaged.
    pub(super) fn combined(&self, feature: &Feature, first_column: usize) -> Result<Combined<'_>> {
        let weights = match self.columns.get(feature.place).map(|column| column.tensor.as_ref()) {
            Some(Tensor::Ragged(ragged)) if feature.option.use_weight => ragged.weights.as_ref(),
            _ => None,
        };
        let denominator = match feature.option.combiner {
            Combiner::Mean => Denominator::Weights,
            Combiner::Sum | Combiner::Tile { .. } => Denominator::One,
        };
        Ok(Combined { lookup: self.lookup_of(feature)?, weights, denominator, first_column })
    }

    pub(super) fn tile_of(&self, feature: &Feature, first_column: usize) -> Result<Tile<'_>> {
        match feature.option.combiner {
            Combiner::Tile { tile_len } => {
                Ok(Tile { lookup: self.lookup_of(feature)?, tile_len, first_column })
            }
            other => Err(Error::Model(format!("a feature combined by {other} has no tile"))),
        }
    }
}
