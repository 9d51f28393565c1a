//! The distinct ids of a batch, and who owns them.

use rayon::prelude::*;

use crate::ops::partition_ids::Owner;

/// Distinct ids by table, where each table's begin, and the place of each id of the columns, which are
/// (table, ids, room in the inverse).
pub fn forward(columns: &[(usize, &[i64], usize)], tables: usize) -> (Vec<i64>, Vec<u32>, Vec<u32>) {
    let mut inverse = vec![0; columns.iter().map(|(_, _, room)| room).sum()];
    // Each table takes the parts of the inverse that belong to its columns.
    let mut parts: Vec<Vec<(&[i64], &mut [u32])>> = (0..tables).map(|_| Vec::new()).collect();
    let mut rest = inverse.as_mut_slice();
    for (table, ids, room) in columns {
        let (part, others) = rest.split_at_mut(*room);
        rest = others;
        parts[*table].push((ids, &mut part[..ids.len()]));
    }
    let distinct: Vec<Vec<i64>> = parts.par_iter_mut().map(|columns| deduplicate(columns)).collect();
    let mut table_offsets = vec![0u32];
    for ids in &distinct {
        table_offsets.push(table_offsets[table_offsets.len() - 1] + ids.len() as u32);
    }
    parts.par_iter_mut().zip(&table_offsets).for_each(|(columns, first)| {
        for (_, inverse) in columns {
            inverse.par_iter_mut().with_min_len(super::GRAIN).for_each(|place| *place += first);
        }
    });
    (distinct.concat(), table_offsets, inverse)
}

/// The rank that owns each id, and how many each rank owns.
pub fn owners(ids: &[i64], world_size: usize, owner: Owner) -> (Vec<u32>, Vec<u32>) {
    let owners = ids.par_iter().with_min_len(super::GRAIN).map(|&id| owner.rank(id, world_size) as u32);
    let owners: Vec<u32> = owners.collect();
    let mut counts = vec![0; world_size];
    owners.iter().for_each(|&rank| counts[rank as usize] += 1);
    (owners, counts)
}

/// The distinct ids of a table in order; the inverses take each id's place among them.
fn deduplicate(columns: &mut [(&[i64], &mut [u32])]) -> Vec<i64> {
    let mut seen = Seen::default();
    for (ids, inverse) in columns.iter_mut() {
        inverse.iter_mut().zip(*ids).for_each(|(place, &id)| *place = seen.place(id));
    }
    let mut order: Vec<u32> = (0..seen.ids.len() as u32).collect();
    order.sort_unstable_by_key(|&place| {
        let id = seen.ids[place as usize] as u64;
        (id & 0xffff, id >> 16)
    });
    let mut ranks = vec![0; order.len()];
    order.iter().enumerate().for_each(|(rank, &place)| ranks[place as usize] = rank as u32);
    for (_, inverse) in columns {
        inverse.par_iter_mut().with_min_len(super::GRAIN).for_each(|place| *place = ranks[*place as usize]);
    }
    order.into_iter().map(|place| seen.ids[place as usize]).collect()
}

/// Distinct ids in order of appearance, and a hash table of their places.
struct Seen {
    ids: Vec<i64>,
    /// An id and its place plus 1; 0 marks an empty cell.
    cells: Vec<(i64, u32)>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { ids: Vec::new(), cells: vec![(0, 0); 1 << 10] }
    }
}

impl Seen {
    fn place(&mut self, id: i64) -> u32 {
        let cell = self.cell(id);
        match self.cells[cell].1 {
            0 => {
                self.ids.push(id);
                self.cells[cell] = (id, self.ids.len() as u32);
                if self.ids.len() * 2 > self.cells.len() {
                    self.grow();
                }
                self.ids.len() as u32 - 1
            }
            place => place - 1,
        }
    }

    fn cell(&self, id: i64) -> usize {
        let mask = self.cells.len() - 1;
        // The upper half of a product depends on all bits of the id.
        let mixed = (id as u64 ^ (id as u64 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut cell = (mixed >> 32) as usize & mask;
        while self.cells[cell].1 != 0 && self.cells[cell].0 != id {
            cell = (cell + 1) & mask;
        }
        cell
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.cells);
        self.cells = vec![(0, 0); old.len() * 4];
        for (id, place) in old.into_iter().filter(|(_, place)| *place != 0) {
            let cell = self.cell(id);
            self.cells[cell] = (id, place);
        }
    }
}
