//! Tables whose rows are spread over several ranks (SPEC 3.4, 3.5). Each rank asks the owners for the
//! rows of its batch, and sends them the gradients.

use std::sync::Arc;

use super::{GradReduceBy, Table};
use crate::Result;
use crate::device::{Buffer, Stream};
use crate::dist::Communicator;
use crate::ops::combine::{self, Combined, CombinedGradient, Denominator, EmbeddingGradients, Lookup};
use crate::ops::merge_gradients::Gradients;
use crate::ops::partition_ids::{self, Owner, Partition};
use crate::snapshot::TableSnapshot;

/// Who owns which rows, and how to reach them.
#[derive(Clone, Debug)]
pub struct Sharding {
    /// The ranks.
    pub communicator: Arc<dyn Communicator>,
    /// Which of them owns an id.
    pub owner: Owner,
}

/// What a rank tells the others before it asks for rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Whether it can go on; what the numbers mean is up to the caller.
    pub state: u64,
    /// The rows of its batch.
    pub rows: u64,
}

impl Sharding {
    fn ranks(&self) -> usize {
        self.communicator.world_size()
    }

    /// Tells every rank how many ids of each table it will be asked for, and `notice`; the counts that
    /// come, `[rank][table]`, and the notices. `counts` are `[rank][table]` too.
    pub(super) fn announce(
        &self,
        notice: Notice,
        counts: &[Vec<u64>],
        stream: &Stream,
    ) -> Result<(Vec<Vec<u64>>, Vec<Notice>)> {
        let words = counts
            .iter()
            .flat_map(|counts| [notice.state, notice.rows].into_iter().chain(counts.iter().copied()));
        let words = self.communicator.exchange_counts(&words.collect::<Vec<_>>(), stream)?;
        let parts = words.chunks_exact(words.len() / self.ranks());
        let notices = parts.clone().map(|part| Notice { state: part[0], rows: part[1] });
        Ok((parts.clone().map(|part| part[2..].to_vec()).collect(), notices.collect()))
    }

    /// Of a table, the rows that this rank owns.
    pub(super) fn keep_own(&self, table: &mut TableSnapshot) {
        let (rank, ranks) = (self.communicator.rank(), self.ranks());
        let own = |id: i64| self.owner.rank(id, ranks) == rank;
        let kept: Vec<usize> = (0..table.ids.len()).filter(|&row| own(table.ids[row])).collect();
        for (_, values) in &mut table.slots {
            *values = kept.iter().flat_map(|row| &values[row * table.dim..][..table.dim]).copied().collect();
        }
        table.ids = kept.iter().map(|&row| table.ids[row]).collect();
    }

    /// Brings the rows of all ranks to rank 0; elsewhere nothing is left of them.
    pub(super) fn gather(&self, table: TableSnapshot, stream: &Stream) -> Result<TableSnapshot> {
        let TableSnapshot { name, dim, ids, slots } = table;
        let mut counts = vec![0; self.ranks()];
        counts[0] = ids.len() as u64;
        let found = self.communicator.exchange_counts(&counts, stream)?;
        let sent: Vec<usize> = counts.iter().map(|&count| count as usize).collect();
        let come: Vec<usize> = found.iter().map(|&count| count as usize).collect();

        let mut all = Buffer::<i64>::zeros(0, stream)?;
        let ids = Buffer::from_vec(ids, stream)?;
        self.communicator.all_to_all((&ids).into(), &sent, (&mut all).into(), &come, stream)?;
        let ids = all.to_vec(stream)?;
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_unstable_by_key(|&row| ids[row]);

        let (sent, come) = (times(&sent, dim), times(&come, dim));
        let slots = slots.into_iter().map(|(slot, values)| {
            let values = Buffer::from_vec(values, stream)?;
            let mut all = Buffer::<f32>::zeros(0, stream)?;
            self.communicator.all_to_all((&values).into(), &sent, (&mut all).into(), &come, stream)?;
            let all = all.to_vec(stream)?;
            Ok((slot, order.iter().flat_map(|row| &all[row * dim..][..dim]).copied().collect()))
        });
        let slots = slots.collect::<Result<_>>()?;
        Ok(TableSnapshot { name, dim, ids: order.iter().map(|&row| ids[row]).collect(), slots })
    }
}

