//! Files hold what the JSON beside them says.

use std::path::{Path, PathBuf};

use recis::Batch;
use recis::io::OrcDatasetOptions;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::reading::{self, FLOATS, LONGS, STRINGS, batches, dataset, plain};

/// What is held against a file: all its rows, or sums over each column.
enum Truth {
    Rows(Value),
    Digest(Value),
}

/// The files of the repository, and those below the directory that RECIS_DATA names.
fn files() -> Vec<(PathBuf, Truth)> {
    let mut directories = vec![reading::data("")];
    directories.extend(std::env::var_os("RECIS_DATA").map(PathBuf::from));
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "orc")
                && let Some(truth) = truth(&path)
            {
                files.push((path, truth));
            }
        }
    }
    files
}

fn truth(path: &Path) -> Option<Truth> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(serde_json::from_str::<Value>(&text).unwrap())
    };
    // The files of the codecs and of the dictionary hold the same table as the plain one.
    read(path.with_extension("json"))
        .map(Truth::Rows)
        .or_else(|| read(path.with_extension("digest.json")).map(Truth::Digest))
        .or_else(|| read(path.with_file_name("uncompressed.json")).map(Truth::Rows))
}

#[test]
fn every_file_holds_what_was_written() {
    let files = files();
    assert!(files.len() >= 8, "{} files", files.len());
    for (path, truth) in files {
        let large = std::fs::metadata(&path).unwrap().len() > 4 << 20;
        for batch_size in [1, 7, 1024].into_iter().skip(if large { 2 } else { 0 }) {
            for threads in [1, 4] {
                let options = OrcDatasetOptions {
                    read_threads_num: threads,
                    pack_threads_num: Some(threads),
                    prefetch: threads - 1,
                    ..plain(batch_size)
                };
                let case = format!("{}, batches of {batch_size}, {threads} threads", path.display());
                let batches = batches(&dataset(&path, options)).expect(&case);
                let (_, full) = batches.split_last().expect(&case);
                assert!(full.iter().all(|batch| batch.rows == batch_size), "{case}");
                match &truth {
                    Truth::Rows(rows) => compare_rows(&batches, rows, &case),
                    Truth::Digest(digest) => compare_digest(&batches, digest, &case),
                }
            }
        }
    }
}

fn column(batches: &[Batch], name: &str) -> Vec<Value> {
    batches.iter().flat_map(|batch| reading::rows(batch, name)).collect()
}

fn compare_rows(batches: &[Batch], truth: &Value, case: &str) {
    let names: Vec<_> = batches[0].names().collect();
    assert!(names.is_sorted(), "{case}: {names:?}");
    for name in names {
        let expected = truth[name].as_array().unwrap();
        let found = column(batches, name);
        assert_eq!(found.len(), expected.len(), "{case}: rows of {name}");
        for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
            // The values were made as f32, and JSON's reader may miss the last bit of an f64.
            let single = |value: &Value| match value {
                Value::Array(values) if FLOATS.contains(&name) => {
                    values.iter().map(|v| json!(v.as_f64().unwrap() as f32)).collect()
                }
                Value::Null => json!([]),
                other => other.clone(),
            };
            assert_eq!(single(found), single(expected), "{case}: {name}, row {row}");
        }
    }
}

fn compare_digest(batches: &[Batch], digest: &Value, case: &str) {
    assert_eq!(json!(batches.iter().map(|b| b.rows).sum::<usize>()), digest["rows"], "{case}");
    for name in LONGS.into_iter().chain(FLOATS).chain([STRINGS]) {
        let rows = column(batches, name);
        let values: Vec<&Value> = rows.iter().flat_map(|row| row.as_array().unwrap()).collect();
        let mut found = json!({
            "values": values.len(),
            "rows_with_values": rows.iter().filter(|row| **row != json!([])).count(),
        });
        if LONGS.contains(&name) {
            let ids = values.iter().map(|v| v.as_i64().unwrap());
            found["sum"] = json!(ids.clone().sum::<i64>());
            found["xor"] = json!(ids.fold(0, |a, b| a ^ b));
        } else if FLOATS.contains(&name) {
            let sum: f64 = values.iter().map(|v| v.as_f64().unwrap()).fold(0.0, |a, b| a + b);
            let expected = digest[name]["sum_f64_in_order"].as_f64().unwrap();
            assert!((sum - expected).abs() <= 1e-12 * expected, "{case}: {name} {sum} {expected}");
            found["sum_f64_in_order"] = digest[name]["sum_f64_in_order"].clone();
        } else {
            let strings: Vec<_> = values.iter().map(|v| v.as_str().unwrap()).collect();
            found["bytes"] = json!(strings.iter().map(|s| s.len()).sum::<usize>());
            let sha = Sha256::digest(strings.join("\n"));
            let hex: String = sha.iter().map(|byte| format!("{byte:02x}")).collect();
            found["sha256_of_values_joined_by_newline"] = json!(hex);
        }
        assert_eq!(found, digest[name], "{case}: {name}");
    }
}
