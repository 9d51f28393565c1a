//! How columns become tensors.

use recis::io::{Dtype, HashType, OrcDataset, OrcDatasetOptions, Varlen};
use recis::ops::string_hash::{farm, murmur};
use recis::{Batch, Result, Tensor};
use serde_json::{Value, json};

use crate::reading::{self, BYTES, batches, plain};
use crate::write::Orc;

/// Reads one column of one file into a single batch.
fn read(ty: &str, rows: Value, dtype: Dtype, select: impl FnOnce(&mut OrcDataset)) -> Result<Batch> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.orc");
    Orc::new(&[("c", ty, rows)]).write(&file);
    let mut dataset = OrcDataset::new(OrcDatasetOptions { dtype, ..plain(1000) }).unwrap();
    dataset.add_path(&file).unwrap();
    select(&mut dataset);
    // The path is another one in every run.
    let without_path = |e: recis::Error| match e {
        recis::Error::Data { place, what } => {
            recis::Error::Data { place: place.replace(&format!("{}", file.display()), "t.orc"), what }
        }
        other => other,
    };
    Ok(batches(&dataset).map_err(without_path)?.remove(0))
}

fn varlen(ty: &str, rows: Value) -> Result<Batch> {
    read(ty, rows, Dtype::F32, |dataset| _ = dataset.varlen_feature("c", Varlen::default()).unwrap())
}

fn fixed(ty: &str, rows: Value, default: &[f64]) -> Result<Batch> {
    read(ty, rows, Dtype::F32, |dataset| _ = dataset.fixedlen_feature("c", default).unwrap())
}

fn describe(batch: &Batch) -> (String, Value) {
    (batch.get("c").unwrap().describe(), reading::rows(batch, "c").into())
}

#[test]
fn fixedlen_rows_have_the_default_where_they_are_empty() {
    let rows = json!([[1.5, 2.0], null, [], [0.1, 4.0]]);
    let expected = json!([[1.5, 2.0], [7.0, 8.0], [7.0, 8.0], [f64::from(0.1f32), 4.0]]);
    let batch = fixed("list<double>", rows, &[7.0, 8.0]).unwrap();
    assert_eq!(describe(&batch), ("dense f32 [4, 2]".into(), expected));

    let batch = fixed("list<bigint>", json!([[i64::MIN], [], [i64::MAX]]), &[-1.0]).unwrap();
    assert_eq!(describe(&batch), ("dense i64 [3, 1]".into(), json!([[i64::MIN], [-1], [i64::MAX]])));
}

#[test]
fn floats_are_cast_to_the_dtype() {
    let rows = json!([[0.1, 1e300], [], [-0.5]]);
    for (ty, dtype, expected) in [
        ("double", Dtype::F64, ["ragged f64 [3, ?]", "[[0.1,1e+300],[],[-0.5]]"]),
        ("double", Dtype::F32, ["ragged f32 [3, ?]", "[[0.10000000149011612,null],[],[-0.5]]"]),
        ("float", Dtype::F64, ["ragged f64 [3, ?]", "[[0.10000000149011612,null],[],[-0.5]]"]),
        ("float", Dtype::F32, ["ragged f32 [3, ?]", "[[0.10000000149011612,null],[],[-0.5]]"]),
    ] {
        let select = |dataset: &mut OrcDataset| _ = dataset.varlen_feature("c", Varlen::default()).unwrap();
        let (shape, found) = describe(&read(&format!("list<{ty}>"), rows.clone(), dtype, select).unwrap());
        assert_eq!([shape.as_str(), &found.to_string()], expected);
    }
}

#[test]
fn integers_of_any_width_become_i64() {
    for (ty, rows) in [
        ("tinyint", json!([[-128, 127], [], [0]])),
        ("smallint", json!([[-32768, 32767], [], [0]])),
        ("int", json!([[i32::MIN, i32::MAX], [], [0]])),
        ("bigint", json!([[i64::MIN, i64::MAX], [], [0]])),
    ] {
        let batch = varlen(&format!("list<{ty}>"), rows.clone()).unwrap();
        assert_eq!(describe(&batch), ("ragged i64 [3, ?]".into(), rows));
    }
}

#[test]
fn lists_nest() {
    let rows = json!([[[1], []], [], [[2, 3], [4]], [[]]]);
    let batch = varlen("list<list<bigint>>", rows.clone()).unwrap();
    assert_eq!(describe(&batch), ("ragged i64 [4, ?, ?]".into(), rows));

    let rows = json!([[["ab"], []], [], [["", "c"]]]);
    let select = |dataset: &mut OrcDataset| _ = dataset.varlen_feature("c", BYTES).unwrap();
    let batch = read("list<list<string>>", rows.clone(), Dtype::F32, select).unwrap();
    assert_eq!(describe(&batch), ("ragged i8 [3, ?, ?, ?]".into(), rows));
}

