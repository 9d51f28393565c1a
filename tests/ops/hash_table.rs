use std::collections::{BTreeMap, HashSet};

use rand::Rng;
use recis::device::Stream;
use recis::ops::hash_table::{HashTable, NO_ROW, New};

use crate::common::{each, each_with_kernels, hostile_offsets, many_or_few, on, read, rng};

/// A table and the stream that it is worked on.
struct Tested<'a> {
    table: HashTable,
    tables: usize,
    stream: &'a Stream,
}

impl<'a> Tested<'a> {
    fn new(tables: usize, stream: &'a Stream) -> Self {
        Self { table: HashTable::create(tables, stream).unwrap(), tables, stream }
    }

    /// Offsets by which `count` ids are all of one table.
    fn of(&self, which: usize, count: usize) -> recis::device::Buffer<u32> {
        let ends: Vec<_> = (0..=self.tables).map(|t| if t > which { count as u32 } else { 0 }).collect();
        on(ends, self.stream)
    }

    fn find(&self, which: usize, ids: &[i64]) -> Vec<u32> {
        let mut rows = on(vec![0; ids.len()], self.stream);
        let offsets = self.of(which, ids.len());
        self.table.find(&on(ids, self.stream), &offsets, &mut rows, self.stream).unwrap();
        read(&rows, self.stream)
    }

    /// The rows of ids, and where the new ones are.
    fn insert(&mut self, which: usize, ids: &[i64]) -> (Vec<u32>, Vec<u32>) {
        let mut rows = on(vec![0; ids.len()], self.stream);
        let offsets = self.of(which, ids.len());
        let ids = on(ids, self.stream);
        let new = self.table.find_or_insert(&ids, &offsets, &mut rows, self.stream).unwrap();
        (read(&rows, self.stream), places(&new, self.stream))
    }

    fn erase(&mut self, which: usize, ids: &[i64]) {
        let offsets = self.of(which, ids.len());
        self.table.erase(&on(ids, self.stream), &offsets, self.stream).unwrap();
    }

    fn sizes(&self) -> Vec<usize> {
        self.table.sizes(self.stream).unwrap()
    }

    fn export(&self, which: usize) -> (Vec<i64>, Vec<u32>) {
        self.table.export(which, self.stream).unwrap()
    }
}

fn places(new: &New, stream: &Stream) -> Vec<u32> {
    let mut places = read(&new.places, stream);
    places.truncate(read(&new.count, stream)[0] as usize);
    places
}

/// Id patterns that a weak hash or a reserved value would trip over.
fn hostile(kind: usize, i: i64) -> i64 {
    match kind {
        0 => i,
        1 => i << 32,
        2 => i << 52,
        3 => [0, -1, -2, i64::MIN, i64::MAX][i as usize % 5].wrapping_add(i / 5),
        _ => i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64),
    }
}

#[test]
fn agrees_with_a_map_through_random_operations() {
    each(|stream| {
        for kind in 0..5 {
            let mut rng = rng(kind as u64);
            let mut table = Tested::new(2, stream);
            let mut maps = [BTreeMap::new(), BTreeMap::new()];
            for _ in 0..many_or_few(2000, 400, stream) {
                let which = rng.random_range(0..2);
                let ids: Vec<i64> = (0..rng.random_range(0..many_or_few(20, 100, stream)))
                    .map(|_| hostile(kind, rng.random_range(0..3000)))
                    .collect();
                let map = &mut maps[which];
                match rng.random_range(0..4) {
                    0 => {
                        ids.iter().for_each(|id| _ = map.remove(id));
                        table.erase(which, &ids);
                    }
                    1 => {
                        let expected: Vec<_> =
                            ids.iter().map(|id| map.get(id).copied().unwrap_or(NO_ROW)).collect();
                        assert_eq!(table.find(which, &ids), expected);
                    }
                    _ => {
                        let (rows, new) = table.insert(which, &ids);
                        let news: HashSet<i64> = new.iter().map(|&place| ids[place as usize]).collect();
                        assert_eq!(news.len(), new.len(), "an id is new twice");
                        for (id, &row) in ids.iter().zip(&rows) {
                            // The first time that the batch has it.
                            let is_new = !map.contains_key(id) || (news.contains(id) && map[id] == row);
                            assert_eq!(is_new, news.contains(id));
                            assert_eq!(*map.entry(*id).or_insert(row), row);
                        }
                    }
                }
                assert_eq!(table.sizes(), maps.each_ref().map(BTreeMap::len));
            }
            let rows: HashSet<_> = maps.iter().flat_map(BTreeMap::values).collect();
            assert_eq!(rows.len(), maps[0].len() + maps[1].len(), "two ids share a row");
            assert!(rows.iter().all(|&&row| (row as usize) < table.table.row_bound()));
            for (which, map) in maps.into_iter().enumerate() {
                assert_eq!(table.export(which), map.into_iter().unzip());
            }
        }
    });
}

#[test]
fn growth_in_mid_stream_keeps_all_rows() {
    each(|stream| {
        for kind in 0..5 {
            let mut table = Tested::new(3, stream);
            let mut rows = [(); 3].map(|()| BTreeMap::new());
            // A kernel table begins with room for 4096.
            let (batches, len) = (many_or_few(40, 9, stream), 1500);
            for batch in 0..batches {
                let which = batch % 3;
                let ids: Vec<i64> = (0..len).map(|i| hostile(kind, (batch / 3 * len + i) as i64)).collect();
                // Without waiting in between: what the host knows of the table is late.
                let (got, _) = table.insert(which, &ids);
                rows[which].extend(ids.into_iter().zip(got));
            }
            let distinct: HashSet<_> = rows.iter().flat_map(BTreeMap::values).collect();
            assert_eq!(distinct.len(), rows.iter().map(BTreeMap::len).sum::<usize>());
            assert!(distinct.iter().all(|&&row| (row as usize) < table.table.row_bound()));
            for (which, rows) in rows.iter().enumerate() {
                let (ids, expected): (Vec<i64>, Vec<u32>) = rows.iter().unzip();
                assert_eq!(table.find(which, &ids), expected, "kind {kind}");
            }
            assert_eq!(table.sizes(), rows.each_ref().map(BTreeMap::len));
        }
    });
}

