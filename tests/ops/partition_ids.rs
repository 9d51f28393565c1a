use std::collections::BTreeSet;

use rand::Rng;
use recis::device::{Buffer, Stream};
use recis::ops::partition_ids::{Column, Owner, forward, owner, owners};
use recis::ops::string_hash::murmur;

use crate::common::rng;

fn check(columns: &[(usize, Vec<i64>)]) {
    let buffers: Vec<Buffer<i64>> = columns.iter().map(|(_, ids)| ids.clone().into()).collect();
    let inputs: Vec<_> =
        columns.iter().zip(&buffers).map(|((table, _), ids)| Column { table: *table, ids }).collect();
    let partition = forward(&inputs, &Stream::default()).unwrap();
    let expected: BTreeSet<_> = (columns.iter())
        .flat_map(|(table, ids)| ids.iter().map(|&id| (*table, id as u64 & 0xffff, id as u64 >> 16)))
        .collect();
    let mut keys = Vec::new();
    for range in &partition.ranges {
        let ids = &partition.ids.host()[range.first..range.first + range.count];
        keys.extend(ids.iter().map(|&id| (range.table, id as u64 & 0xffff, id as u64 >> 16)));
    }
    assert!(keys.iter().eq(expected.iter()));
    let all = columns.iter().flat_map(|(table, ids)| ids.iter().map(|&id| (*table, id)));
    assert_eq!(all.clone().count(), partition.inverse.len());
    for ((table, id), &place) in all.zip(partition.inverse.host()) {
        assert_eq!((keys[place as usize].0, partition.ids.host()[place as usize]), (table, id));
    }
}

#[test]
fn distinct_ids_are_in_order_and_every_id_finds_its_own() {
    let mut rng = rng(1);
    check(&[]);
    check(&[(0, vec![])]);
    check(&[(3, vec![7])]);
    check(&[(1, vec![0, -1, -2, i64::MIN, i64::MAX, -1]), (0, vec![0, 0]), (1, vec![5, 0])]);
    for spread in [3, 1000, i64::MAX] {
        let mut ids = |n| (0..n).map(|_| rng.random_range(-spread..=spread)).collect::<Vec<i64>>();
        check(&[(2, ids(5000)), (0, ids(40_000)), (2, ids(10)), (5, ids(0))]);
    }
    // All low bits equal, all high bits equal.
    check(&[(0, (0..3000).map(|i: i64| i << 40).collect()), (1, (0..3000).map(|i: i64| i << 16).collect())]);
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
    let stream = Stream::default();
    for world_size in [1, 2, 7, 1000, 65_536] {
        for owner in [Owner::Slices, Owner::Balanced] {
            let found = owners(&ids.clone().into(), world_size, owner, &stream).unwrap();
            let mut counts = vec![0; world_size];
            for (&id, &rank) in ids.iter().zip(found.owners.host()) {
                assert_eq!(rank as usize, owner.rank(id, world_size), "id {id}, {world_size} ranks");
                counts[rank as usize] += 1;
            }
            assert_eq!(found.counts.host(), counts);
        }
    }
    let hash = murmur(&5i64.to_le_bytes());
    assert_eq!(Owner::Balanced.rank(5, 3) as u64, ((hash >> 32) * 3) >> 32);
    // Small ids are spread evenly.
    let counts = owners(&ids.into(), 4, Owner::Balanced, &stream).unwrap().counts;
    assert!(counts.host().iter().all(|&n| (1150..1350).contains(&n)), "{counts:?}");
    let error = owners(&Buffer::default(), 0, Owner::Slices, &stream).unwrap_err();
    assert_eq!(error.to_string(), "partition_ids: a world size of 0, not within 1..=65536");
}
