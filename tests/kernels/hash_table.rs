use std::collections::{HashMap, HashSet};
use std::ptr::{null, null_mut};

use recis::ffi::simt::*;
use recis::ffi::{RECIS_NO_ROW as NO_ROW, recis_hash_table};

use crate::common::*;

type Key = (u32, i64);

/// What entries that a call must leave alone begin as.
const UNTOUCHED: u32 = 0xdead_beef;

/// Keys grouped by table, as calls take them, with more room than there are keys. What lies behind
/// them are ids that must not be looked at.
struct Batch {
    keys: Vec<Key>,
    ids: Guarded<i64>,
    table_offsets: Guarded<u32>,
    tables: i64,
    capacity: i64,
}

impl Batch {
    fn new(mut keys: Vec<Key>, tables: u32, room: usize) -> Self {
        keys.sort_by_key(|key| key.0);
        let end = |table| keys.iter().filter(|key| key.0 < table).count() as u32;
        let table_offsets: Vec<u32> = (0..=tables).map(end).collect();
        let mut ids: Vec<i64> = keys.iter().map(|key| key.1).collect();
        ids.extend((0..room as i64).map(|i| i * 77));
        let (capacity, ids) = (ids.len() as i64, Guarded::new(&ids));
        Self { keys, ids, table_offsets: Guarded::new(&table_offsets), tables: tables.into(), capacity }
    }

    fn output(&self) -> Guarded<u32> {
        Guarded::new(&vec![UNTOUCHED; self.capacity as usize])
    }
}

/// A table and what must be in it.
struct Table {
    handle: *mut recis_hash_table,
    rows: HashMap<Key, u32>,
    tables: u32,
    peak: usize,
    failed: usize,
}

impl Table {
    fn new(ids: i64, tables: u32) -> Self {
        let mut handle = null_mut();
        ok(unsafe { recis_hash_table_create(ids, &mut handle, STREAM) });
        let table = Self { handle, rows: HashMap::new(), tables, peak: 0, failed: 0 };
        assert!(table.capacity() as i64 >= ids);
        table
    }

    fn batch(&self, keys: Vec<Key>, room: usize) -> Batch {
        Batch::new(keys, self.tables, room)
    }

    fn capacity(&self) -> usize {
        unsafe { recis_hash_table_capacity(self.handle) as usize }
    }

    /// Size, used, row bound, failed.
    fn counters(&self) -> [usize; 4] {
        let counters = Guarded::new(&[-1i64; 4]);
        ok(unsafe { recis_hash_table_counters(self.handle, counters.ptr(), STREAM) });
        counters.to_vec().iter().map(|&count| count as usize).collect::<Vec<_>>().try_into().unwrap()
    }

    fn check_counters(&self) {
        let [size, used, row_bound, failed] = self.counters();
        assert_eq!(size, self.rows.len());
        assert!(used >= size && used <= self.capacity() * 3 / 2 + 1, "{used} used for {size}");
        // Rows of erased ids are given out before new ones.
        assert_eq!(row_bound, self.peak);
        assert_eq!(failed, self.failed);
    }

    fn find(&self, batch: &Batch) -> Vec<u32> {
        let rows = batch.output();
        let (ids, offsets) = (batch.ids.ptr(), batch.table_offsets.ptr());
        ok(unsafe {
            recis_hash_table_find(self.handle, ids, offsets, batch.tables, batch.capacity, rows.ptr(), STREAM)
        });
        rows.to_vec()
    }

    fn check_find(&self, keys: Vec<Key>, room: usize) {
        let batch = self.batch(keys, room);
        let mut expected: Vec<u32> =
            batch.keys.iter().map(|key| self.rows.get(key).copied().unwrap_or(NO_ROW)).collect();
        expected.resize(batch.capacity as usize, NO_ROW);
        assert_eq!(self.find(&batch), expected);
    }