/// What one physical table exchanges for a batch.
#[derive(Default)]
pub(super) struct Exchange {
    /// The distinct ids of the batch in the order in which they are sent, by owner, then table.
    ids: Vec<i64>,
    /// The place of each of them in the batch's partition.
    places: Vec<u32>,
    /// How many go to each rank.
    sent: Vec<usize>,
    /// How many each rank asks for.
    asked: Vec<usize>,
    /// The ids that all ranks ask for, in the order in which they came: by rank, then table.
    owned: Partition,
    /// Of the ids of `owned`.
    rows: Buffer<u32>,
    embeddings: Buffer<f32>,
}

impl Exchange {
    /// Deals the distinct ids of a batch, table after table as `table_offsets` say, to their owners; how
    /// many of each table go to each rank, `[rank][table]`.
    pub fn deal(&mut self, ids: &[i64], table_offsets: &[u32], sharding: &Sharding) -> Vec<Vec<u64>> {
        let (ranks, tables) = (sharding.ranks(), table_offsets.len() - 1);
        let mut counts = vec![vec![0; tables]; ranks];
        let mut dealt: Vec<Vec<u32>> = vec![Vec::with_capacity(2 * ids.len() / ranks); ranks];
        for (table, bounds) in table_offsets.windows(2).enumerate() {
            for place in bounds[0]..bounds[1] {
                let owner = sharding.owner.rank(ids[place as usize], ranks);
                counts[owner][table] += 1;
                dealt[owner].push(place);
            }
        }
        self.sent = dealt.iter().map(Vec::len).collect();
        self.places = dealt.concat();
        self.ids = self.places.iter().map(|&place| ids[place as usize]).collect();
        counts
    }

    /// Finds the rows that the others ask for, `asked[rank][table]` many, and brings this rank the
    /// embeddings of its own batch, in the order of its partition. Waits for nothing.
    pub fn fetch(
        &mut self,
        asked: &[Vec<u64>],
        table: &mut dyn Table,
        insert: bool,
        sharding: &Sharding,
        stream: &Stream,
    ) -> Result<Buffer<f32>> {
        let dim = table.dim();
        self.asked = asked.iter().map(|counts| counts.iter().sum::<u64>() as usize).collect();
        let ids = Buffer::from_vec(std::mem::take(&mut self.ids), stream)?;
        let mut came = Buffer::zeros(0, stream)?;
        let communicator = &sharding.communicator;
        communicator.all_to_all((&ids).into(), &self.sent, (&mut came).into(), &self.asked, stream)?;

        let tables = asked.first().map_or(0, Vec::len);
        let parts = asked.iter().flat_map(|counts| counts.iter().map(|&count| count as usize).enumerate());
        self.owned = partition_ids::forward_parts(&came, &parts.collect::<Vec<_>>(), tables, stream)?;
        let owned = self.owned.ids.len();
        self.rows.resize(owned, stream)?;
        self.embeddings.resize(owned * dim, stream)?;
        table.lookup(&self.owned, insert, &mut self.rows, &mut self.embeddings, stream)?;

        let reply = gather(&self.embeddings, dim, &self.owned.inverse, stream)?;
        let mut found = Buffer::zeros(0, stream)?;
        let (sent, asked) = (times(&self.sent, dim), times(&self.asked, dim));
        communicator.all_to_all((&reply).into(), &asked, (&mut found).into(), &sent, stream)?;

        let mut order = vec![0; self.places.len()];
        self.places.iter().zip(0..).for_each(|(&place, sent)| order[place as usize] = sent);
        gather(&found, dim, &Buffer::from_vec(order, stream)?, stream)
    }

