//! The operators of features.

use recis::device::Buffer;
use recis::features::{
    Bucketize, Feature, FeatureCross, FeatureEngine, Hash, HashType, Mod, SelectField, SelectFields,
    SequenceTruncate, TruncateSide,
};
use recis::ops::{bucketize, feature_cross, modulo, multi_hash as hashes, truncate};
use recis::{Batch, DenseTensor, RaggedTensor, Tensor, Values};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::case::{Elements, Outcome, Tolerance, floats, offsets, on, parse, same, same_all, stream};
use super::io::values_i64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    x: i64,
    y: i64,
    out: i64,
    out_mod_1000: Option<i64>,
}

pub fn cross(case: &Value, _: &Tolerance) -> Outcome {
    let case: Pair = parse(case)?;
    let (x, y, ends) = (on(vec![case.x]), on(vec![case.y]), on(vec![0, 1]));
    let side = |values| feature_cross::Side { values, offsets: &ends, weights: None, longest: Some(1) };
    let crossed = feature_cross::forward(side(&x), side(&y), &stream())?;
    same_all("out", &[case.out], &crossed.values.elements())?;
    match case.out_mod_1000 {
        Some(expected) => same_all("out_mod_1000", &[expected], &remainders(&crossed.values, 1000)?),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RaggedPair {
    x_offsets: Vec<i32>,
    x_values: Vec<i64>,
    x_weight: Option<Vec<f32>>,
    y_offsets: Vec<i32>,
    y_values: Vec<i64>,
    y_weight: Option<Vec<f32>>,
    out_offsets: Vec<i32>,
    out_values: Vec<i64>,
    out_weight: Vec<f32>,
    all_rows_length_one: Option<bool>,
}

pub fn cross_ragged(case: &Value, _: &Tolerance) -> Outcome {
    let case: RaggedPair = parse(case)?;
    let (x, x_ends, x_weights) = buffers(case.x_values, case.x_offsets, case.x_weight);
    let (y, y_ends, y_weights) = buffers(case.y_values, case.y_offsets, case.y_weight);
    if let Some(expected) = case.all_rows_length_one {
        let ones = |ends: &Buffer<i32>| lens(&ends.elements()).iter().all(|&len| len == 1);
        same("all_rows_length_one", expected, ones(&x_ends) && ones(&y_ends))?;
    }
    let (x_weights, y_weights, longest) = (x_weights.as_ref(), y_weights.as_ref(), None);
    let x = feature_cross::Side { values: &x, offsets: &x_ends, weights: x_weights, longest };
    let y = feature_cross::Side { values: &y, offsets: &y_ends, weights: y_weights, longest };
    let crossed = feature_cross::forward(x, y, &stream())?;
    let out_offsets = crossed.offsets.elements();
    same_all("out_offsets", &case.out_offsets, &out_offsets)?;
    let (values, weights) = (crossed.values.elements(), crossed.weights.elements());
    same("the length of out_values", case.out_values.len(), values.len())?;
    same("the length of out_weight", case.out_weight.len(), weights.len())?;
    for (row, ends) in out_offsets.windows(2).enumerate() {
        let range = ends[0] as usize..ends[1] as usize;
        let expected = multiset(&case.out_values[range.clone()], &case.out_weight[range.clone()]);
        let got = multiset(&values[range.clone()], &weights[range]);
        same_all(&format!("out_values, out_weight of row {row}"), &expected, &got)?;
    }
    Ok(())
}

/// Ids with their weights in an order of their own.
fn multiset(ids: &[i64], weights: &[f32]) -> Vec<(i64, f32)> {
    let mut pairs: Vec<_> = ids.iter().copied().zip(weights.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    pairs
}

type Buffers = (Buffer<i64>, Buffer<i32>, Option<Buffer<f32>>);

fn buffers(values: Vec<i64>, offsets: Vec<i32>, weights: Option<Vec<f32>>) -> Buffers {
    (on(values), on(offsets), weights.map(on))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    offsets: Vec<i32>,
    values: Vec<i64>,
    weight: Option<Vec<f32>>,
    keep_len: usize,
    truncate_side: String,
    out_offsets: Vec<i32>,
    out_values: Vec<i64>,
    out_weight: Option<Vec<f32>>,
    drop_num: Vec<i64>,
    pad_num: Vec<i64>,
}

pub fn cutoff2d(case: &Value, _: &Tolerance) -> Outcome {
    let case: Cut = parse(case)?;
    let (values, ends, weights) = buffers(case.values, case.offsets, case.weight);
    let column = truncate::Column {
        modulus: None,
        values: &values,
        offsets: &ends,
        weights: weights.as_ref(),
        keep: case.keep_len,
        side: truncate_side(&case.truncate_side)?,
    };
    let cut = truncate::forward(&[column], &stream())?.remove(0);
    let out_offsets = cut.offsets.elements();
    same_all("out_offsets", &case.out_offsets, &out_offsets)?;
    // There may be room behind what is left.
    let end = usize::try_from(out_offsets[out_offsets.len() - 1])?;
    same_all("out_values", &case.out_values, &cut.values.elements()[..end])?;
    if let Some(expected) = case.out_weight {
        let got = cut.weights.as_ref().ok_or("out_weight: expected, but the column has no weight")?;
        same_all("out_weight", &expected, &got.elements()[..end])?;
    }
    let (before, after) = (lens(&ends.elements()), lens(&out_offsets));
    let dropped: Vec<_> = before.iter().zip(&after).map(|(before, after)| before - after).collect();
    same_all("drop_num", &case.drop_num, &dropped)?;
    let padding: Vec<_> = after.iter().map(|after| case.keep_len as i64 - after).collect();
    same_all("pad_num", &case.pad_num, &padding)
}

fn truncate_side(name: &str) -> Outcome<truncate::Side> {
    match name {
        "left" => Ok(truncate::Side::Left),
        "right" => Ok(truncate::Side::Right),
        other => Err(format!("truncate_side: no '{other}'").into()),
    }
}

fn lens(offsets: &[i32]) -> Vec<i64> {
    offsets.windows(2).map(|ends| i64::from(ends[1] - ends[0])).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CutLists {
    outer_offsets: Vec<i32>,
    inner_offsets: Vec<i32>,
    values: Vec<i64>,
    keep_len: usize,
    truncate_side: String,
    out_outer_offsets: Vec<i32>,
    out_inner_offsets: Vec<i32>,
    out_values: Vec<i64>,
}

pub fn cutoff3d(case: &Value, _: &Tolerance) -> Outcome {
    let case: CutLists = parse(case)?;
    let rows = case.outer_offsets.len() - 1;
    let (values, ends, _) = buffers(case.values, case.inner_offsets, None);
    let column = truncate::Lists {
        values: &values,
        offsets: &ends,
        row_offsets: &on(case.outer_offsets),
        weights: None,
        keep: case.keep_len,
        side: truncate_side(&case.truncate_side)?,
    };
    let cut = truncate::lists(&[column], &stream())?.remove(0);
    let inner = cut.offsets.elements();
    same_all("out_inner_offsets", &case.out_inner_offsets, &inner)?;
    // There may be room behind what is left.
    let end = usize::try_from(inner[inner.len() - 1])?;
    same_all("out_values", &case.out_values, &cut.values.elements()[..end])?;
    let outer: Vec<_> = (0..=rows).map(|row| (row * case.keep_len) as i32).collect();
    same_all("out_outer_offsets", &case.out_outer_offsets, &outer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Buckets {
    #[serde(deserialize_with = "floats")]
    boundaries: Vec<f32>,
    #[serde(deserialize_with = "floats")]
    values: Vec<f32>,
    out: Vec<i64>,
}

pub fn bucketize(case: &Value, _: &Tolerance) -> Outcome {
    let case: Buckets = parse(case)?;
    let mut out = on(vec![0; case.values.len()]);
    let (values, boundaries) = (on(case.values), on(case.boundaries));
    let column = bucketize::Column { values: &values, boundaries: &boundaries, out: &mut out };
    bucketize::forward(&mut [column], &stream())?;
    same_all("out", &case.out, &out.elements())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remainders {
    #[serde(rename = "mod")]
    modulus: u64,
    values: Vec<i64>,
    out: Vec<i64>,
}

pub fn modulo(case: &Value, _: &Tolerance) -> Outcome {
    let case: Remainders = parse(case)?;
    same_all("out", &case.out, &remainders(&on(case.values), case.modulus)?)
}

fn remainders(values: &Buffer<i64>, modulus: u64) -> Outcome<Vec<i64>> {
    let mut out = on(vec![0; values.len()]);
    let column = modulo::Column { values, modulus, out: &mut out };
    modulo::forward(&mut [column], &stream())?;
    Ok(out.elements())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MultiHash {
    num_buckets: Vec<i64>,
    primes: Vec<i64>,
    values: Vec<i64>,
    out: Vec<Vec<i64>>,
}

pub fn multi_hash(case: &Value, _: &Tolerance) -> Outcome {
    let case: MultiHash = parse(case)?;
    let values = on(case.values);
    same("the length of out", case.num_buckets.len(), case.out.len())?;
    same("the length of primes", case.num_buckets.len(), case.primes.len())?;
    for (i, (&buckets, expected)) in case.num_buckets.iter().zip(&case.out).enumerate() {
        let hash = hashes::Hash::new(i, buckets)?;
        same(&format!("primes[{i}]"), case.primes[i], hash.prime)?;
        let mut out = on(vec![0; expected.len()]);
        hashes::forward(&mut [hashes::Column { values: &values, hash, out: &mut out }], &stream())?;
        same_all(&format!("out[{i}]"), expected, &out.elements())?;
    }
    Ok(())
}

/// A batch of the document's model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    seq_len: usize,
    label: Option<Vec<Vec<f64>>>,
    dense1: Option<Vec<Vec<f64>>>,
    dense2_f64: Vec<f64>,
    sparse1: Vec<i64>,
    sparse2: Vec<i64>,
    sparse3: Vec<i64>,
    sparse4: Vec<Vec<i64>>,
    sparse5: Vec<Vec<String>>,
    expected: Map<String, Value>,
}

pub fn engine(case: &Value, _: &Tolerance) -> Outcome {
    let case: Document = parse(case)?;
    let rows = case.dense2_f64.len();
    let mut batch = Batch::new(rows);
    for (name, dense) in [("dense1", case.dense1), ("label", case.label)] {
        if let Some(dense) = dense {
            let width = dense.first().map_or(0, Vec::len);
            batch.insert(name, Tensor::Dense(dense_f32(&dense.concat(), rows, width)));
        }
    }
    batch.insert("dense2", Tensor::Dense(dense_f32(&case.dense2_f64, rows, 1)));
    for (name, ids) in [("sparse1", case.sparse1), ("sparse2", case.sparse2), ("sparse3", case.sparse3)] {
        let rows: Vec<_> = ids.into_iter().map(|id| vec![id]).collect();
        batch.insert(name, ragged(Values::I64(rows.concat().into()), vec![offsets(&rows).into()]));
    }
    let ends = offsets(&case.sparse4).into();
    batch.insert("sparse4", ragged(Values::I64(case.sparse4.concat().into()), vec![ends]));
    batch.insert("sparse5", strings(&case.sparse5));

    let passed_through: Vec<_> = (["dense1", "label"].into_iter())
        .filter_map(|name| Some((name, batch.get(name).ok()?.clone())))
        .collect();
    let out = document_features(case.seq_len)?.forward(&batch.copy_to(&stream())?, &stream())?;
    for (name, tensor) in passed_through {
        same(name, &tensor, out.get(name)?)?;
    }
    case.expected.iter().try_for_each(|(name, expected)| same_column(name, expected, out.get(name)?))
}

/// The document's features.
fn document_features(seq_len: usize) -> recis::Result<FeatureEngine> {
    let select = |name: &str| Feature::new(name).add_op(SelectField::new(name));
    let cut = SequenceTruncate { seq_len, truncate_side: TruncateSide::Right, ..Default::default() };
    let crossed = Feature::new("sparse1_x_sparse2").add_op(SelectFields::new(["sparse1", "sparse2"]));
    FeatureEngine::new(vec![
        select("dense2").add_op(Bucketize(vec![0.0, 0.5, 1.0])),
        select("sparse1"),
        select("sparse2"),
        select("sparse3").add_op(Mod(10_000)),
        select("sparse4").add_op(Mod(10_000)).add_op(cut),
        select("sparse5").add_op(Hash(HashType::Farm)).add_op(Mod(10_000)).add_op(cut),
        crossed.add_op(FeatureCross).add_op(Mod(1000)),
    ])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRagged {
    values: Vec<i64>,
    offsets: Vec<i32>,
    weight: Option<Vec<f32>>,
}

fn same_column(name: &str, expected: &Value, got: &Tensor) -> Outcome {
    let values = values_i64(got).map_err(|e| format!("{name}: {e}"))?;
    if expected.is_array() {
        let expected: Vec<Vec<i64>> = parse(expected)?;
        let Tensor::Dense(dense) = got else {
            return Err(format!("{name}: a dense column is expected, got {}", got.describe()).into());
        };
        same(&format!("{name} rows"), expected.len(), dense.rows)?;
        return same_all(name, &expected.concat(), &values);
    }
    let expected: ExpectedRagged = parse(expected)?;
    let Tensor::Ragged(RaggedTensor { offsets, weights, .. }) = got else {
        return Err(format!("{name}: a ragged column is expected, got {}", got.describe()).into());
    };
    same(&format!("{name}: the number of levels"), 1, offsets.len())?;
    let offsets = offsets[0].elements();
    same_all(&format!("{name}.offsets"), &expected.offsets, &offsets)?;
    // There may be room behind the values.
    let end = usize::try_from(offsets[offsets.len() - 1])?;
    same_all(&format!("{name}.values"), &expected.values, &values[..end])?;
    let weights = weights.as_ref().map(|weights| weights.elements()[..end].to_vec());
    same(&format!("{name}.weight"), expected.weight, weights)
}

fn dense_f32(values: &[f64], rows: usize, width: usize) -> DenseTensor {
    let values: Vec<_> = values.iter().map(|&value| value as f32).collect();
    DenseTensor { values: Values::F32(values.into()), rows, width }
}

fn ragged(values: Values, offsets: Vec<Buffer<i32>>) -> Tensor {
    Tensor::Ragged(RaggedTensor::new(values, offsets, None))
}

/// Strings as the dataset gives them.
fn strings(rows: &[Vec<String>]) -> Tensor {
    let strings: Vec<Vec<u8>> = rows.iter().flatten().map(|string| string.clone().into_bytes()).collect();
    let bytes: Vec<i8> = strings.iter().flatten().map(|&byte| byte as i8).collect();
    ragged(Values::I8(bytes.into()), vec![offsets(rows).into(), offsets(&strings).into()])
}