    /// Inserts keys, checks what comes out, and returns how many places found no room.
    fn insert(&mut self, keys: Vec<Key>, room: usize) -> usize {
        let batch = self.batch(keys, room);
        let (rows, new_ids, new_count) = (batch.output(), batch.output(), Guarded::new(&[UNTOUCHED]));
        let (ids, offsets, capacity) = (batch.ids.ptr(), batch.table_offsets.ptr(), batch.capacity);
        let (r, n, c, counters) = (rows.ptr(), new_ids.ptr(), new_count.ptr(), Guarded::new(&[0i64; 4]));
        ok(unsafe {
            recis_hash_table_find_or_insert(
                self.handle,
                ids,
                offsets,
                batch.tables,
                capacity,
                r,
                n,
                c,
                counters.ptr(),
                STREAM,
            )
        });
        assert_eq!(counters.to_vec(), self.counters().map(|count| count as i64));
        let (rows, new_ids, new_count) = (rows.to_vec(), new_ids.to_vec(), new_count.to_vec()[0] as usize);
        let (new_ids, behind) = new_ids.split_at(new_count);
        assert!(behind.iter().all(|&place| place == UNTOUCHED));
        let taken: HashSet<u32> = self.rows.values().copied().collect();
        for &place in new_ids {
            let (key, row) = (batch.keys[place as usize], rows[place as usize]);
            assert!(row != NO_ROW && !taken.contains(&row), "{key:?} got row {row}");
            assert_eq!(self.rows.insert(key, row), None, "{key:?} was there, or is new twice");
        }
        let differ: HashSet<u32> = self.rows.values().copied().collect();
        assert_eq!(differ.len(), self.rows.len(), "two ids have one row");
        self.peak = self.peak.max(self.rows.len());
        let mut failed = 0;
        for (key, &row) in batch.keys.iter().zip(&rows) {
            assert_eq!(row, self.rows.get(key).copied().unwrap_or(NO_ROW), "{key:?}");
            failed += usize::from(row == NO_ROW);
        }
        assert!(rows[batch.keys.len()..].iter().all(|&row| row == NO_ROW));
        self.failed += failed;
        failed
    }

    fn erase(&mut self, keys: Vec<Key>, room: usize) {
        let batch = self.batch(keys, room);
        let (ids, offsets) = (batch.ids.ptr(), batch.table_offsets.ptr());
        ok(unsafe {
            recis_hash_table_erase(self.handle, ids, offsets, batch.tables, batch.capacity, STREAM)
        });
        for key in &batch.keys {
            self.rows.remove(key);
        }
    }

    fn reserve(&self, ids: usize) {
        let before = self.capacity();
        ok(unsafe { recis_hash_table_reserve(self.handle, ids as i64, STREAM) });
        assert!(self.capacity() >= ids.max(before));
        let [size, used, ..] = self.counters();
        assert_eq!(used, size, "erased slots after reserve");
    }

    fn check_size(&self) {
        let counts = Guarded::new(&vec![-1i64; self.tables as usize]);
        ok(unsafe { recis_hash_table_size(self.handle, self.tables.into(), counts.ptr(), STREAM) });
        let mut expected = vec![0; self.tables as usize];
        self.rows.keys().for_each(|key| expected[key.0 as usize] += 1);
        assert_eq!(counts.to_vec(), expected);
    }

    /// Exports a table into less room, as much, or more than there are ids.
    fn check_export(&self, table: u32, capacity: usize) {
        let ids = Guarded::new(&vec![0x5555i64; capacity]);
        let rows = Guarded::new(&vec![UNTOUCHED; capacity]);
        let count = Guarded::new(&[-1i64]);
        let (i, r, c) = (ids.ptr(), rows.ptr(), count.ptr());
        ok(unsafe { recis_hash_table_export(self.handle, table, capacity as i64, i, r, c, STREAM) });
        let expected = self.rows.keys().filter(|key| key.0 == table).count();
        assert_eq!(count.to_vec(), [expected as i64]);
        let written = expected.min(capacity);
        let (ids, rows) = (ids.to_vec(), rows.to_vec());
        let seen: HashSet<i64> = ids[..written].iter().copied().collect();
        assert_eq!(seen.len(), written, "an id came twice");
        for (&id, row) in ids.iter().zip(&rows[..written]) {
            assert_eq!(self.rows.get(&(table, id)), Some(row), "{id}");
        }
        assert!(ids[written..].iter().all(|&id| id == 0x5555));
        assert!(rows[written..].iter().all(|&row| row == UNTOUCHED));
    }

