use recis::ffi::simt::{recis_partition_ids_forward, recis_partition_ids_workspace_size};
use recis::ffi::{recis_ids_column, recis_status};
use recis::ops::cpu;

use crate::common::*;

mod owner;
mod ties;

/// A column: its table, its ids, and how many of them there are by its offsets, if it has any.
struct Column {
    table: u32,
    ids: Vec<i64>,
    used: Option<usize>,
}

fn column(table: u32, ids: &[i64]) -> Column {
    Column { table, ids: ids.to_vec(), used: None }
}

/// What forward writes; everything is 7 before.
#[derive(Debug, PartialEq)]
struct Partition {
    ids: Vec<i64>,
    table_offsets: Vec<u32>,
    inverse: Vec<u32>,
    positions: Vec<u32>,
    starts: Vec<u32>,
    listed: u32,
}

/// Columns one after another in the order given by `order`, each `gap` positions behind the one before.
fn run(
    columns: &[Column],
    tables: usize,
    gap: usize,
    order: &[usize],
    share: f64,
) -> (Partition, Vec<usize>) {
    let memory: Vec<_> = (columns.iter())
        .map(|c| (Guarded::new(&c.ids), c.used.map(|used| Guarded::new(&[0, used as i32 / 2, used as i32]))))
        .collect();
    let mut firsts = vec![0; columns.len()];
    let mut total = 0;
    for &i in order {
        total += gap;
        firsts[i] = total;
        total += columns[i].ids.len();
    }
    let raw: Vec<_> = (columns.iter().zip(&memory).zip(&firsts))
        .map(|((column, (ids, offsets)), &first)| recis_ids_column {
            ids: ids.ptr(),
            offsets: offsets.as_ref().map_or(std::ptr::null(), |offsets| offsets.ptr()),
            rows: 2,
            capacity: column.ids.len() as i64,
            first: first as i64,
            table: column.table,
        })
        .collect();
    let mut bytes = 0;
    let listed = (total as f64 * share) as i64;
    ok(unsafe { recis_partition_ids_workspace_size(total as i64, tables as i64, listed, &mut bytes) });
    let workspace = Guarded::new(&vec![7u8; bytes]);
    let ids = Guarded::new(&vec![7i64; total]);
    let numbers = |len| Guarded::new(&vec![7u32; len]);
    let (table_offsets, inverse, positions, starts, count) =
        (numbers(tables + 1), numbers(total), numbers(total), numbers(total + 1), numbers(1));
    ok(unsafe {
        recis_partition_ids_forward(
            raw.as_ptr(),
            raw.len() as i64,
            tables as i64,
            total as i64,
            listed,
            ids.ptr(),
            table_offsets.ptr(),
            inverse.ptr(),
            positions.ptr(),
            starts.ptr(),
            count.ptr(),
            workspace.ptr().cast(),
            bytes,
            STREAM,
        )
    });
    assert_eq!(count.to_vec(), table_offsets.to_vec()[tables..]);
    let partition = Partition {
        ids: ids.to_vec(),
        table_offsets: table_offsets.to_vec(),
        inverse: inverse.to_vec(),
        positions: positions.to_vec(),
        starts: starts.to_vec(),
        listed: listed as u32,
    };
    (partition, firsts)
}

/// Against the CPU form, which gives ids and inverse; with all positions listed, and with some or none.
fn check(columns: &[Column], tables: usize, gap: usize, order: &[usize]) {
    check_listed(columns, tables, gap, order, 1.0);
    check_listed(columns, tables, gap, order, if gap == 0 { 0.4 } else { 0.0 });
}

