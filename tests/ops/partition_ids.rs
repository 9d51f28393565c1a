use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use recis::device::{Buffer, Stream};
use recis::ops::partition_ids::{Column, Owner, forward, forward_parts, owner, owners};
use recis::ops::string_hash::murmur;

use crate::common::{each, each_with_kernels, hostile_offsets, keys, on, read, rng};

/// A column's table, its ids, and how many of them are there; none: all, and without offsets.
type Ids = (usize, Vec<i64>, Option<usize>);

fn check(columns: &[Ids], tables: usize, stream: &Stream) {
    // All columns listed, none, and every other one.
    check_listed(columns, tables, |_| true, stream);
    check_listed(columns, tables, |_| false, stream);
    check_listed(columns, tables, |i| i % 2 == 0, stream);
}

fn check_listed(columns: &[Ids], tables: usize, listed: impl Fn(usize) -> bool, stream: &Stream) {
    let ids: Vec<Buffer<i64>> = columns.iter().map(|(_, ids, _)| on(&ids[..], stream)).collect();
    let offsets: Vec<Option<Buffer<i32>>> = (columns.iter())
        .map(|(_, _, there)| there.map(|there| on([0, there as i32 / 3, there as i32], stream)))
        .collect();
    let inputs: Vec<_> = (columns.iter().zip(&ids).zip(&offsets).enumerate())
        .map(|(i, (((table, ..), ids), offsets))| {
            let (table, offsets, listed) = (*table, offsets.as_ref(), listed(i));
            Column { table, ids, offsets, listed }
        })
        .collect();
    let partition = forward(&inputs, tables, stream).unwrap();
    let keys = keys(&partition, stream);
    let order = |&(table, id): &(usize, i64)| (table, id as u64 & 0xffff, id as u64 >> 16);
    let there = |(_, ids, there): &Ids| there.unwrap_or(ids.len());
    let all = columns.iter().flat_map(|c| c.1[..there(c)].iter().map(|&id| (c.0, id)));
    let expected: BTreeSet<_> = all.clone().map(|key| order(&key)).collect();
    assert!(keys.iter().map(order).eq(expected));

    let inverse = read(&partition.inverse, stream);
    assert_eq!(inverse.len(), columns.iter().map(|(_, ids, _)| ids.len()).sum::<usize>());
    let mut positions: BTreeMap<(usize, i64), BTreeSet<u32>> = BTreeMap::new();
    let (mut of_listed, mut of_others) = (BTreeSet::new(), BTreeSet::new());
    for (i, (column, &first)) in columns.iter().zip(&partition.first_ids).enumerate() {
        let all = if listed(i) { &mut of_listed } else { &mut of_others };
        for (i, &id) in column.1[..there(column)].iter().enumerate() {
            assert_eq!(keys[inverse[first + i] as usize], (column.0, id));
            positions.entry((column.0, id)).or_default().insert((first + i) as u32);
            all.insert((first + i) as u32);
        }
    }
    assert!(of_listed.last().is_none_or(|last| of_others.iter().all(|other| other > last)));
    for table in 0..tables {
        let Some(occurrences) = partition.occurrences(table) else { continue };
        let (found, starts) = (read(occurrences.positions, stream), read(occurrences.starts, stream));
        let ends = read(occurrences.table_offsets, stream);
        for place in ends[table] as usize..ends[table + 1] as usize {
            let range = starts[place] as usize..starts[place + 1] as usize;
            // Those of the listed columns all, in order; of the others maybe.
            let (found, all) = (&found[range], &positions[&keys[place]]);
            assert!(found.is_sorted() && found.iter().all(|at| all.contains(at)), "{:?}", keys[place]);
            assert!(all.intersection(&of_listed).all(|at| found.contains(at)), "{:?}", keys[place]);
        }
    }
}

