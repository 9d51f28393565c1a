//! Options, paths, functions and the threads behind an iterator.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use recis::io::{Dataset, HashType, OrcDataset, OrcDatasetOptions, Varlen};
use recis::{Batch, Error, Result, Tensor, Values};
use serde_json::json;

use crate::reading::{BYTES, batches, data, plain};
use crate::write::Orc;

fn refusal<T>(result: Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn options_that_cannot_be_are_refused() {
    let with = |change: fn(&mut OrcDatasetOptions)| {
        let mut options = plain(1);
        change(&mut options);
        refusal(OrcDataset::new(options))
    };
    assert_eq!(with(|o| o.batch_size = 0), "batch_size: has to be given, and at least 1");
    assert_eq!(with(|o| o.worker_num = 0), "worker_num: 0 workers; at least 1");
    assert_eq!(with(|o| o.worker_idx = 1), "worker_idx: 1 of 1 workers; they are counted from 0");
    assert_eq!(with(|o| o.read_threads_num = 0), "read_threads_num: 0 files at a time; at least 1");
    assert_eq!(
        with(|o| o.pack_threads_num = Some(0)),
        "pack_threads_num: 0 threads; at least 1, or None for one per CPU"
    );

    let mut dataset = OrcDataset::new(plain(1)).unwrap();
    assert_eq!(refusal(dataset.iterate(None)), "OrcDataset: no files; call add_path");
    dataset.add_path(data("zlib.orc")).unwrap();
    assert_eq!(
        refusal(dataset.iterate(None)),
        "OrcDataset: no columns; call fixedlen_feature or varlen_feature"
    );
    assert_eq!(
        refusal(dataset.fixedlen_feature("a", &[])),
        "fixedlen_feature 'a': its default has to have a value at least"
    );
    dataset.fixedlen_feature("a", &[0.0]).unwrap();
    assert_eq!(refusal(dataset.varlen_feature("a", BYTES)), "column 'a': selected twice");
    assert_eq!(
        refusal(dataset.varlen_feature("b", Varlen { hash_bucket: 7, ..BYTES })),
        "varlen_feature 'b': a hash_bucket without a hash_type"
    );
    assert_eq!(
        refusal(dataset.varlen_feature("b", Varlen { hash_type: Some(HashType::Farm), ..BYTES })),
        "varlen_feature 'b': hash_type makes ids of strings, trans_int8 keeps their bytes: give one of them"
    );
}

/// A dataset of the ids in `paths`.
fn ids(paths: &[&Path], options: OrcDatasetOptions) -> OrcDataset {
    let mut dataset = OrcDataset::new(options).unwrap();
    dataset.add_paths(paths).unwrap();
    dataset.varlen_feature("id", Varlen::default()).unwrap();
    dataset
}

fn values(batches: &[Batch]) -> Vec<i64> {
    let ids = batches.iter().flat_map(|batch| match batch.get("id").unwrap().values() {
        Values::I64(ids) => ids.host().to_vec(),
        other => panic!("{}", other.dtype()),
    });
    ids.collect()
}

fn write_ids(path: &Path, ids: impl IntoIterator<Item = i64>) {
    Orc::new(&[("id", "list<bigint>", ids.into_iter().map(|id| json!([id])).collect())]).write(path);
}

#[test]
fn paths_are_files_directories_and_lists() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    std::fs::create_dir_all(path("d/b")).unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    for (id, name) in [(1, "d/a.orc"), (2, "d/b/z.orc"), (3, "d/c.orc"), (4, "one.orc"), (5, "no_suffix")] {
        write_ids(&path(name), [id]);
    }
    std::fs::write(path("d/notes.txt"), "not data").unwrap();

    let read = |paths: &[&Path]| values(&batches(&ids(paths, plain(1))).unwrap());
    assert_eq!(read(&[&path("d")]), [1, 2, 3]);
    assert_eq!(read(&[&path("one.orc"), &path("d/b")]), [4, 2]);
    assert_eq!(read(&[&path("no_suffix")]), [5]);
    let list = format!("{}, {}", path("one.orc").display(), path("d").display());
    assert_eq!(read(&[Path::new(&list)]), [4, 1, 2, 3]);

    let mut dataset = OrcDataset::new(plain(1)).unwrap();
    assert_eq!(
        refusal(dataset.add_path(path("empty"))),
        format!("{}: no file that ends in .orc below this directory", path("empty").display())
    );
    let missing = dataset.add_path(path("missing")).map(|_| ());
    assert!(matches!(missing, Err(Error::Io { path, .. }) if path.ends_with("missing")));
}

#[test]
fn functions_are_applied_in_order() {
    let root = tempfile::tempdir().unwrap();
    write_ids(&root.path().join("0.orc"), 0..10);
    let mark = |name: &'static str| {
        move |batch: Batch| {
            // A batch built anew, as a user may do, still says where it ends.
            let mut marked = Batch::new(batch.rows);
            batch.columns().for_each(|(name, column)| marked.insert(name, column.clone()));
            let marks = batch.names().count() as i64;
            marked.insert(
                name,
                Tensor::Dense(recis::DenseTensor {
                    values: Values::I64(vec![marks; batch.rows].into()),
                    rows: batch.rows,
                    width: 1,
                }),
            );
            Ok(marked)
        }
    };
    let transform_fn: Vec<Box<dyn Fn(Batch) -> Result<Batch> + Send + Sync>> =
        vec![Box::new(mark("third")), Box::new(mark("fourth"))];
    let mut dataset = ids(&[root.path()], OrcDatasetOptions { transform_fn, ..plain(4) });
    dataset.map(mark("first")).map(mark("second"));
    let all = batches(&dataset).unwrap();
    assert_eq!(all[0].names().collect::<Vec<_>>(), ["id", "first", "second", "third", "fourth"]);
    assert_eq!(all.iter().map(|batch| batch.end.as_ref().unwrap().rows).collect::<Vec<_>>(), [4, 8, 10]);

    let mut dataset = ids(&[root.path()], plain(4));
    dataset.map(|_| Err(Error::Model("no".into())));
    let results: Vec<_> = dataset.iterate(None).unwrap().map(refusal).collect();
    assert_eq!(results, ["model: no"], "an error comes once, and nothing after it");
}