fn check_listed(columns: &[Column], tables: usize, gap: usize, order: &[usize], share: f64) {
    let (got, firsts) = run(columns, tables, gap, order, share);
    let used = |column: &Column| column.used.unwrap_or(column.ids.len());
    let total = got.ids.len();
    let inputs: Vec<_> = (columns.iter())
        .map(|column| (column.table as usize, &column.ids[..used(column)], used(column)))
        .collect();
    let (ids, table_offsets, inverse) = cpu::partition_ids::forward(&inputs, tables);
    let what =
        format!("{} columns, {tables} tables, total {total}, gap {gap}, {share} listed", columns.len());

    assert_eq!(got.table_offsets, table_offsets, "{what}");
    assert!(got.ids[..ids.len()] == ids, "ids of {what}");

    let mut expected = vec![7; total];
    let mut places: Vec<Vec<u32>> = vec![vec![]; ids.len()];
    let mut rest = inverse.as_slice();
    let mut by_position: Vec<_> = Vec::new();
    for (column, &first) in columns.iter().zip(&firsts) {
        let (part, others) = rest.split_at(used(column));
        rest = others;
        by_position.extend(part.iter().zip(first..));
    }
    by_position.sort_by_key(|(_, position)| *position);
    for (&place, position) in by_position {
        expected[position] = place;
        places[place as usize].push(position as u32);
    }
    assert!(got.inverse == expected, "inverse of {what}");
    if share < 1.0 {
        for (place, positions) in places.iter().enumerate() {
            let found = &got.positions[got.starts[place] as usize..got.starts[place + 1] as usize];
            let is_listed = |position: &&u32| **position < got.listed;
            assert!(
                found.iter().filter(is_listed).eq(positions.iter().filter(is_listed)),
                "{place} of {what}"
            );
            assert!(found.iter().all(|position| positions.contains(position)), "{place} of {what}");
        }
        return;
    }
    let valid = inverse.len();
    assert!(got.positions[..valid] == places.concat(), "positions of {what}");
    let mut starts = vec![0];
    places.iter().for_each(|positions| starts.push(starts[starts.len() - 1] + positions.len() as u32));
    assert!(got.starts[..starts.len()] == starts, "starts of {what}");
    // What is behind is untouched.
    assert!(got.ids[ids.len()..].iter().all(|&id| id == 7), "ids behind those of {what}");
    assert!(got.positions[valid..].iter().all(|&p| p == 7), "positions behind those of {what}");
    assert!(got.starts[starts.len()..].iter().all(|&s| s == 7), "starts behind those of {what}");
}

fn check_in_order(columns: &[Column], tables: usize) {
    let order: Vec<_> = (0..columns.len()).collect();
    check(columns, tables, 0, &order);
    check(columns, tables, 3, &order);
}

/// Ids of which there are about `distinct`.
fn some_ids(seed: u64, len: usize, distinct: u64) -> Vec<i64> {
    bits(seed, len).map(|bits| (bits % distinct).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64).collect()
}

#[test]
fn forward() {
    // Nothing, nowhere.
    for tables in [1, 2, 4096] {
        check_in_order(&[], tables);
        check_in_order(&[column(0, &[])], tables);
        check_in_order(&[Column { used: Some(0), ..column(0, &[5, 6, 7]) }], tables);
    }
    let special = [0, -1, -2, i64::MIN, i64::MAX, -1, 0, 1 << 16, 1, 1 << 48, 0xffff];
    check_in_order(&[column(0, &special)], 1);
    check_in_order(&[Column { used: Some(9), ..column(0, &special) }], 1);
    check_in_order(&[column(4095, &special), column(0, &special), column(7, &[-1])], 4096);
    // Many equal ids, none, and some.
    for distinct in [1, 90, 1 << 60] {
        check_in_order(&[column(0, &some_ids(1, 5000, distinct))], 1);
        // Columns that share a table, interleaved, with and without offsets, in any order.
        let columns = [
            Column { used: Some(700), ..column(2, &some_ids(2, 1000, distinct)) },
            column(0, &some_ids(3, 333, distinct)),
            column(2, &some_ids(4, 1, distinct)),
            column(5, &[]),
            Column { used: Some(0), ..column(4, &some_ids(5, 50, distinct)) },
            Column { used: Some(2000), ..column(0, &some_ids(6, 2000, distinct)) },
            Column { used: Some(9999), ..column(3, &some_ids(7, 70, distinct)) },
        ]
        .map(|c| Column { used: c.used.map(|used| used.min(c.ids.len())), ..c });
        check_in_order(&columns, 6);
        check(&columns, 9, 1, &[3, 6, 1, 0, 5, 2, 4]);
    }
    // More positions than a grid has threads.
    let many = [column(1, &masked_ids(8, 300_000, 0x3fff)), column(0, &masked_ids(9, 245_000, 0x3ff))];
    check(&many, 2, 0, &[0, 1]);
}