    /// Sends the gradients of the batch's distinct ids to their owners; those of the rows that this rank
    /// owns, summed over the ranks, or their mean over those that used the row.
    pub fn send_gradients(
        &mut self,
        d_embeddings: &Buffer<f32>,
        dim: usize,
        reduce_by: GradReduceBy,
        sharding: &Sharding,
        stream: &Stream,
    ) -> Result<Gradients> {
        let places = Buffer::from_vec(std::mem::take(&mut self.places), stream)?;
        let sent = gather(d_embeddings, dim, &places, stream)?;
        let mut came = Buffer::zeros(0, stream)?;
        let (send, asked) = (times(&self.sent, dim), times(&self.asked, dim));
        sharding.communicator.all_to_all((&sent).into(), &send, (&mut came).into(), &asked, stream)?;
        let values = reduce_gradients(&self.owned, &came, dim, reduce_by, stream)?;
        let rows = std::mem::take(&mut self.rows);
        Ok(Gradients { rows, values, count: Some(self.owned.count.clone()) })
    }
}

/// The gradients of distinct ids out of those that several ranks sent, `[id, dim]` in the order in which
/// `owned` was made of them: their sum, or their mean over the ranks that sent one.
pub fn reduce_gradients(
    owned: &Partition,
    gradients: &Buffer<f32>,
    dim: usize,
    reduce_by: GradReduceBy,
    stream: &Stream,
) -> Result<Buffer<f32>> {
    let mut reduced = Buffer::zeros(owned.ids.len() * dim, stream)?;
    let count = gradients.len() / dim;
    if count == 0 {
        return Ok(reduced);
    }
    let weights = match reduce_by {
        GradReduceBy::Worker => None,
        GradReduceBy::Id => Some(Buffer::from_vec(shares(&owned.inverse.to_vec(stream)?), stream)?),
    };
    let (offsets, values) = (one_each(count, stream)?, reduced.clone());
    let mut add = |occurrences| {
        let lookup = Lookup {
            embeddings: &values,
            inverse: &owned.inverse,
            first_id: 0,
            ids: count,
            offsets: &offsets,
            dim,
            occurrences,
            range: None,
        };
        let (weights, denominator) = (weights.as_ref(), Denominator::One);
        let feature = Combined { lookup, weights, denominator, first_column: 0 };
        let gradients = vec![CombinedGradient { feature, d_out: gradients, stride: dim }];
        combine::backward(&mut [EmbeddingGradients { gradients, d_embeddings: &mut reduced }], stream)
    };
    if owned.occurrences(0).is_none() {
        add(None)?;
    } else {
        // A device takes the ids of one table at a time.
        (0..owned.table_offsets.len() - 1).try_for_each(|table| add(owned.occurrences(table)))?;
    }
    Ok(reduced)
}

/// For each id, one over how often it occurs.
fn shares(inverse: &[u32]) -> Vec<f32> {
    let mut counts = vec![0u32; inverse.len()];
    inverse.iter().for_each(|&place| counts[place as usize] += 1);
    inverse.iter().map(|&place| 1.0 / counts[place as usize] as f32).collect()
}

/// The rows of `values` at `places`.
fn gather(values: &Buffer<f32>, dim: usize, places: &Buffer<u32>, stream: &Stream) -> Result<Buffer<f32>> {
    let count = places.len();
    let mut out = Buffer::unset(count * dim, stream)?;
    if count > 0 {
        // Each a sum of one.
        let lookup = Lookup {
            embeddings: values,
            inverse: places,
            first_id: 0,
            ids: count,
            offsets: &one_each(count, stream)?,
            dim,
            occurrences: None,
            range: None,
        };
        let each = Combined { lookup, weights: None, denominator: Denominator::One, first_column: 0 };
        combine::forward(&[each], &mut out, dim, stream)?;
    }
    Ok(out)
}

/// The offsets of segments of one id each.
fn one_each(count: usize, stream: &Stream) -> Result<Buffer<i32>> {
    Buffer::from_vec((0..=count as i32).collect(), stream)
}

fn times(counts: &[usize], dim: usize) -> Vec<usize> {
    counts.iter().map(|count| count * dim).collect()
}