    fn check_all(&self) {
        self.check_find(self.rows.keys().copied().collect(), 3);
        self.check_counters();
        self.check_size();
        for table in 0..self.tables {
            self.check_export(table, self.rows.len() + 1);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        ok(unsafe { recis_hash_table_destroy(self.handle) });
    }
}

/// Ids that hash badly where a hash is weak, the i-th of each kind.
const KINDS: [fn(u64) -> i64; 7] = [
    |i| i as i64,
    |i| (i << 52) as i64,
    |i| ((i << 32) | 0x1234_5678) as i64,
    |i| (0x7fff_0000_0000_0000 | i) as i64,
    |i| (i as i64 - 250) * 1024,
    |i| [0, -1, -2, i64::MIN, i64::MAX][i as usize % 5].wrapping_add((i / 5) as i64 - 20),
    |i| bits(i, 1).next().unwrap() as i64,
];

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 += 1;
        (bits(self.0, 1).next().unwrap() % bound as u64) as usize
    }
}

/// `operations` random operations of every kind, on a table that begins small and must grow.
fn random_operations(kind: fn(u64) -> i64, seed: u64, operations: usize) {
    let tables = 3;
    let mut dice = Dice(seed << 32);
    let mut table = Table::new(5, tables);
    for _ in 0..operations {
        let len = [0, 1, 2, 31, 32, 33, 100, 256, 300][dice.below(9)];
        let room = [0, 1, 40, 600][dice.below(4)];
        // Few enough that they come again, more than once in a batch too.
        let mut key = |_| (dice.below(tables as usize) as u32, kind(dice.below(500) as u64));
        let keys: Vec<Key> = (0..len).map(&mut key).collect();
        match dice.below(10) {
            0..4 => {
                table.reserve(table.rows.len() + len);
                assert_eq!(table.insert(keys, room), 0);
            }
            4..6 => table.check_find(keys, room),
            6..8 => table.erase(keys, room),
            8 => table.check_export(dice.below(4) as u32, dice.below(600)),
            _ => table.check_size(),
        }
        table.check_counters();
    }
    table.check_all();
}

#[test]
fn random_operations_agree_with_a_map() {
    for (seed, kind) in KINDS.into_iter().enumerate() {
        random_operations(kind, seed as u64, 500);
    }
}

#[test]
fn hostile_ids_spread() {
    // A hash that lets them pile up would take minutes.
    for kind in KINDS {
        let mut table = Table::new(20_000, 2);
        let ids: HashSet<i64> = (0..10_000).map(kind).collect();
        table.insert(ids.iter().flat_map(|&id| [(0, id), (1, id)]).collect(), 0);
        table.check_find(ids.iter().flat_map(|&id| [(0, id), (1, id), (1, !id)]).collect(), 0);
    }
}

#[test]
fn equal_ids_of_different_tables_are_different_keys() {
    let mut table = Table::new(4096 * 3, 4096);
    let keys: Vec<Key> = (0..4096).flat_map(|table| [0, -1, 7].map(|id| (table, id))).collect();
    assert_eq!(table.insert(keys.clone(), 5), 0);
    assert_eq!(table.rows.len(), keys.len());
    table.check_find(keys.iter().map(|&(table, id)| (table, id ^ 1)).collect(), 0);
    table.check_size();
    table.erase(keys.iter().copied().filter(|key| key.0 % 2 == 0).collect(), 0);
    table.check_size();
    table.check_export(4095, 3);
    table.check_export(4094, 3);
}

#[test]
fn the_same_id_all_over_a_batch_gets_one_row() {
    // Blocks on several threads race for it.
    let mut table = Table::new(10, 1);
    assert_eq!(table.insert(vec![(0, -1); 50_000], 0), 0);
    table.check_counters();
    // Few ids, many times each, in all orders.
    let mut table = Table::new(100, 1);
    let mut dice = Dice(1);
    table.insert((0..50_000).map(|_| (0, dice.below(100) as i64)).collect(), 0);
    table.check_all();
    // All racing to erase them.
    table.erase((0..50_000).map(|_| (0, dice.below(100) as i64)).collect(), 0);
    assert!(table.rows.is_empty());
    table.check_all();
}

