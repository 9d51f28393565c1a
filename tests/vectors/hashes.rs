//! Hashes of strings, by the operation and by the dataset, and the bytes of strings.

use recis::io::{Dtype, HashType, Varlen};
use recis::ops::modulo;
use recis::ops::string_hash;
use recis::{Tensor, Values};
use serde::Deserialize;
use serde_json::{Value, json};

use super::case::{Elements, Outcome, Tolerance, on, parse, same, same_all, stream};
use super::io::{read, values_i64};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hashed {
    bytes_hex: String,
    len: usize,
    recis_gpu_i64: i64,
    #[serde(alias = "u64")]
    recis_gpu_u64: String,
    google_fingerprint64_u64: Option<String>,
    dataset_hash_bucket0_i64: i64,
    dataset_hash_bucket_10000: i64,
    op_then_mod_10000: Option<i64>,
    dataset0_then_mod_10000: Option<i64>,
}

pub fn farm(case: &Value, _: &Tolerance) -> Outcome {
    hashed(case, HashType::Farm)
}

pub fn murmur(case: &Value, _: &Tolerance) -> Outcome {
    hashed(case, HashType::Murmur)
}

fn hashed(case: &Value, hash_type: HashType) -> Outcome {
    let case: Hashed = parse(case)?;
    let bytes = from_hex(&case.bytes_hex)?;
    same("len", case.len, bytes.len())?;
    same("recis_gpu_u64", case.recis_gpu_u64.parse()?, hash_type.hash(&bytes))?;
    if let Some(fingerprint) = case.google_fingerprint64_u64 {
        same("google_fingerprint64_u64", fingerprint.parse()?, hash_type.hash(&bytes))?;
    }
    let hash = hash_op(&bytes, &[0, bytes.len() as i32], hash_type)?;
    same_all("recis_gpu_i64", &[case.recis_gpu_i64], &hash)?;
    if let Some(expected) = case.op_then_mod_10000 {
        same_all("op_then_mod_10000", &[expected], &modulo_10000(hash)?)?;
    }
    // A column of strings holds UTF-8, so the dataset has no way for other bytes.
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(()) };
    let rows = json!([[text]]);
    let bucket0 = dataset_hash(&rows, hash_type, 0)?;
    same_all("dataset_hash_bucket0_i64", &[case.dataset_hash_bucket0_i64], &bucket0)?;
    if let Some(expected) = case.dataset0_then_mod_10000 {
        same_all("dataset0_then_mod_10000", &[expected], &modulo_10000(bucket0)?)?;
    }
    let bucket = dataset_hash(&rows, hash_type, 10_000)?;
    same_all("dataset_hash_bucket_10000", &[case.dataset_hash_bucket_10000], &bucket)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Strings {
    rows: Value,
    values_int8: Vec<i8>,
    outer_offsets: Vec<i32>,
    inner_offsets: Vec<i32>,
    farm_hash: Option<Vec<i64>>,
    farm_hash_mod_10000: Option<Vec<i64>>,
    dataset_farm_bucket0: Option<Vec<i64>>,
    dataset_farm_bucket_10000: Option<Vec<i64>>,
    murmur_hash: Option<Vec<i64>>,
    murmur_hash_mod_10000: Option<Vec<i64>>,
    dataset_murmur_bucket0: Option<Vec<i64>>,
    dataset_murmur_bucket_10000: Option<Vec<i64>>,
}

pub fn string_bytes(case: &Value, _: &Tolerance) -> Outcome {
    let case: Strings = parse(case)?;
    let bytes = Varlen { trans_int8: true, ..Varlen::default() };
    let batch =
        read("list<string>", &case.rows, Dtype::F32, |dataset| dataset.varlen_feature("c", bytes).map(drop))?;
    let Some(batch) = batch else { return same_all("outer_offsets", &case.outer_offsets, &[0]) };
    let Tensor::Ragged(column) = batch.get("c")?.as_ref() else {
        return Err("the column is not ragged".into());
    };
    let Values::I8(values) = &column.values else {
        return Err("the values are not bytes".into());
    };
    same_all("values_int8", &case.values_int8, values.host())?;
    same("the number of levels", 2, column.offsets.len())?;
    same_all("outer_offsets", &case.outer_offsets, column.offsets[0].host())?;
    same_all("inner_offsets", &case.inner_offsets, column.offsets[1].host())?;

    let bytes: &[u8] = bytemuck::cast_slice(values.host());
    for (hash_type, name, hash, hash_mod, bucket0, bucket) in [
        (
            HashType::Farm,
            "farm",
            &case.farm_hash,
            &case.farm_hash_mod_10000,
            &case.dataset_farm_bucket0,
            &case.dataset_farm_bucket_10000,
        ),
        (
            HashType::Murmur,
            "murmur",
            &case.murmur_hash,
            &case.murmur_hash_mod_10000,
            &case.dataset_murmur_bucket0,
            &case.dataset_murmur_bucket_10000,
        ),
    ] {
        let found = hash_op(bytes, column.offsets[1].host(), hash_type)?;
        if let Some(expected) = hash {
            same_all(&format!("{name}_hash"), expected, &found)?;
        }
        if let Some(expected) = hash_mod {
            same_all(&format!("{name}_hash_mod_10000"), expected, &modulo_10000(found)?)?;
        }
        for (expected, modulus) in [(bucket0, 0), (bucket, 10_000)] {
            if let Some(expected) = expected {
                let field = format!("dataset_{name}_bucket {modulus}");
                same_all(&field, expected, &dataset_hash(&case.rows, hash_type, modulus)?)?;
            }
        }
    }
    Ok(())
}

fn hash_op(bytes: &[u8], offsets: &[i32], hash_type: HashType) -> Outcome<Vec<i64>> {
    let mut out = on(vec![0; offsets.len() - 1]);
    let column = string_hash::Column {
        modulus: None,
        bytes: &on(bytemuck::cast_slice(bytes).to_vec()),
        offsets: &on(offsets.to_vec()),
        hash_type,
        out: &mut out,
    };
    string_hash::forward(&mut [column], &stream())?;
    Ok(out.elements())
}

fn modulo_10000(ids: Vec<i64>) -> Outcome<Vec<i64>> {
    let mut out = on(vec![0; ids.len()]);
    let column = modulo::Column { values: &on(ids), modulus: 10_000, out: &mut out };
    modulo::forward(&mut [column], &stream())?;
    Ok(out.elements())
}

fn dataset_hash(rows: &Value, hash_type: HashType, hash_bucket: i64) -> Outcome<Vec<i64>> {
    let varlen = Varlen { hash_type: Some(hash_type), hash_bucket, trans_int8: false };
    let batch =
        read("list<string>", rows, Dtype::F32, |dataset| dataset.varlen_feature("c", varlen).map(drop))?;
    batch.map_or(Ok(Vec::new()), |batch| values_i64(batch.get("c")?))
}

fn from_hex(hex: &str) -> Outcome<Vec<u8>> {
    let byte = |i: usize| Ok(u8::from_str_radix(hex.get(i..i + 2).ok_or("bytes_hex: odd length")?, 16)?);
    (0..hex.len()).step_by(2).map(byte).collect()
}