#[test]
fn distinct_ids_are_in_order_and_every_id_finds_its_own() {
    each(|stream| {
        let mut rng = rng(1);
        check(&[], 1, stream);
        check(&[(0, vec![], None)], 1, stream);
        check(&[(3, vec![7], None)], 4, stream);
        let special = vec![0, -1, -2, i64::MIN, i64::MAX, -1];
        check(&[(1, special, None), (0, vec![0, 0], None), (1, vec![5, 0], None)], 4096, stream);
        let most = 40_000;
        for spread in [3, 1000, i64::MAX] {
            let mut ids = |n| (0..n).map(|_| rng.random_range(-spread..=spread)).collect::<Vec<i64>>();
            let columns = [
                (2, ids(most / 8), None),
                (0, ids(most), None),
                (2, ids(10), Some(7)),
                (5, ids(0), None),
                (5, ids(4), Some(0)),
                (3, ids(most / 10), Some(most / 11)),
            ];
            check(&columns, 7, stream);
        }
        // Around what one block does, and so many tables that keys are longer than 64 bits.
        for count in [4096, 4097] {
            let mut ids = |n: usize| (0..n).map(|_| rng.random::<i64>()).collect::<Vec<i64>>();
            check(
                &[(0, ids(count / 2), None), (4095, ids(count - count / 2), Some(count / 3))],
                4096,
                stream,
            );
            let columns = (0..70).map(|i| (i * 58, ids(count / 70), (i % 3 == 0).then_some(count / 90)));
            check(&columns.collect::<Vec<_>>(), 4096, stream);
        }
        // All low bits equal, all high bits equal.
        let [high, low] = [40, 16].map(|shift| (0..3000).map(|i: i64| i << shift).collect());
        check(&[(0, high, None), (1, low, None)], 2, stream);
    });
}

/// Ids that differ in all their bits, of which many agree in the highest of the order: pairs, some ids that repeat tied
/// with others, and a run of thousands.
#[test]
fn ids_that_nearly_agree_are_in_order() {
    each(|stream| {
        let mut rng = rng(4);
        let mut pairs: Vec<i64> = (0..6000).map(|_| rng.random()).collect();
        pairs.extend_from_within(..3000);
        // The lowest bit of the order is the id's seventeenth.
        pairs[6000..].iter_mut().for_each(|id| *id ^= 1 << 16);
        let hot: Vec<_> = (0..3000).map(|i| pairs[i % 7] ^ i64::from(i % 500 == 0) << 17).collect();
        check(&[(0, pairs.clone(), None), (1, hot.clone(), None)], 2, stream);
        let run = (0..5000).map(|i: i64| (i * 7919 % 5000) << 16 | 5).collect();
        check(&[(0, run, None), (0, hot, None), (1, pairs, Some(8000))], 2, stream);
    });
}

#[test]
fn parts_of_an_array_are_columns() {
    each(|stream| {
        let mut rng = rng(3);
        let ids: Vec<i64> = (0..500).map(|_| rng.random_range(0..90)).collect();
        let (all, parts) = (on(&ids[..], stream), [(1, 200), (0, 0), (2, 90), (1, 210)]);
        let found = forward_parts(&all, &parts, 4, stream).unwrap();
        let mut first = 0;
        let columns = parts.map(|(table, len)| {
            first += len;
            (table, on(&ids[first - len..first], stream))
        });
        let columns =
            columns.each_ref().map(|(table, ids)| Column { table: *table, ids, offsets: None, listed: true });
        let expected = forward(&columns, 4, stream).unwrap();
        assert_eq!(keys(&found, stream), keys(&expected, stream));
        assert_eq!(read(&found.inverse, stream), read(&expected.inverse, stream));
        assert_eq!(found.first_ids, expected.first_ids);

        let error = forward_parts(&all, &[(0, 501)], 1, stream).unwrap_err();
        assert_eq!(error.to_string(), "partition_ids: parts of 501 ids, of 500");
    });
}