#[test]
fn many_tables_in_one_call_keep_apart() {
    each(|stream| {
        // The same ids in every second table, and room behind the last.
        let tables = 100;
        let ends: Vec<u32> = (0..=tables).map(|t| (t as u32).div_ceil(2) * 3).collect();
        let count = ends[tables] as usize;
        let mut ids: Vec<i64> = (0..count as i64).map(|i| [7, -1, i64::MIN][i as usize % 3]).collect();
        ids.extend([5; 10]);
        let (ids, offsets) = (on(ids, stream), on(ends, stream));
        let mut table = HashTable::create(tables, stream).unwrap();
        let mut rows = on(vec![0; ids.len()], stream);
        let new = table.find_or_insert(&ids, &offsets, &mut rows, stream).unwrap();
        assert_eq!(places(&new, stream).len(), count);
        let first = read(&rows, stream);
        assert_eq!(first[..count].iter().collect::<HashSet<_>>().len(), count);
        assert_eq!(first[count..], [NO_ROW; 10], "rows behind the ids");
        let sizes: Vec<_> = (0..tables).map(|t| if t % 2 == 0 { 3 } else { 0 }).collect();
        assert_eq!(table.sizes(stream).unwrap(), sizes);

        let new = table.find_or_insert(&ids, &offsets, &mut rows, stream).unwrap();
        assert!(places(&new, stream).is_empty());
        assert_eq!(read(&rows, stream), first);
        table.find(&ids, &offsets, &mut rows, stream).unwrap();
        assert_eq!(read(&rows, stream), first);
        assert_eq!(table.export(2, stream).unwrap().0, [i64::MIN, -1, 7]);
        assert!(table.export(1, stream).unwrap().0.is_empty());
    });
}

#[test]
fn erased_rows_are_used_again() {
    each(|stream| {
        let mut table = Tested::new(1, stream);
        for (round, len) in [1000, 1000, 500].into_iter().enumerate() {
            let ids: Vec<i64> = (0..len).map(|i| i + 5000 * round as i64).collect();
            let (rows, new) = table.insert(0, &ids);
            assert_eq!(new.len(), ids.len());
            assert_eq!(rows.iter().collect::<HashSet<_>>().len(), ids.len());
            assert!(rows.iter().all(|&row| row < 1000), "a row that is not one of the first thousand");
            table.erase(0, &ids);
            // Twice does nothing more.
            table.erase(0, &ids);
            assert_eq!(table.sizes(), [0]);
            assert!(table.find(0, &ids).iter().all(|&row| row == NO_ROW));
        }
        if stream.device() == recis::device::Device::Cpu {
            assert_eq!(table.table.row_bound(), 1000);
        }
    });
}

#[test]
fn one_key_very_often_is_one_row() {
    each(|stream| {
        let mut table = Tested::new(1, stream);
        let (rows, new) = table.insert(0, &vec![-1; many_or_few(1_000_000, 100_000, stream)]);
        assert_eq!((table.sizes(), new.len(), rows.iter().max()), (vec![1], 1, rows.iter().min()));
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    each(|stream| {
        let table = HashTable::create(2, stream).unwrap();
        let find = |rows, ends: &[u32]| {
            let (ids, mut rows) = (on([1, 2], stream), on(vec![0; rows], stream));
            table.find(&ids, &on(ends, stream), &mut rows, stream).unwrap_err().to_string()
        };
        assert_eq!(find(3, &[0, 1, 2]), "hash_table: 2 ids but room for 3 rows");
        assert_eq!(find(2, &[0, 2]), "hash_table: 2 offsets for 2 tables");
        let error = table.export(2, stream).unwrap_err().to_string();
        assert_eq!(error, "hash_table: table 2 of 2");
        for tables in [0, 4097] {
            let error = HashTable::create(tables, stream).map(drop).unwrap_err().to_string();
            assert_eq!(error, format!("hash_table: {tables} logical tables; there may be 1 to 4096"));
        }
    });
    let stream = &Stream::default();
    let table = HashTable::create(2, stream).unwrap();
    let (ids, mut rows) = (on([1, 2], stream), on([0, 0], stream));
    for ends in [[0, 2, 3], [0, 2, 1], [1, 2, 2]] {
        let error = table.find(&ids, &on(ends, stream), &mut rows, stream).unwrap_err().to_string();
        assert_eq!(error, format!("hash_table: offsets {ends:?} do not ascend from 0 to at most 2 ids"));
    }
}

#[test]
fn offsets_that_lead_nowhere_do_no_harm() {
    each_with_kernels(|stream| {
        let wild: Vec<u32> = hostile_offsets(6).into_iter().map(|offset| offset as u32).collect();
        let (ids, offsets, mut rows) = (on([3, 1, 2, 2], stream), on(wild, stream), on([0; 4], stream));
        let mut table = HashTable::create(6, stream).unwrap();
        let new = table.find_or_insert(&ids, &offsets, &mut rows, stream).unwrap();
        assert!(places(&new, stream).iter().all(|&place| place < 4));
        table.find(&ids, &offsets, &mut rows, stream).unwrap();
        table.erase(&ids, &offsets, stream).unwrap();
        assert!(table.sizes(stream).unwrap().iter().sum::<usize>() <= 4);
    });
}
