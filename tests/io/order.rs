//! Which rows come when.

use std::path::Path;

use recis::io::{Dataset, OrcDataset, OrcDatasetOptions, Varlen};
use recis::{Batch, Position, Values};
use serde_json::{Value, json};

use crate::reading::plain;
use crate::write::Orc;

/// Writes `0.orc`, `1.orc`, … with stripes of so many rows. Row `r` of file `f` holds the id
/// `10_000 * f + r`, `r % 4` times.
fn write_files(directory: &Path, files: &[&[usize]]) {
    for (file, stripes) in files.iter().enumerate() {
        let rows = stripes.iter().sum::<usize>();
        let ids: Value = (0..rows).map(|row| json!([10_000 * file + row])).collect();
        let many: Value = (0..rows).map(|row| json!(vec![10_000 * file + row; row % 4])).collect();
        let table = Orc::new(&[("id", "list<bigint>", ids), ("many", "list<bigint>", many)]);
        Orc { stripes: stripes.to_vec(), ..table }.write(directory.join(format!("{file}.orc")));
    }
}

fn dataset(directory: &Path, options: OrcDatasetOptions) -> OrcDataset {
    let mut dataset = OrcDataset::new(options).unwrap();
    dataset.add_path(directory).unwrap();
    dataset.fixedlen_feature("id", &[0.0]).unwrap();
    dataset.varlen_feature("many", Varlen::default()).unwrap();
    dataset
}

fn batches(dataset: &OrcDataset, after: Option<&Position>) -> Vec<Batch> {
    dataset.iterate(after).unwrap().map(Result::unwrap).collect()
}

fn values(batch: &Batch, column: &str) -> Vec<i64> {
    match batch.get(column).unwrap().values() {
        Values::I64(ids) => ids.host().to_vec(),
        other => panic!("{}", other.dtype()),
    }
}

/// The ids of all batches; along the way, that the other column and the sources agree with them.
fn ids(batches: &[Batch]) -> Vec<i64> {
    let mut all = Vec::new();
    for batch in batches {
        let ids = values(batch, "id");
        let many: Vec<_> = ids.iter().flat_map(|&id| vec![id; id as usize % 10_000 % 4]).collect();
        assert_eq!(values(batch, "many"), many);
        let in_sources = batch.sources.iter().flat_map(|source| {
            let file: i64 = source.file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            (source.first_row as i64..).take(source.rows).map(move |row| 10_000 * file + row)
        });
        assert_eq!(in_sources.collect::<Vec<_>>(), ids);
        all.extend(ids);
    }
    all
}

/// The order of the specification, from the stripes' rows alone: `width` files are open, one run of
/// at most 1024 rows is taken from each in turn, and the next file takes the place of one that has
/// ended.
fn expected(files: &[&[usize]], worker: usize, workers: usize, width: usize) -> Vec<i64> {
    let runs = |file: usize| {
        let mut row = 10_000 * file as i64;
        let mut runs = Vec::new();
        for &stripe in files[file] {
            let end = row + stripe as i64;
            while row < end {
                runs.push(row..end.min(row + 1024));
                row = runs.last().unwrap().end;
            }
        }
        runs.into_iter()
    };
    let mut unread = (worker..files.len()).step_by(workers).map(runs);
    let mut places: Vec<_> = (0..width).map(|_| None).collect();
    let mut ids = Vec::new();
    loop {
        let before = ids.len();
        for place in &mut places {
            loop {
                if place.is_none() {
                    *place = unread.next();
                }
                let Some(runs) = place else { break };
                match runs.next() {
                    Some(run) => break ids.extend(run),
                    None => *place = None,
                }
            }
        }
        if ids.len() == before {
            return ids;
        }
    }
}

const FILES: [&[usize]; 7] = [&[5, 3], &[2500], &[], &[1, 1, 1], &[1024, 10], &[7], &[0, 4, 0]];

#[test]
fn files_are_read_in_turn_and_shared_by_workers() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &FILES);
    for (worker_num, width, threads) in [(1, 1, 1), (1, 2, 3), (1, 4, 2), (2, 4, 2), (3, 1, 2), (9, 4, 1)] {
        for worker_idx in 0..worker_num {
            for batch_size in [1, 7, 1000, 5000] {
                let options = OrcDatasetOptions {
                    worker_idx,
                    worker_num,
                    read_threads_num: width,
                    pack_threads_num: Some(threads),
                    ..plain(batch_size)
                };
                let batches = batches(&dataset(directory.path(), options), None);
                let case = format!("{worker_idx} of {worker_num}, {width} files, batches of {batch_size}");
                let expected = expected(&FILES, worker_idx, worker_num, width);
                assert_eq!(ids(&batches), expected, "{case}");
                let sizes: Vec<_> = batches.iter().map(|batch| batch.rows).collect();
                assert_eq!(sizes, expected.chunks(batch_size).map(<[_]>::len).collect::<Vec<_>>(), "{case}");
            }
        }
    }
}