#[test]
fn more_columns_than_one_launch_takes() {
    for count in [63, 64, 65, 130] {
        let columns: Vec<_> = (0..count)
            .map(|i| Column {
                used: (i % 3 == 0).then_some(i % 7),
                ..column(i as u32 * 7 % 11, &some_ids(i as u64, if i % 5 == 4 { 0 } else { 7 }, 20))
            })
            .map(|c| Column { used: c.used.map(|used| used.min(c.ids.len())), ..c })
            .collect();
        check_in_order(&columns, 11);
        let backwards: Vec<_> = (0..count).rev().collect();
        check(&columns, 11, 1, &backwards);
    }
}

/// Ids of which only the bits of a mask vary.
fn masked_ids(seed: u64, len: usize, mask: u64) -> Vec<i64> {
    bits(seed, len).map(|bits| (0x0123_4567_89ab_cdef & !mask | bits & mask) as i64).collect()
}

/// More than one block does at once.
const MANY: usize = 5000;

#[test]
fn whichever_bits_vary() {
    let masks = [0, 1, 1 << 15, 1 << 16, 1 << 63, 0xff, 0x1ff, 0xffff, 0xffff << 48, !0xffff, 0xffff_ffff];
    let more = [0xffff_ffff << 32, 0x1_ffff_ffff, u64::MAX >> 1, u64::MAX, 0x8421_0842_1084_2108];
    for (seed, mask) in masks.into_iter().chain(more).enumerate() {
        for len in [700, MANY] {
            let all = masked_ids(seed as u64, len, mask);
            check_in_order(&[column(0, &all)], 1);
            // Of another table, and positions that hold none.
            let columns = [column(6, &all), Column { used: Some(len / 3), ..column(4, &all[..len / 2]) }];
            check_in_order(&columns, 7);
        }
    }
}

#[test]
fn most_tables_and_longest_keys() {
    // The first and the last table alone, then so many that keys have 64 + 12 bits; some have no ids.
    for len in [40, 130] {
        let ends = [0, 4095].map(|table| column(table, &masked_ids(5, 20 * len, u64::MAX)));
        check_in_order(&ends, 4096);
        let columns: Vec<_> = (0..60)
            .map(|i| Column { used: (i % 4 == 0).then_some(len / 2), ..column(i * 69, &ids(len)) })
            .collect();
        check_in_order(&columns, 4096);
        let more: Vec<_> = (0..80).map(|i| column(4095 - i * 51, &some_ids(1, len, 1 << 60))).collect();
        check_in_order(&more, 4096);
    }
}

#[test]
fn around_tiles_and_blocks() {
    for len in [1, 31, 33, 4095, 4096, 4097, 6143, 6144, 6145, 8191, 8192, 8193] {
        check(&[column(0, &masked_ids(1, len, 0xffff))], 1, 0, &[0]);
        check(&[column(1, &masked_ids(2, len - 1, 0x7f)), column(0, &[5])], 2, 0, &[1, 0]);
    }
}

#[test]
fn the_largest_tiles() {
    let len = 264 * 512 * 8 + 1;
    let columns = [
        Column { used: Some(len / 2), ..column(1, &masked_ids(1, len / 2 + 3, 0xfff)) },
        column(0, &masked_ids(2, len / 2, 0x3f0)),
    ];
    check(&columns, 2, 0, &[0, 1]);
}

#[test]
fn offsets_that_lead_nowhere_are_kept_within_the_ids() {
    for len in [50, MANY] {
        let columns = |used: i32| {
            let some = Column { used: Some(used as usize), ..column(1, &some_ids(1, len, 90)) };
            run(&[some, column(0, &[5, 6, 7])], 2, 1, &[0, 1], 1.0)
        };
        for below in [-1, i32::MIN] {
            assert_eq!(columns(below), columns(0));
        }
        for beyond in [len as i32 + 1, i32::MAX] {
            assert_eq!(columns(beyond), columns(len as i32));
        }
    }
}