#[test]
fn an_error_comes_after_the_batches_before_it() {
    let root = tempfile::tempdir().unwrap();
    for file in 0..3 {
        write_ids(&root.path().join(format!("{file}.orc")), 0..10);
    }
    let damaged = root.path().join("1.orc");
    std::fs::write(&damaged, "ORC, or is it?").unwrap();
    for prefetch in [0, 1, 3] {
        let options =
            OrcDatasetOptions { prefetch, pack_threads_num: Some(2), drop_remainder: true, ..plain(5) };
        let mut iterator = ids(&[root.path()], options).iterate(None).unwrap();
        assert_eq!(iterator.next().unwrap().unwrap().rows, 5);
        assert_eq!(iterator.next().unwrap().unwrap().rows, 5);
        let error = refusal(iterator.next().unwrap());
        let expected =
            "damaged ORC file: it does not end as an ORC file does; has it been written completely?";
        assert_eq!(error, format!("{}: {expected}", damaged.display()));
        assert!(iterator.next().is_none() && iterator.next().is_none());
    }
}

#[test]
fn batches_are_kept_ready_and_threads_end_with_the_iterator() {
    let root = tempfile::tempdir().unwrap();
    write_ids(&root.path().join("0.orc"), 0..3000);
    for prefetch in [0, 1, 3] {
        let made = Arc::new(AtomicUsize::new(0));
        let options = OrcDatasetOptions { prefetch, pack_threads_num: Some(3), ..plain(10) };
        let mut dataset = ids(&[root.path()], options);
        let counter = made.clone();
        dataset.map(move |batch| {
            counter.fetch_add(1, SeqCst);
            Ok(batch)
        });
        let mut iterator = dataset.iterate(None).unwrap();
        iterator.next().unwrap().unwrap();
        // Taken: 1. Ready: `prefetch`, of which one is in the hands of the thread.
        let deadline = Instant::now() + Duration::from_secs(10);
        while made.load(SeqCst) < 1 + prefetch && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(made.load(SeqCst), 1 + prefetch);

        drop(dataset);
        assert_eq!(Arc::strong_count(&made), 2, "the iterator holds the function");
        let begin = Instant::now();
        drop(iterator);
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert_eq!(Arc::strong_count(&made), 1, "no thread is left that holds it");
    }
}

#[test]
fn a_panic_in_a_function_reaches_the_caller() {
    let root = tempfile::tempdir().unwrap();
    write_ids(&root.path().join("0.orc"), 0..10);
    for prefetch in [0, 1] {
        let mut dataset = ids(&[root.path()], OrcDatasetOptions { prefetch, ..plain(4) });
        dataset.map(|_| panic!("a user's panic"));
        let mut iterator = dataset.iterate(None).unwrap();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| iterator.next().is_some()));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"a user's panic"));
    }
}

/// A thread that is busy when the iterator goes must not wait for work that nobody will do.
#[test]
fn dropping_an_iterator_at_any_moment_ends() {
    let root = tempfile::tempdir().unwrap();
    for file in 0..20 {
        write_ids(&root.path().join(format!("{file}.orc")), file * 3..file * 3 + 3);
    }
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for round in 0..300 {
            let mut dataset = ids(&[root.path()], OrcDatasetOptions { prefetch: 2, ..plain(2) });
            dataset.map(move |batch| {
                std::thread::sleep(Duration::from_micros(round % 7 * 50));
                Ok(batch)
            });
            let iterator = dataset.iterate(None).unwrap();
            std::thread::sleep(Duration::from_micros(round % 11 * 100));
            drop(iterator);
        }
        _ = done.send(());
    });
    finished.recv_timeout(Duration::from_secs(60)).expect("an iterator could not be dropped");
}

#[test]
fn files_that_differ_in_a_column_are_refused() {
    for (other, rows, reads) in [
        ("list<bigint>", json!([[1], [2]]), "list<bigint>"),
        ("list<list<double>>", json!([[[1.0]], [[2.0]]]), "list<list<double>>"),
    ] {
        let root = tempfile::tempdir().unwrap();
        Orc::new(&[("c", "list<double>", json!([[1.0], [2.0], [3.0]]))]).write(root.path().join("a.orc"));
        Orc::new(&[("c", other, rows)]).write(root.path().join("b.orc"));
        let mut dataset = OrcDataset::new(plain(4)).unwrap();
        dataset.add_path(root.path()).unwrap();
        dataset.varlen_feature("c", Varlen::default()).unwrap();
        let error = dataset.iterate(None).unwrap().find_map(Result::err).expect("an error").to_string();
        let (a, b) = (root.path().join("a.orc"), root.path().join("b.orc"));
        let (a, b) = (a.display(), b.display());
        assert_eq!(
            error,
            format!("{b}, column 'c': is {reads}, but list<double> in {a}; all files must agree")
        );
    }
}
