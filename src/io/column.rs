//! One column of a run of rows, from what was decoded to what a batch is packed from.
//!
//! Values that need no conversion stay in the memory they were decoded into.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{Array, ArrayRef, ListArray, StringArray};
use arrow_buffer::{ArrowNativeType, ScalarBuffer};
use arrow_schema::DataType;

use super::feature::{Feature, Form, string_id};
use super::{Dtype, Varlen};

/// A column of some rows, ready to be cut and joined into batches.
#[derive(Debug)]
pub struct Part {
    pub rows: usize,
    pub values: Numbers,
    pub shape: Shape,
    /// One weight per value.
    pub weights: Option<ScalarBuffer<f32>>,
}

/// How values belong to rows.
#[derive(Debug)]
pub enum Shape {
    /// Each row has this many.
    Dense(usize),
    /// As in [`crate::RaggedTensor`].
    Ragged(Vec<ScalarBuffer<i32>>),
}

/// Values of one type.
#[derive(Debug)]
pub enum Numbers {
    F32(ScalarBuffer<f32>),
    F64(ScalarBuffer<f64>),
    I64(ScalarBuffer<i64>),
    I8(ScalarBuffer<i8>),
}

/// What is wrong with the data, and in which row of the part.
#[derive(Debug)]
pub struct BadRow {
    pub row: usize,
    pub what: String,
}

impl Part {
    /// Converts what was decoded from a column that [`Feature::locate`] has found to fit.
    pub fn new(feature: &Feature, decoded: &ArrayRef) -> Result<Self, BadRow> {
        let rows = decoded.len();
        match &feature.form {
            Form::Fixed { default } => {
                let values = fixed(default, feature.dtype, decoded.as_list())?;
                Ok(Self { rows, values, shape: Shape::Dense(default.len()), weights: None })
            }
            Form::Varlen(varlen) => {
                let mut offsets = Vec::new();
                let leaf = innermost(decoded, &mut offsets)?;
                let (values, weights) = match leaf.data_type() {
                    DataType::Utf8 => (strings(varlen, leaf.as_string(), &mut offsets), None),
                    DataType::Struct(_) => {
                        let (value, weight) = (leaf.as_struct().column(0), leaf.as_struct().column(1));
                        no_nulls(value, &offsets)?;
                        no_nulls(weight, &offsets)?;
                        let weights = match numbers(weight, Dtype::F32) {
                            Numbers::F32(weights) => weights,
                            Numbers::I64(weights) => weights.iter().map(|&w| w as f32).collect(),
                            Numbers::F64(_) | Numbers::I8(_) => {
                                unreachable!("weights are read as f32 or i64")
                            }
                        };
                        (numbers(value, feature.dtype), Some(weights))
                    }
                    _ => (numbers(leaf, feature.dtype), None),
                };
                Ok(Self { rows, values, shape: Shape::Ragged(offsets), weights })
            }
        }
    }
}

/// Follows lists inwards, collects their offsets, and answers what is inside, which has no nulls.
fn innermost<'a>(
    mut array: &'a ArrayRef,
    offsets: &mut Vec<ScalarBuffer<i32>>,
) -> Result<&'a ArrayRef, BadRow> {
    while let Some(list) = array.as_list_opt::<i32>() {
        // The offsets of a null list are those of an empty one.
        offsets.push(list.offsets().inner().clone());
        array = list.values();
        no_nulls(array, offsets)?;
    }
    Ok(array)
}

/// Fails with the row of the first null.
fn no_nulls(array: &ArrayRef, offsets: &[ScalarBuffer<i32>]) -> Result<(), BadRow> {
    let first = array.nulls().and_then(|nulls| nulls.inner().iter().position(|valid| !valid));
    let Some(mut index) = first else { return Ok(()) };
    for level in offsets.iter().rev() {
        index = level.partition_point(|&start| start as usize <= index) - 1;
    }
    Err(BadRow { row: index, what: "a null element; only whole rows may be null".into() })
}