#[test]
fn a_second_run_gives_the_same_bits() {
    for len in [3000, 2 * MANY] {
        let columns = [column(1, &some_ids(1, len, 100)), column(0, &some_ids(2, 500, 100))];
        assert_eq!(run(&columns, 2, 1, &[1, 0], 0.4), run(&columns, 2, 1, &[1, 0], 0.4));
    }
}

#[test]
fn bad_columns_and_sizes_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut::<u8>();
    let (ids, offsets) = (Guarded::new(&[1i64, 2]), Guarded::new(&[0, 2]));
    let good =
        recis_ids_column { ids: ids.ptr(), offsets: offsets.ptr(), rows: 1, capacity: 2, first: 1, table: 2 };
    let mut bytes = 0;
    ok(unsafe { recis_partition_ids_workspace_size(3, 3, 3, &mut bytes) });
    let workspace = Guarded::new(&vec![7u8; bytes]);
    let out = (Guarded::new(&[7i64; 3]), [4, 3, 3, 4].map(|len| Guarded::new(&vec![7u32; len])));
    let call = |columns: &[recis_ids_column], tables, total, arrays: [*mut u32; 4], bytes| unsafe {
        let [table_offsets, inverse, positions, starts] = arrays;
        recis_partition_ids_forward(
            columns.as_ptr(),
            columns.len() as i64,
            tables,
            total,
            total.clamp(0, 3),
            out.0.ptr(),
            table_offsets,
            inverse,
            positions,
            starts,
            std::ptr::null_mut(),
            workspace.ptr().cast(),
            bytes,
            STREAM,
        )
    };
    let arrays = [0, 1, 2, 3].map(|i: usize| out.1[i].ptr());
    let refuse = |column, tables, total, what: &str| {
        let status = call(&[good, column], tables, total, arrays, bytes);
        refused(status, &format!("partition_ids.forward: {what}"));
    };
    refuse(recis_ids_column { ids: null.cast(), ..good }, 3, 3, "a column's ids is null");
    refuse(recis_ids_column { capacity: -1, ..good }, 3, 3, "a column's ids has a negative size");
    let misaligned = offsets.misaligned();
    let what = "a column's offsets is not aligned to 16 bytes";
    refuse(recis_ids_column { offsets: misaligned, ..good }, 3, 3, what);
    refuse(recis_ids_column { rows: -1, ..good }, 3, 3, "a column has a negative number of rows");
    refuse(recis_ids_column { first: -1, ..good }, 3, 3, "a column exceeds total");
    refuse(recis_ids_column { first: 2, ..good }, 3, 3, "a column exceeds total");
    refuse(recis_ids_column { first: i64::MAX, ..good }, 3, 3, "a column exceeds total");
    refuse(recis_ids_column { table: 3, ..good }, 3, 3, "a column's table is not below tables");
    refuse(good, 0, 3, "tables is not within 1..=4096");
    refuse(good, 4097, 3, "tables is not within 1..=4096");
    refuse(good, 3, -1, "total is not within 0..2^31");
    refuse(good, 3, 1 << 31, "total is not within 0..2^31");
    for (i, name) in ["table_offsets", "inverse", "positions", "starts"].into_iter().enumerate() {
        let mut arrays = arrays;
        arrays[i] = null.cast();
        refused(call(&[good], 3, 3, arrays, bytes), &format!("partition_ids.forward: {name} is null"));
    }
    let status = call(&[good], 3, 3, arrays, bytes - 1);
    assert_eq!(status, recis_status::RECIS_WORKSPACE_TOO_SMALL.0 as i32);
    assert_eq!(out.0.to_vec(), [7; 3]);
    assert!(out.1.iter().all(|array| array.to_vec().iter().all(|&number| number == 7)));
    refused(
        unsafe { recis_partition_ids_workspace_size(1, 1, 1, std::ptr::null_mut()) },
        "partition_ids.workspace_size: bytes is null",
    );
    for listed in [-1, 2] {
        refused(
            unsafe { recis_partition_ids_workspace_size(1, 1, listed, &mut bytes) },
            "partition_ids.workspace_size: listed is not within 0..=total",
        );
    }
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    check_in_order(&[column(1, &[5, 6, 5])], 2);
    owner::check(&[1, 2], None, 2);
}
