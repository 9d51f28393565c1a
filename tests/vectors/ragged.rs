//! Ragged columns as dense ones and back.

use recis::device::{Buffer, Device};
use recis::ops::ragged_dense::{Cutoff, Dense, Side, from_dense, to_dense, topk_index};
use serde::Deserialize;
use serde_json::Value;

use super::case::{Outcome, Tolerance, parse, same, same_all, stream};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "snake_case")]
enum Case {
    RaggedToDense {
        values: Vec<i64>,
        offsets: Vec<Vec<i32>>,
        default: i64,
        dense: Value,
    },
    DenseToRagged {
        dense: Value,
        invalid_value: Option<i64>,
        values: Vec<i64>,
        offsets: Offsets,
    },
    TopkIndex {
        offset: Vec<i32>,
        drop_num: Vec<i32>,
        pad_num: Vec<i32>,
        drop_side_left: bool,
        pad_side_left: bool,
        topk_index: Vec<Vec<i64>>,
        indicator: Vec<i64>,
        value_index: Vec<i64>,
        out_offset: Vec<i32>,
    },
}

/// One level, or all of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Offsets {
    One(Vec<i32>),
    All(Vec<Vec<i32>>),
}

pub fn dense(case: &Value, _: &Tolerance) -> Outcome {
    let stream = stream();
    if stream.device() != Device::Cpu {
        return Ok(()); // it has only a CPU form
    }
    match parse(case)? {
        Case::RaggedToDense { values, offsets, default, dense } => {
            let offsets: Vec<Buffer<i32>> = offsets.into_iter().map(Buffer::from).collect();
            let found = to_dense(&values.into(), &offsets.iter().collect::<Vec<_>>(), default, &stream)?;
            same("dense", dense, nested(found.values.host(), &found.shape))
        }
        Case::DenseToRagged { dense, invalid_value, values, offsets } => {
            let dense = Dense { shape: shape(&dense), values: leaves(&dense)?.into() };
            let found = from_dense(&dense, invalid_value, &stream)?;
            same_all("values", &values, found.values.host())?;
            let expected = match offsets {
                Offsets::One(level) => vec![level],
                Offsets::All(levels) => levels,
            };
            let levels: Vec<_> = found.offsets.iter().map(|level| level.host().to_vec()).collect();
            same_all("offsets", &expected, &levels)
        }
        Case::TopkIndex {
            offset,
            drop_num,
            pad_num,
            drop_side_left,
            pad_side_left,
            topk_index: topk,
            indicator,
            value_index,
            out_offset,
        } => {
            let side = |left| if left { Side::Left } else { Side::Right };
            let (offsets, drop_num, pad_num) = (offset.into(), drop_num.into(), pad_num.into());
            let cutoff = Cutoff {
                offsets: &offsets,
                drop_num: &drop_num,
                drop_side: side(drop_side_left),
                pad_num: &pad_num,
                pad_side: side(pad_side_left),
            };
            let k = topk.first().map_or(1, Vec::len);
            let found = topk_index(&cutoff, &topk.concat().into(), k, &indicator.into(), &stream)?;
            same_all("value_index", &value_index, found.values.host())?;
            same("the number of levels", 1, found.offsets.len())?;
            same_all("out_offset", &out_offset, found.offsets[0].host())
        }
    }
}

/// Values as lists in lists.
fn nested(values: &[i64], shape: &[usize]) -> Value {
    let [first, inner @ ..] = shape else { return values[0].into() };
    let width = inner.iter().product::<usize>();
    Value::Array((0..*first).map(|i| nested(&values[i * width..][..width], inner)).collect())
}

/// The lengths of lists in lists; those of the first stand for all.
fn shape(value: &Value) -> Vec<usize> {
    let list = |value: &Value| value.as_array().cloned();
    std::iter::successors(list(value), |outer| outer.first().and_then(list)).map(|list| list.len()).collect()
}

fn leaves(value: &Value) -> Outcome<Vec<i64>> {
    match value {
        Value::Array(lists) => Ok(lists.iter().map(leaves).collect::<Outcome<Vec<_>>>()?.concat()),
        number => Ok(vec![parse(number)?]),
    }
}