#[test]
fn strings_become_ids() {
    let rows = json!([["a", ""], [], ["a"]]);
    for (hash, of_a, of_none) in
        [(HashType::Farm, farm(b"a"), farm(b"")), (HashType::Murmur, murmur(b"a"), murmur(b""))]
    {
        for (hash_bucket, id) in [
            (0, (|hash| (hash & i64::MAX as u64) as i64) as fn(u64) -> i64),
            (-1, |hash| hash as i64),
            (1000, |hash| (hash % 1000) as i64),
        ] {
            let select = |dataset: &mut OrcDataset| {
                let varlen = Varlen { hash_type: Some(hash), hash_bucket, ..Varlen::default() };
                dataset.varlen_feature("c", varlen).unwrap();
            };
            let batch = read("list<string>", rows.clone(), Dtype::F32, select).unwrap();
            let expected = json!([[id(of_a), id(of_none)], [], [id(of_a)]]);
            assert_eq!(describe(&batch), ("ragged i64 [3, ?]".into(), expected), "{hash:?}, {hash_bucket}");
        }
    }
}

#[test]
fn structs_are_values_with_weights() {
    let item = |k: i64, v: f64| json!({"k": k, "v": v});
    let rows = json!([[item(5, 0.5), item(6, 2.0)], null, [item(-7, 1.0)]]);
    let batch = varlen("list<struct<k:bigint,v:double>>", rows).unwrap();
    assert_eq!(describe(&batch), ("ragged i64 [3, ?]".into(), json!([[5, 6], [], [-7]])));
    let Tensor::Ragged(tensor) = &**batch.get("c").unwrap() else { panic!() };
    assert_eq!(tensor.weights.as_ref().unwrap().host(), [0.5, 2.0, 1.0]);
}

#[test]
fn null_rows_are_empty_and_null_elements_are_refused() {
    let batch = varlen("list<bigint>", json!([null, [1], null, null, [2, 3]])).unwrap();
    assert_eq!(describe(&batch).1, json!([[], [1], [], [], [2, 3]]));

    let refused = "a null element; only whole rows may be null";
    for (ty, rows) in [
        ("list<bigint>", json!([[], [1], [2, null]])),
        ("list<list<bigint>>", json!([[], [[1]], [[2], null]])),
        ("list<list<bigint>>", json!([[], [[1]], [[], [2, null]]])),
        ("list<struct<k:bigint,v:double>>", json!([[], [], [{"k": 1, "v": null}]])),
    ] {
        let error = varlen(ty, rows).unwrap_err().to_string();
        assert_eq!(error, format!("t.orc, column 'c', row 2: {refused}"), "{ty}");
    }
    let error = fixed("list<double>", json!([[1.0], [null]]), &[0.0]).unwrap_err().to_string();
    assert_eq!(error, format!("t.orc, column 'c', row 1: {refused}"));
}

#[test]
fn fixedlen_rows_of_another_length_are_refused() {
    // All in all as many values as there should be, and the first row has its two.
    let error = fixed("list<double>", json!([[1, 2], [3], [4, 5, 6]]), &[0.0, 0.0]).unwrap_err().to_string();
    let refused = "t.orc, column 'c', row 1: 1 values where the default has 2; 0 or 2 are allowed";
    assert_eq!(error, refused);
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let refusal = |batch: Result<Batch>| batch.unwrap_err().to_string().replace("t.orc, column 'c': ", "");
    let only_lists = "only lists can be read: write each row's values as a list";
    assert_eq!(refusal(varlen("bigint", json!([1]))), format!("is bigint; {only_lists}"));
    assert_eq!(refusal(fixed("double", json!([1]), &[0.0])), format!("is double; {only_lists}"));
    let strings = "strings need a hash_type, or trans_int8 to be read as bytes";
    assert_eq!(refusal(varlen("list<string>", json!([["a"]]))), format!("is list<string>; {strings}"));
    let numbers = "a fixedlen feature is a list of numbers";
    assert_eq!(refusal(fixed("list<string>", json!([["a"]]), &[0.0])), format!("is list<string>; {numbers}"));
    let nested = fixed("list<list<bigint>>", json!([[[1]]]), &[0.0]);
    assert_eq!(refusal(nested), format!("is list<list<bigint>>; {numbers}"));
    let whole = fixed("list<int>", json!([[1]]), &[0.5]);
    assert_eq!(refusal(whole), "is list<int>; its default has to be whole numbers");
    let dates = varlen("list<date>", json!([[1]]));
    assert_eq!(refusal(dates), "is list<date>; its values are neither numbers nor strings");
    let structs = varlen("list<struct<k:bigint>>", json!([[{"k": 1}]]));
    let pairs = "structs are read as a value and its weight, both numbers";
    assert_eq!(refusal(structs), format!("is list<struct<k:bigint>>; {pairs}"));
    let bytes = read("list<bigint>", json!([[1]]), Dtype::F32, |dataset| {
        dataset.varlen_feature("c", BYTES).unwrap();
    });
    assert_eq!(refusal(bytes), "is list<bigint>; hash_type and trans_int8 are for strings");
    let missing = read("list<bigint>", json!([[1]]), Dtype::F32, |dataset| {
        dataset.fixedlen_feature("d", &[0.0]).unwrap();
    });
    let missing = missing.unwrap_err().to_string();
    assert_eq!(missing, "t.orc, column 'd': not in the file, which has c");
}