#[test]
fn more_ids_than_a_grid_has_threads() {
    let mut table = Table::new(1, 1);
    let ids = 132 * 8 * 256 + 77;
    // The last ones are many times the first ones.
    let keys: Vec<Key> = (0..ids).map(|i| (0, if i < 3000 { i } else { i % 1000 })).collect();
    table.reserve(3000);
    assert_eq!(table.insert(keys, 0), 0);
    assert_eq!(table.rows.len(), 3000);
}

#[test]
fn erased_rows_are_given_out_again() {
    let mut table = Table::new(300, 1);
    for round in 0..60 {
        let keys: Vec<Key> = (0..200).map(|i| (0, round * 200 + i)).collect();
        table.reserve(200);
        assert_eq!(table.insert(keys.clone(), 0), 0);
        table.check_counters();
        // In halves, and what has been erased once more.
        table.erase(keys[..100].to_vec(), 0);
        table.erase(keys.iter().chain(&keys).copied().collect(), 7);
        table.check_counters();
        table.check_find(keys, 0);
    }
    assert_eq!(table.counters()[2], 200);
}

#[test]
fn a_table_fills_to_its_capacity_and_then_says_so() {
    for ids in [0, 1, 2, 3, 10, 341, 1000] {
        let mut table = Table::new(ids, 2);
        let capacity = table.capacity();
        let keys: Vec<Key> = (0..capacity as i64).map(|i| (i as u32 % 2, i << 40)).collect();
        assert_eq!(table.insert(keys.clone(), 0), 0);
        table.check_all();
        // No row is left: what is there stays, what is new fails, wherever it stands.
        let more: Vec<Key> = (0..100).map(|i| (0, -1 - i % 50)).chain(keys.clone()).collect();
        assert_eq!(table.insert(more.clone(), 9), 100);
        table.check_all();
        // Room for some, as rows become free.
        table.erase(keys[..capacity.min(7)].to_vec(), 0);
        table.reserve(capacity);
        table.insert(more.clone(), 0);
        assert_eq!(table.rows.len(), capacity);
        table.check_all();
        table.reserve(capacity + 100);
        assert_eq!(table.insert(more, 0), 0);
        table.check_all();
    }
}

#[test]
fn a_table_fills_to_its_last_slot() {
    let mut table = Table::new(80, 1);
    let (capacity, mut next) = (table.capacity() as i64, 0);
    // Erased slots are in the way of new ids until reserve: ever fewer of them find a place.
    while table.failed < 200 {
        table.erase(table.rows.keys().copied().take(40).collect(), 0);
        let new = capacity - table.rows.len() as i64;
        table.insert((next..next + new).map(|id| (0, id)).collect(), 0);
        next += new;
        table.check_counters();
        table.check_find((0..next).map(|id| (0, id)).collect(), 0);
        assert!(next < 10_000, "never full: {:?}", table.counters());
    }
    let [_, used, ..] = table.counters();
    assert_eq!(used, (capacity * 3 / 2 + 1) as usize);
    table.check_all();
    table.reserve(capacity as usize);
    assert_eq!(table.capacity() as i64, capacity);
    let new = capacity - table.rows.len() as i64;
    assert_eq!(table.insert((next..next + new).map(|id| (0, id)).collect(), 0), 0);
    table.check_all();
}

#[test]
fn reserve_keeps_ids_and_free_rows() {
    let mut table = Table::new(100, 1);
    table.insert((0..100).map(|i| (0, i)).collect(), 0);
    table.reserve(0);
    table.reserve(table.capacity());
    table.check_all();
    table.reserve(table.capacity() + 1);
    table.check_all();
    table.erase((0..50).map(|i| (0, i)).collect(), 0);
    table.reserve(3);
    table.check_all();
    (1..8).for_each(|i| {
        table.reserve(3000 << i);
        table.check_counters();
    });
    // The rows of erased ids have moved along.
    assert_eq!(table.insert((1000..1050).map(|i| (0, i)).collect(), 0), 0);
    assert_eq!(table.counters()[2], 100);
    table.check_all();
}