#[test]
fn the_remainder_is_dropped_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &[&[5], &[6]]);
    for (batch_size, full) in [(4, 2), (11, 1), (12, 0)] {
        let options = OrcDatasetOptions { drop_remainder: true, ..plain(batch_size) };
        let batches = batches(&dataset(directory.path(), options), None);
        assert_eq!(batches.iter().map(|batch| batch.rows).collect::<Vec<_>>(), vec![batch_size; full]);
    }
}

#[test]
fn a_pass_continues_after_any_row() {
    let directory = tempfile::tempdir().unwrap();
    let files: [&[usize]; 4] = [&[5, 3, 4], &[1030], &[2], &[6, 6]];
    write_files(directory.path(), &files);
    for width in [1, 3] {
        let dataset = |batch_size| {
            let threads = Some(width);
            let options =
                OrcDatasetOptions { read_threads_num: width, pack_threads_num: threads, ..plain(batch_size) };
            dataset(directory.path(), options)
        };
        let all = expected(&files, 0, 1, width);
        let ends: Vec<_> = batches(&dataset(1), None).into_iter().map(|batch| batch.end.unwrap()).collect();
        let (sevens, wholes) = (dataset(7), dataset(5000));
        for (row, end) in ends.iter().enumerate() {
            assert_eq!((end.rows, end.row), (row as u64 + 1, all[row] as u64 % 10_000));
            // Between the borders of files and stripes, some rows stand for all.
            if (100..1000).contains(&row) && row % 50 > 0 {
                continue;
            }
            let rest = batches(&wholes, Some(end));
            assert_eq!(ids(&rest), all[row + 1..], "after {end:?}, {width} files");
            let next = sevens.iterate(Some(end)).unwrap().next().transpose().unwrap();
            let last = next.map(|batch| batch.end.unwrap());
            assert_eq!(last.as_ref(), (row + 1 < all.len()).then(|| &ends[(row + 7).min(all.len() - 1)]));
        }
    }
}

#[test]
fn stripes_before_the_position_are_not_decoded() {
    let directory = tempfile::tempdir().unwrap();
    let ids = json!([[0], [1], [2], [3], [4], [5]]);
    let mut table = Orc { stripes: vec![2, 2, 2], ..Orc::new(&[("id", "list<bigint>", ids)]) };
    // Of the stripes, the first two have lost their data. An id is stored as twice its value.
    table.tamper_streams = |streams| {
        if streams[1].2[2] < 4 * 2 {
            streams[1].2.clear();
        }
    };
    table.write(directory.path().join("0.orc"));
    let mut dataset = OrcDataset::new(plain(10)).unwrap();
    dataset.add_path(directory.path()).unwrap();
    dataset.fixedlen_feature("id", &[0.0]).unwrap();
    assert!(dataset.iterate(None).unwrap().next().unwrap().is_err());
    let after = Position { rows: 4, file: "0.orc".into(), row: 3 };
    assert_eq!(values(&batches(&dataset, Some(&after))[0], "id"), [4, 5]);
}

#[test]
fn a_position_that_does_not_fit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &[&[5], &[6]]);
    let refusal = |rows, file: &str, row| {
        let after = Position { rows, file: file.into(), row };
        let refused = dataset(directory.path(), plain(4)).iterate(Some(&after)).map(|_| ()).unwrap_err();
        refused.to_string()
    };
    let text = |at: &str, but: &str| {
        format!(
            "resuming the data: {at} when the position was stored, but {but}; have the files, worker_num or \
             read_threads_num changed?"
        )
    };
    assert_eq!(
        refusal(7, "0.orc", 1),
        text("row 7 of the stream was row 1 of 0.orc", "that row is now row 1 of 1.orc")
    );
    assert_eq!(
        refusal(7, "1.orc", 2),
        text("row 7 of the stream was row 2 of 1.orc", "that row is now row 1 of 1.orc")
    );
    assert_eq!(
        refusal(12, "1.orc", 6),
        text("row 12 of the stream was row 6 of 1.orc", "the data has only 11 rows")
    );
}

#[test]
fn shuffling_moves_files_and_is_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let files: [&[usize]; 8] = [&[2]; 8];
    write_files(directory.path(), &files);
    let pass = || {
        let options = OrcDatasetOptions { shuffle: true, ..plain(100) };
        ids(&batches(&dataset(directory.path(), options), None))
    };
    let (mut first, second) = (pass(), pass());
    assert_eq!(first, second);
    assert!(!first.is_sorted());
    first.sort();
    assert_eq!(first, expected(&files, 0, 1, 1));
}
