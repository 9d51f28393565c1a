use std::collections::{BTreeMap, HashSet};

use rand::Rng;
use recis::device::Stream;
use recis::ops::hash_table::{HashTable, NO_ROW, TableRange};

use crate::common::rng;

fn whole(table: usize, ids: &[i64]) -> [TableRange; 1] {
    [TableRange { table, first: 0, count: ids.len() }]
}

fn find(table: &HashTable, which: usize, ids: &[i64]) -> Vec<u32> {
    let mut rows = vec![0; ids.len()].into();
    table.find(&ids.to_vec().into(), &whole(which, ids), &mut rows, &Stream::default()).unwrap();
    rows.host().to_vec()
}

fn insert(table: &mut HashTable, which: usize, ids: &[i64]) -> (Vec<u32>, Vec<u32>) {
    let mut rows = vec![0; ids.len()].into();
    let new = table
        .find_or_insert(&ids.to_vec().into(), &whole(which, ids), &mut rows, &Stream::default())
        .unwrap();
    (rows.host().to_vec(), new)
}

fn erase(table: &mut HashTable, which: usize, ids: &[i64]) -> usize {
    table.erase(&ids.to_vec().into(), &whole(which, ids), &Stream::default()).unwrap()
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
    for kind in 0..5 {
        let mut rng = rng(kind as u64);
        let mut table = HashTable::create(2, &Stream::default()).unwrap();
        let mut maps = [BTreeMap::new(), BTreeMap::new()];
        for _ in 0..2000 {
            let which = rng.random_range(0..2);
            let ids: Vec<i64> =
                (0..rng.random_range(0..20)).map(|_| hostile(kind, rng.random_range(0..3000))).collect();
            let map = &mut maps[which];
            match rng.random_range(0..4) {
                0 => {
                    let distinct: HashSet<_> = ids.iter().filter(|id| map.remove(*id).is_some()).collect();
                    assert_eq!(erase(&mut table, which, &ids), distinct.len());
                }
                1 => {
                    let expected: Vec<_> =
                        ids.iter().map(|id| map.get(id).copied().unwrap_or(NO_ROW)).collect();
                    assert_eq!(find(&table, which, &ids), expected);
                }
                _ => {
                    let (rows, new) = insert(&mut table, which, &ids);
                    for (i, (&id, &row)) in ids.iter().zip(&rows).enumerate() {
                        assert_eq!(!map.contains_key(&id), new.contains(&(i as u32)));
                        assert_eq!(*map.entry(id).or_insert(row), row);
                    }
                }
            }
            assert_eq!(table.len(which), maps[which].len());
        }
        let rows: HashSet<_> = maps.iter().flat_map(BTreeMap::values).collect();
        assert_eq!(rows.len(), maps[0].len() + maps[1].len(), "two ids share a row");
        assert!(rows.iter().all(|&&row| (row as usize) < table.row_bound()));
        for (which, map) in maps.into_iter().enumerate() {
            assert_eq!(table.export(which), map.into_iter().unzip());
        }
    }
}

#[test]
fn erased_rows_are_used_again() {
    let mut table = HashTable::create(1, &Stream::default()).unwrap();
    let ids: Vec<i64> = (0..1000).collect();
    insert(&mut table, 0, &ids);
    assert_eq!(erase(&mut table, 0, &ids), 1000);
    assert!(table.is_empty());
    let others: Vec<i64> = (5000..6000).collect();
    insert(&mut table, 0, &others);
    assert_eq!(table.row_bound(), 1000);
}

#[test]
fn one_key_a_million_times_is_one_row() {
    let mut table = HashTable::create(1, &Stream::default()).unwrap();
    let (rows, new) = insert(&mut table, 0, &vec![-1; 1_000_000]);
    assert_eq!((table.len(0), new, rows.iter().max()), (1, vec![0], rows.iter().min()));
}

#[test]
fn ranges_outside_the_ids_are_refused() {
    let table = HashTable::create(1, &Stream::default()).unwrap();
    let (ids, mut rows) = (vec![1, 2].into(), vec![0, 0].into());
    for range in [
        TableRange { table: 0, first: 1, count: 2 },
        TableRange { table: 1, first: 0, count: 2 },
        TableRange { table: 0, first: 3, count: usize::MAX },
    ] {
        let error = table.find(&ids, &[range], &mut rows, &Stream::default()).unwrap_err().to_string();
        assert!(
            error.starts_with("hash_table: TableRange {") && error.contains("does not fit 2 ids"),
            "{error}"
        );
    }
}