#[test]
fn occurrences_are_there_where_gradients_need_them() {
    each(|stream| {
        let partition =
            forward(&[Column { table: 0, ids: &on([5], stream), offsets: None, listed: true }], 1, stream)
                .unwrap();
        let is_device = stream.device() != recis::device::Device::Cpu;
        assert_eq!(partition.occurrences(0).is_some(), is_device);
        if let Some(occurrences) = partition.occurrences(0) {
            assert_eq!(occurrences.listed, 1);
        }
        let column = Column { table: 0, ids: &on([5], stream), offsets: None, listed: false };
        let partition = forward(&[column], 1, stream).unwrap();
        assert!(partition.occurrences(0).is_none_or(|occurrences| occurrences.listed == 0));
    });
}

#[test]
fn tables_that_do_not_exist_are_refused() {
    each(|stream| {
        let ids = on([1], stream);
        let error =
            forward(&[Column { table: 2, ids: &ids, offsets: None, listed: true }], 2, stream).unwrap_err();
        assert_eq!(error.to_string(), "partition_ids: table 2 of 2");
    });
    let stream = &Stream::default();
    let (ids, offsets) = (on([1], stream), on([0, 2], stream));
    let error = forward(&[Column { table: 0, ids: &ids, offsets: Some(&offsets), listed: true }], 1, stream)
        .unwrap_err();
    assert_eq!(error.to_string(), "partition_ids: offsets end at 2, but there are 1 values");
}

#[test]
fn offsets_that_lead_nowhere_do_no_harm() {
    each_with_kernels(|stream| {
        for rows in 0..8 {
            let (ids, offsets) = (on([4, 4, 1, 9], stream), on(hostile_offsets(rows), stream));
            let column = Column { table: 0, ids: &ids, offsets: Some(&offsets), listed: true };
            let partition = forward(&[column, Column { offsets: None, ..column }], 1, stream).unwrap();
            assert_eq!(keys(&partition, stream), [(0, 1), (0, 4), (0, 9)]);
        }
    });
}

#[test]
fn slices_cover_all_ranks_in_order() {
    for world_size in [1, 2, 3, 7, 1000, 65_536] {
        let owners: Vec<_> = (0..65_536).map(|id| owner(id, world_size)).collect();
        assert!(owners.is_sorted() && owners[0] == 0 && owners[65_535] == world_size - 1, "{world_size}");
        let mut sizes = vec![0; world_size];
        owners.iter().for_each(|&owner| sizes[owner] += 1);
        assert!(sizes.iter().all(|&n| n >= 65_536 / world_size && n <= 65_536 / world_size + 1));
    }
    assert_eq!(owner(-1, 4), 3);
}

#[test]
fn owners_are_in_range_and_counted() {
    let ids: Vec<i64> = (0..5000).chain([-1, -2, i64::MIN, i64::MAX]).collect();
    each(|stream| {
        for world_size in [1, 2, 7, 1000, 1025, 65_536] {
            for owner in [Owner::Slices, Owner::Balanced] {
                let found = owners(&on(&ids[..], stream), world_size, owner, stream).unwrap();
                let mut counts = vec![0; world_size];
                for (&id, rank) in ids.iter().zip(read(&found.owners, stream)) {
                    assert_eq!(rank as usize, owner.rank(id, world_size), "id {id}, {world_size} ranks");
                    counts[rank as usize] += 1;
                }
                assert_eq!(read(&found.counts, stream), counts);
            }
        }
        // Small ids are spread evenly.
        let counts = owners(&on(&ids[..], stream), 4, Owner::Balanced, stream).unwrap().counts;
        let counts = read(&counts, stream);
        assert!(counts.iter().all(|&n| (1150..1350).contains(&n)), "{counts:?}");
        let none = owners(&on([], stream), 3, Owner::Slices, stream).unwrap();
        assert_eq!((none.owners.len(), read(&none.counts, stream)), (0, vec![0; 3]));
        let error = owners(&on([], stream), 0, Owner::Slices, stream).unwrap_err();
        assert_eq!(error.to_string(), "partition_ids: a world size of 0, not within 1..=65536");
    });
    let hash = murmur(&5i64.to_le_bytes());
    assert_eq!(Owner::Balanced.rank(5, 3) as u64, ((hash >> 32) * 3) >> 32);
}
