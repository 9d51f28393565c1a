//! Checkpoints on disk: what is read is what was written, and whatever happens to the files in
//! between is found out.

mod damage;
mod interruption;
mod layout;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use recis::Error;
use recis::framework::checkpoint::{Snapshot, latest, load, save};
use recis::nn::{ArrayData, ArraySnapshot, TableSnapshot};
use serde_json::json;

fn table(name: &str, dim: usize, ids: &[i64], slots: &[&str]) -> TableSnapshot {
    let value = |slot: usize, i: usize| (slot * 1000 + i) as f32 * 0.37 - 1.0;
    let values = |slot| (0..ids.len() * dim).map(|i| value(slot, i)).collect();
    let slots = slots.iter().enumerate().map(|(slot, name)| (name.to_string(), values(slot))).collect();
    TableSnapshot { name: name.into(), dim, ids: ids.to_vec(), slots }
}

fn array(name: &str, shape: &[usize], data: ArrayData) -> ArraySnapshot {
    ArraySnapshot { name: name.into(), shape: shape.to_vec(), data }
}

/// Neither tables nor slots nor arrays are in alphabetical order, and every edge is there: extreme
/// ids, no rows, no values, a single value, NaN-free floats of all sizes.
fn snapshot(step: u64) -> Snapshot {
    let slots = ["embedding", "sparse_adamw_tf_exp_avg", "sparse_adamw_tf_exp_avg_sq"];
    Snapshot {
        step,
        tables: vec![
            table("sparse2", 3, &[i64::MIN, -1, 0, step as i64 + 1, i64::MAX], &slots),
            table("sparse10", 8, &[], &slots),
            table("a.b/c", 1, &[5], &["embedding"]),
        ],
        arrays: vec![
            array("mlp.weight", &[2, 2], ArrayData::F32(vec![0.1, -0.0, f32::MIN_POSITIVE, f32::INFINITY])),
            array("auc.tp", &[3], ArrayData::I64(vec![i64::MIN, 0, i64::MAX])),
            array("beta1_power", &[], ArrayData::F64(vec![0.9f64.powi(19)])),
            array("empty", &[0, 7], ArrayData::F32(Vec::new())),
        ],
        progress: json!({"epoch": 1, "position": {"files": ["data_0.orc"], "row": u64::MAX}}),
    }
}

/// The files below a folder, by their path in it.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            found.extend(contents(&path).into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

fn checkpoint_error<T: std::fmt::Debug>(result: recis::Result<T>) -> (PathBuf, String) {
    match result.unwrap_err() {
        Error::Checkpoint { path, what } => (path, what),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let no_tables = Snapshot { tables: Vec::new(), ..snapshot(1) };
    for written in [snapshot(7), no_tables, Snapshot::default()] {
        for save_concurrency in [1, 2, 3, 8, 1000] {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(latest(dir.path()).unwrap(), None);
            let path = save(dir.path(), &written, 1, save_concurrency).unwrap();
            assert_eq!(latest(dir.path()).unwrap(), Some(path.clone()));
            assert_eq!(load(path).unwrap(), written, "in {save_concurrency} files");
        }
    }
    assert_eq!(latest("no/such/directory").unwrap(), None);
}

#[test]
fn the_same_snapshot_gives_the_same_bytes() {
    let write = || {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &snapshot(7), 5, 4).unwrap();
        contents(dir.path())
    };
    let first = write();
    assert!((0..5).all(|_| write() == first));
}

#[test]
fn only_listed_checkpoints_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::create_dir_all(dir.path().join("ckpt_0/mine")).unwrap();
    for step in [10, 20, 15, 20] {
        save(dir.path(), &snapshot(step), 2, 4).unwrap();
    }
    assert_eq!(fs::read_to_string(dir.path().join("checkpoint")).unwrap(), "ckpt_15\nckpt_20\n");
    assert_eq!(names(), ["checkpoint", "ckpt_0", "ckpt_15", "ckpt_20"]);
}

#[test]
fn a_step_saved_again_replaces_the_first() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &snapshot(5), 5, 4).unwrap();
    let again = Snapshot { progress: json!("again"), tables: Vec::new(), ..snapshot(5) };
    let path = save(dir.path(), &again, 5, 4).unwrap();
    assert_eq!(load(path).unwrap(), again);
    assert_eq!(fs::read_to_string(dir.path().join("checkpoint")).unwrap(), "ckpt_5\n");
}

#[test]
fn what_contradicts_itself_is_not_written() {
    type Change = fn(&mut Snapshot);
    let cases: [(&str, Change); 9] = [
        ("row 1 is -1 and row 2 is -1", |s| s.tables[0].ids[2] = -1),
        ("slot 'embedding': 14 values for 5 rows of 3", |s| s.tables[0].slots[0].1.truncate(14)),
        ("table 'sparse10' has rows of 0 values", |s| s.tables[1].dim = 0),
        ("would be stored as 'sparse2.id/part_0_1'", |s| s.tables[0].slots[0].0 = "id".into()),
        ("would be stored as 'a.b.c/part_0_1'", |s| {
            s.tables = vec![table("a", 1, &[], &["b.c"]), table("a.b", 1, &[], &["c"])];
        }),
        ("two arrays are named 'auc.tp'", |s| s.arrays[0].name = "auc.tp".into()),
        ("'__metadata__'", |s| s.arrays[0].name = "__metadata__".into()),
        ("array 'auc.tp': 3 values for shape [4]", |s| s.arrays[1].shape = vec![4]),
        ("array 'empty': 0 values", |s| s.arrays[3].shape = vec![usize::MAX, 2]),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (expected, change) in cases {
        let mut snapshot = snapshot(5);
        change(&mut snapshot);
        let (_, what) = checkpoint_error(save(dir.path(), &snapshot, 5, 4));
        assert!(what.contains(expected), "{what}");
    }
    for (max_to_keep, save_concurrency) in [(0, 1), (1, 0)] {
        let error = save(dir.path(), &snapshot(5), max_to_keep, save_concurrency).unwrap_err();
        assert!(matches!(error, Error::Option { .. }), "{error}");
    }
    assert_eq!(contents(dir.path()), BTreeMap::new());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // Below a file: what even root cannot write.
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = file.path().join("x");
    let (path, what) = checkpoint_error(save(&dir, &snapshot(5), 5, 4));
    assert_eq!(path, dir);
    assert!(what.contains("cannot be written"), "{what}");
    checkpoint_error(latest(&dir));
}
