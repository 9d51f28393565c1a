//! Names of files and keys against those of RecIS.

use recis::framework::checkpoint::{Snapshot, save};
use serde_json::{Map, Value};

use super::table;

fn read(path: impl AsRef<std::path::Path>) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Rank 0's part of a case, as one process writes it: its keys are part 0 of 1, its files the only
/// ones. The beta powers, which end in `^ `, are among our arrays instead.
fn expected(case: &Value, member: &str) -> Map<String, Value> {
    let [ranks, files] = ["world_size", "save_concurrency_per_rank"].map(|n| case[n].as_u64().unwrap());
    let (part, count) = (format!("/part_0_{ranks}"), format!("-of-{:06}.", ranks * files));
    let single = |value: &Value| value.as_str().unwrap().replace(&count, &format!("-of-{files:06}."));
    let members = case[member].as_object().unwrap().iter();
    let own = members.filter(|(key, _)| key.ends_with(&part));
    own.map(|(key, value)| (key.replace(&part, "/part_0_1"), single(value).into())).collect()
}

#[test]
fn keys_and_files_are_those_of_recis() {
    let slots = ["embedding", "sparse_adamw_tf_exp_avg", "sparse_adamw_tf_exp_avg_sq"];
    let names = ["sparse1", "sparse3", "sparse2", "sparse4", "sparse5", "sparse1_x_sparse2"];
    let tables = names.map(|name| table(name, 2, &[1, 2], &slots)).to_vec();
    let snapshot = Snapshot { step: 19, tables, ..Snapshot::default() };

    let vectors = read("tests/data/vectors/checkpoint_layout.json");
    for case in vectors["cases"].as_array().unwrap() {
        let dir = tempfile::tempdir().unwrap();
        let files = case["save_concurrency_per_rank"].as_u64().unwrap() as usize;
        let path = save(dir.path(), &snapshot, 5, files).unwrap();
        assert_eq!(path, dir.path().join("ckpt_19"));

        let index = read(path.join("index"));
        let name_of = |number: &Value| {
            let names = index["file_index"].as_object().unwrap();
            names.iter().find(|(_, n)| *n == number).unwrap().0.clone()
        };
        let blocks = index["block_index"].as_object().unwrap().iter();
        let file_of: Map<String, Value> =
            blocks.map(|(key, number)| (key.clone(), name_of(number).into())).collect();
        assert_eq!(file_of, expected(case, "safetensors_key_to_file"));

        if case["world_size"] == 1 {
            let keys = read(path.join("tensorkey.json"));
            assert_eq!(keys.as_object().unwrap(), &expected(case, "tensorkey_json"));
        }
    }
}
