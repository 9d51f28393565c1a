//! Files that changed after they were written.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recis::framework::checkpoint::{Snapshot, latest, load, save};
use serde_json::{Value, json};

use super::{checkpoint_error, contents, snapshot, table};

#[test]
fn every_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &snapshot(1), 5, 4).unwrap();
    let path = save(dir.path(), &snapshot(2), 5, 4).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    for (name, bytes) in contents(&path) {
        let file = path.join(&name);
        let refused = |damaged: &[u8]| {
            fs::write(&file, damaged).unwrap();
            let (named, what) = checkpoint_error(load(&path));
            assert_eq!(named, file, "{what}");
            assert!(what.contains("to go on from the older ckpt_1"), "{what}");
        };
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= rng.random_range(1..=255u8);
            refused(&damaged);
        }
        for _ in 0..20 {
            refused(&bytes[..rng.random_range(0..bytes.len())]);
        }
        refused(&[&bytes[..], b" "].concat());
        fs::remove_file(&file).unwrap();
        assert_eq!(checkpoint_error(load(&path)).0, file);
        fs::write(&file, &bytes).unwrap();
    }
    assert_eq!(load(&path).unwrap(), snapshot(2));
}

#[test]
fn a_damaged_list_never_leads_to_an_older_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    for step in [1, 2, 10, 20] {
        save(dir.path(), &snapshot(step), 5, 4).unwrap();
    }
    let list = dir.path().join("checkpoint");
    let newest = latest(dir.path()).unwrap();
    let bytes = fs::read(&list).unwrap();
    let flips = (0..bytes.len()).flat_map(|at| (1..=255).map(move |mask| (at, mask)));
    let flipped = flips.map(|(at, mask)| {
        let mut damaged = bytes.clone();
        damaged[at] ^= mask;
        damaged
    });
    for damaged in flipped.chain((0..bytes.len()).map(|length| bytes[..length].to_vec())) {
        fs::write(&list, &damaged).unwrap();
        match latest(dir.path()) {
            // Another digit in an older line.
            Ok(found) => assert_eq!(found, newest),
            Err(recis::Error::Checkpoint { path, .. }) => assert_eq!(path, list),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn the_list_must_name_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for step in [1, 2] {
        save(dir.path(), &snapshot(step), 5, 4).unwrap();
    }
    fs::rename(dir.path().join("ckpt_2"), dir.path().join("moved")).unwrap();
    let (path, what) = checkpoint_error(latest(dir.path()));
    assert_eq!(path, dir.path().join("checkpoint"));
    assert!(what.contains("ckpt_2 is missing") && what.contains("go on from ckpt_1"), "{what}");

    fs::rename(dir.path().join("moved"), dir.path().join("ckpt_2")).unwrap();
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let (_, what) = checkpoint_error(latest(dir.path()));
    assert!(what.contains("append the line ckpt_2"), "{what}");
}

/// Replaces a file as someone would who knows the checksums.
fn replace(checkpoint: &Path, name: &str, bytes: &[u8]) {
    fs::write(checkpoint.join(name), bytes).unwrap();
    edit_state(checkpoint, |state| {
        state["files"][name] = json!({"bytes": bytes.len(), "crc32": crc32fast::hash(bytes)});
    });
}

fn edit_state(checkpoint: &Path, edit: impl FnOnce(&mut Value)) {
    let path = checkpoint.join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state.as_object_mut().unwrap().remove("crc32");
    edit(&mut state);
    let text = serde_json::to_string_pretty(&state).unwrap();
    let text = text.strip_suffix("\n}").unwrap();
    fs::write(path, format!("{text},\n  \"crc32\": {}\n}}\n", crc32fast::hash(text.as_bytes()))).unwrap();
}

fn safetensors(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn what_contradicts_itself_is_not_read() {
    const MODEL: &str = "model-000000-of-000001.safetensors";
    let dense = |header: Value, data: &[u8]| safetensors(&header, data);
    let model = |ids: [i64; 2], dtype: &str, shape: Value| {
        let header = json!({
            "t.id/part_0_1": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
            "t.embedding/part_0_1": {"dtype": dtype, "shape": shape, "data_offsets": [16, 32]},
        });
        safetensors(&header, &[bytemuck::cast_slice(&ids), &[0; 16]].concat())
    };
    let index =
        |blocks: Value| json!({"block_index": blocks, "file_index": {MODEL: 0}}).to_string().into_bytes();
    let huge = u64::MAX >> 3;
    let cases = [
        (MODEL, model([2, 1], "F32", json!([2, 2])), "ids must ascend"),
        (MODEL, model([1, 2], "I64", json!([2, 1])), "is I64 [2, 1], expected F32 [2, 2]"),
        (MODEL, model([1, 2], "F32", json!([4, 1])), "is F32 [4, 1], expected F32 [2, 2]"),
        (MODEL, model([1, 2], "F16", json!([2, 4])), "is F16; expected"),
        (MODEL, dense(json!({}), b""), "does not hold 't.id/part_0_1'"),
        ("index", index(json!({"t.id/part_0_1": 0})), "does not name 't.embedding/part_0_1'"),
        ("index", index(json!({"t.id/part_0_1": 7})), "is in file 7"),
        ("index", b"{\"block_index\":{},\"file_index\":{\"/etc/passwd\":0}}".to_vec(), "does not number"),
        (
            "index",
            index(json!({"t.id/part_0_1": 0, "t.embedding/part_0_1": 0, "u.id/part_0_1": 0})),
            "names 'u.id/part_0_1'",
        ),
        ("index", b"[]".to_vec(), "damaged"),
        ("dense.safetensors", b"".to_vec(), "no safetensors header"),
        ("dense.safetensors", [&huge.to_le_bytes()[..], b"{}"].concat(), "a header of"),
        (
            "dense.safetensors",
            dense(json!({"a": {"dtype": "F32", "shape": [huge], "data_offsets": [0, huge * 4]}}), b""),
            "damaged",
        ),
        (
            "dense.safetensors",
            dense(json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}), &[0; 4]),
            "holds 'a'",
        ),
    ];
    let snapshot = Snapshot { tables: vec![table("t", 2, &[1, 2], &["embedding"])], ..Snapshot::default() };
    for (name, bytes, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = save(dir.path(), &snapshot, 5, 1).unwrap();
        replace(&path, name, &bytes);
        let (_, what) = checkpoint_error(load(&path));
        assert!(what.contains(expected), "{name}: {what}");
        assert!(what.contains("no older one is listed"), "{what}");
    }
}

#[test]
fn another_format_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &snapshot(1), 5, 1).unwrap();
    edit_state(&path, |state| *state = json!({"format": 2, "new": true}));
    let (_, what) = checkpoint_error(load(&path));
    assert!(what.contains("written in format 2"), "{what}");
}