/// Rows of `default.len()` values. The common case, in which every row has them, copies nothing.
fn fixed(default: &[f64], dtype: Dtype, list: &ListArray) -> Result<Numbers, BadRow> {
    let width = default.len();
    no_nulls(list.values(), &[list.offsets().inner().clone()])?;
    let values = numbers(list.values(), dtype);
    let mut empty = 0;
    for (row, bounds) in list.offsets().windows(2).enumerate() {
        match (bounds[1] - bounds[0]) as usize {
            length if length == width => {}
            0 => empty += 1,
            length => {
                let what = format!("{length} values where the default has {width}; 0 or {width} are allowed");
                return Err(BadRow { row, what });
            }
        }
    }
    if empty == 0 {
        return Ok(values);
    }
    let offsets = list.offsets();
    Ok(match values {
        Numbers::F32(values) => Numbers::F32(filled(&values, offsets, default, |value| value as f32)),
        Numbers::F64(values) => Numbers::F64(filled(&values, offsets, default, |value| value)),
        Numbers::I64(values) => Numbers::I64(filled(&values, offsets, default, |value| value as i64)),
        Numbers::I8(_) => unreachable!("a fixedlen feature is checked to be a list of numbers"),
    })
}

/// `values` with `default` in the place of each empty row.
fn filled<T: ArrowNativeType>(
    values: &[T],
    offsets: &[i32],
    default: &[f64],
    cast: impl Fn(f64) -> T,
) -> ScalarBuffer<T> {
    let default: Vec<T> = default.iter().map(|&value| cast(value)).collect();
    let mut out = Vec::with_capacity((offsets.len() - 1) * default.len());
    for bounds in offsets.windows(2) {
        match &values[bounds[0] as usize..bounds[1] as usize] {
            [] => out.extend_from_slice(&default),
            row => out.extend_from_slice(row),
        }
    }
    out.into()
}

/// Floats as `dtype`, integers as i64.
fn numbers(array: &ArrayRef, dtype: Dtype) -> Numbers {
    fn cast<A: ArrowPrimitiveType, T: ArrowNativeType>(
        array: &ArrayRef,
        cast: impl Fn(A::Native) -> T,
    ) -> ScalarBuffer<T> {
        array.as_primitive::<A>().values().iter().map(|&value| cast(value)).collect::<Vec<_>>().into()
    }
    match (array.data_type(), dtype) {
        (DataType::Float32, Dtype::F32) => Numbers::F32(array.as_primitive::<Float32Type>().values().clone()),
        (DataType::Float32, Dtype::F64) => Numbers::F64(cast::<Float32Type, _>(array, f64::from)),
        (DataType::Float64, Dtype::F32) => Numbers::F32(cast::<Float64Type, _>(array, |value| value as f32)),
        (DataType::Float64, Dtype::F64) => Numbers::F64(array.as_primitive::<Float64Type>().values().clone()),
        (DataType::Int64, _) => Numbers::I64(array.as_primitive::<Int64Type>().values().clone()),
        (DataType::Int32, _) => Numbers::I64(cast::<Int32Type, _>(array, i64::from)),
        (DataType::Int16, _) => Numbers::I64(cast::<Int16Type, _>(array, i64::from)),
        (DataType::Int8, _) => Numbers::I64(cast::<Int8Type, _>(array, i64::from)),
        (other, _) => unreachable!("{other} is refused when the file is opened"),
    }
}

/// Ids of the strings, or their bytes and one more level of offsets.
fn strings(varlen: &Varlen, strings: &StringArray, offsets: &mut Vec<ScalarBuffer<i32>>) -> Numbers {
    if let Some(hash) = varlen.hash_type {
        let bytes = strings.values().as_slice();
        let bounds = strings.offsets().windows(2).map(|o| o[0] as usize..o[1] as usize);
        let ids: Vec<_> = bounds.map(|bounds| string_id(hash, varlen.hash_bucket, &bytes[bounds])).collect();
        return Numbers::I64(ids.into());
    }
    offsets.push(strings.offsets().inner().clone());
    Numbers::I8(ScalarBuffer::new(strings.values().clone(), 0, strings.values().len()))
}