#[test]
fn offsets_out_of_bounds_stay_in_bounds() {
    let mut table = Table::new(100, 3);
    let mut batch = table.batch((0..40).map(|i| (0, i)).collect(), 0);
    for offsets in [[0, 9, 20, 1000], [u32::MAX; 4], [30, 20, 10, 0]] {
        batch.table_offsets = Guarded::new(&offsets);
        let (rows, new_ids, count) = (batch.output(), batch.output(), Guarded::new(&[0]));
        let (ids, o, r) = (batch.ids.ptr(), batch.table_offsets.ptr(), rows.ptr());
        ok(unsafe {
            recis_hash_table_find_or_insert(
                table.handle,
                ids,
                o,
                3,
                40,
                r,
                new_ids.ptr(),
                count.ptr(),
                null_mut(),
                STREAM,
            )
        });
        ok(unsafe { recis_hash_table_find(table.handle, ids, o, 3, 40, r, STREAM) });
        ok(unsafe { recis_hash_table_erase(table.handle, ids, o, 3, 40, STREAM) });
    }
    table.peak = table.counters()[2];
    assert_eq!(table.counters()[0], 0);
    table.check_all();
    table.insert((0..100).map(|i| (2, i)).collect(), 0);
    table.check_all();
}

#[test]
fn bad_arguments_are_refused_and_touch_nothing() {
    let mut handle = null_mut();
    let create = |ids, what: &str| {
        let mut handle = null_mut();
        let status = unsafe { recis_hash_table_create(ids, &mut handle, STREAM) };
        refused(status, &format!("hash_table.create: {what}"));
        assert!(handle.is_null());
    };
    create(-1, "ids is negative");
    create(u32::MAX.into(), "ids is not below 2^32 - 1");
    refused(unsafe { recis_hash_table_create(1, null_mut(), STREAM) }, "hash_table.create: table is null");
    ok(unsafe { recis_hash_table_destroy(null_mut()) });
    assert_eq!(unsafe { recis_hash_table_capacity(null()) }, 0);

    ok(unsafe { recis_hash_table_create(10, &mut handle, STREAM) });
    let capacity = unsafe { recis_hash_table_capacity(handle) };
    let reserve = |table, ids, what: &str| {
        refused(
            unsafe { recis_hash_table_reserve(table, ids, STREAM) },
            &format!("hash_table.reserve: {what}"),
        );
    };
    reserve(null_mut(), 1, "table is null");
    reserve(handle, -1, "ids is negative");
    reserve(handle, i64::MAX, "ids is not below 2^32 - 1");
    assert_eq!(unsafe { recis_hash_table_capacity(handle) }, capacity);

    let numbers = Guarded::new(&[7i64; 4]);
    let counters = |table, counters, what: &str| {
        let status = unsafe { recis_hash_table_counters(table, counters, STREAM) };
        refused(status, &format!("hash_table.counters: {what}"));
    };
    counters(null(), numbers.ptr(), "table is null");
    counters(handle, null_mut(), "counters is null");
    counters(handle, numbers.misaligned(), "counters is not aligned to 16 bytes");

    let (ids, offsets) = (Guarded::new(&[1i64, 2]), Guarded::new(&[0u32, 2]));
    let (rows, new_ids, count) = (Guarded::new(&[7u32; 2]), Guarded::new(&[7u32; 2]), Guarded::new(&[7u32]));
    let (i, o, r, n, c) = (ids.ptr(), offsets.ptr(), rows.ptr(), new_ids.ptr(), count.ptr());
    let find = |table, ids, offsets, tables, capacity, rows, what: &str| {
        let status = unsafe { recis_hash_table_find(table, ids, offsets, tables, capacity, rows, STREAM) };
        refused(status, &format!("hash_table.find: {what}"));
    };
    let insert = |table, ids, offsets, tables, capacity, rows, new_ids, count, counters, what: &str| {
        let status = unsafe {
            recis_hash_table_find_or_insert(
                table, ids, offsets, tables, capacity, rows, new_ids, count, counters, STREAM,
            )
        };
        refused(status, &format!("hash_table.find_or_insert: {what}"));
    };
    let erase = |table, ids, offsets, tables, capacity, what: &str| {
        let status = unsafe { recis_hash_table_erase(table, ids, offsets, tables, capacity, STREAM) };
        refused(status, &format!("hash_table.erase: {what}"));
    };
    type Arguments = (*mut recis_hash_table, *mut i64, *mut u32, i64, i64);
    let batches: [(Arguments, &str); 9] = [
        ((null_mut(), i, o, 1, 2), "table is null"),
        ((handle, null_mut(), o, 1, 2), "ids is null"),
        ((handle, ids.misaligned(), o, 1, 2), "ids is not aligned to 16 bytes"),
        ((handle, i, o, 1, -1), "ids has a negative size"),
        ((handle, i, o, 1, 1 << 32), "capacity is not below 2^32"),
        ((handle, i, o, 0, 2), "tables is not between 1 and 4096"),
        ((handle, i, o, 4097, 2), "tables is not between 1 and 4096"),
        ((handle, i, null_mut(), 1, 2), "table_offsets is null"),
        ((handle, i, offsets.misaligned(), 1, 2), "table_offsets is not aligned to 16 bytes"),
    ];
    for ((table, ids, offsets, tables, capacity), what) in batches {
        find(table, ids, offsets, tables, capacity, r, what);
        insert(table, ids, offsets, tables, capacity, r, n, c, null_mut(), what);
        erase(table, ids, offsets, tables, capacity, what);
    }
    find(handle, i, o, 1, 2, null_mut(), "rows is null");
    find(handle, i, o, 1, 2, rows.misaligned(), "rows is not aligned to 16 bytes");
    insert(handle, i, o, 1, 2, null_mut(), n, c, null_mut(), "rows is null");
    insert(handle, i, o, 1, 2, rows.misaligned(), n, c, null_mut(), "rows is not aligned to 16 bytes");
    insert(handle, i, o, 1, 2, r, null_mut(), c, null_mut(), "new_ids is null");
    insert(handle, i, o, 1, 2, r, new_ids.misaligned(), c, null_mut(), "new_ids is not aligned to 16 bytes");
    insert(handle, i, o, 1, 2, r, n, null_mut(), null_mut(), "new_count is null");
    insert(handle, i, o, 1, 2, r, n, count.misaligned(), null_mut(), "new_count is not aligned to 16 bytes");
    insert(handle, i, o, 1, 2, r, n, c, numbers.misaligned(), "counters is not aligned to 16 bytes");

    let size = |table, tables, counts, what: &str| {
        let status = unsafe { recis_hash_table_size(table, tables, counts, STREAM) };
        refused(status, &format!("hash_table.size: {what}"));
    };
    size(null(), 1, numbers.ptr(), "table is null");
    size(handle, 0, numbers.ptr(), "tables is not between 1 and 4096");
    size(handle, 4097, numbers.ptr(), "tables is not between 1 and 4096");
    size(handle, 4, null_mut(), "counts is null");
    size(handle, 4, numbers.misaligned(), "counts is not aligned to 16 bytes");

    let export = |table, logical, capacity, ids, rows, count, what: &str| {
        let status = unsafe { recis_hash_table_export(table, logical, capacity, ids, rows, count, STREAM) };
        refused(status, &format!("hash_table.export: {what}"));
    };
    let one = numbers.ptr();
    export(null(), 0, 2, i, r, one, "table is null");
    export(handle, 4096, 2, i, r, one, "logical_table is not below 4096");
    export(handle, 0, -1, i, r, one, "ids has a negative size");
    export(handle, 0, 2, null_mut(), r, one, "ids is null");
    export(handle, 0, 2, ids.misaligned(), r, one, "ids is not aligned to 16 bytes");
    export(handle, 0, 2, i, null_mut(), one, "rows is null");
    export(handle, 0, 2, i, rows.misaligned(), one, "rows is not aligned to 16 bytes");
    export(handle, 0, 2, i, r, null_mut(), "count is null");
    export(handle, 0, 2, i, r, numbers.misaligned(), "count is not aligned to 16 bytes");

    assert_eq!((ids.to_vec(), numbers.to_vec()), (vec![1, 2], vec![7; 4]));
    assert_eq!((rows.to_vec(), new_ids.to_vec(), count.to_vec()), (vec![7; 2], vec![7; 2], vec![7]));
    ok(unsafe { recis_hash_table_counters(handle, numbers.ptr(), STREAM) });
    assert_eq!(numbers.to_vec(), [0; 4]);
    ok(unsafe { recis_hash_table_destroy(handle) });
}

/// Executes every launcher of the operation.
pub fn launch_all() {
    random_operations(KINDS[6], 99, 50);
}
