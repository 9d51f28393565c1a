//! The operators on tensors: checks what a column holds, then calls the operation once for all
//! columns.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::op::{Bucketize, Hash, Mod, SelectField, SequenceTruncate};
use crate::device::{Buffer, Stream};
use crate::ops::copy_column::{self, Place};
use crate::ops::unfit::Unfit;
use crate::ops::{bucketize, feature_cross, modulo, string_hash, truncate};
use crate::tensor::{Batch, DenseTensor, RaggedTensor, Tensor, Values};
use crate::{Error, Result};

/// A column on its way through an operator, and the feature it belongs to.
pub(super) struct Input<'a, O> {
    pub feature: &'a str,
    pub op: &'a O,
    /// Of the `Mod` that runs with it.
    pub modulus: Option<NonZeroU64>,
    pub tensor: Arc<Tensor>,
}

impl<O> Input<'_, O> {
    fn unfit<T>(&self, what: &str) -> Result<T> {
        unfit(self.feature, what, &self.tensor)
    }

    fn ids(&self, what: &str) -> Result<&Buffer<i64>> {
        match self.tensor.values() {
            Values::I64(ids) => Ok(ids),
            _ => self.unfit(what),
        }
    }
}

fn unfit<T>(feature: &str, what: &str, tensor: &Tensor) -> Result<T> {
    let what = format!("{what}, this is {}", tensor.describe());
    Err(Error::Data { place: format!("feature '{feature}'"), what })
}

pub(super) fn select(feature: &str, field: &SelectField, batch: &Batch) -> Result<Arc<Tensor>> {
    let tensor = batch.get(&field.name)?;
    match (field.dim, tensor.as_ref()) {
        (Some(dim), tensor) if !matches!(tensor, Tensor::Dense(dense) if dense.width == dim) => {
            let what = format!("SelectField wants {dim} values in every row of column '{}'", field.name);
            unfit(feature, &what, tensor)
        }
        _ => Ok(tensor.clone()),
    }
}

/// `boundaries`: of each input, on the stream's device.
pub(super) fn bucketize(
    inputs: &[Input<'_, Bucketize>],
    boundaries: Vec<Buffer<f32>>,
    stream: &Stream,
) -> Result<Vec<Tensor>> {
    let mut columns = Vec::new();
    for (input, boundaries) in inputs.iter().zip(boundaries) {
        let values = match input.tensor.values() {
            Values::F32(values) => Cow::Borrowed(values),
            Values::F64(values) => Cow::Owned(rounded(values, stream)?),
            _ => return input.unfit("Bucketize needs floats"),
        };
        let out = Buffer::unset(values.len(), stream)?;
        columns.push((values, boundaries, out));
    }
    let mut calls: Vec<_> = (columns.iter_mut())
        .map(|(values, boundaries, out)| bucketize::Column { values, boundaries, out })
        .collect();
    bucketize::forward(&mut calls, stream)?;
    Ok(replace(inputs, columns.into_iter().map(|(_, _, out)| out)))
}

/// Floats as f32.
fn rounded(values: &Buffer<f64>, stream: &Stream) -> Result<Buffer<f32>> {
    let mut rounded = Buffer::unset(values.len(), stream)?;
    let (column, place) = (copy_column::Column::F64(values), Place { first_column: 0, stride: 1 });
    // Values that are not finite have their bucket too.
    copy_column::forward(column, 1, &mut rounded, place, Unfit::ignored(stream)?.word(0), stream)?;
    Ok(rounded)
}

pub(super) fn modulo(inputs: &[Input<'_, Mod>], stream: &Stream) -> Result<Vec<Tensor>> {
    let mut columns = Vec::new();
    for input in inputs {
        let values = input.ids(NEEDS_IDS)?;
        columns.push((values, input.op.0, Buffer::unset(values.len(), stream)?));
    }
    let mut calls: Vec<_> = (columns.iter_mut())
        .map(|(values, modulus, out)| modulo::Column { values, modulus: *modulus, out })
        .collect();
    modulo::forward(&mut calls, stream)?;
    let outs: Vec<_> = columns.into_iter().map(|(_, _, out)| out).collect();
    Ok(replace(inputs, outs))
}

pub(super) fn hash(inputs: &[Input<'_, Hash>], stream: &Stream) -> Result<Vec<Tensor>> {
    let mut columns = Vec::new();
    for input in inputs {
        let Tensor::Ragged(RaggedTensor { values: Values::I8(bytes), offsets, .. }) = input.tensor.as_ref()
        else {
            return input.unfit("Hash needs strings read as bytes (trans_int8)");
        };
        let Some((strings, rows @ [_, ..])) = offsets.split_last() else {
            return input.unfit("Hash needs rows of strings");
        };
        let out = Buffer::unset(strings.len().saturating_sub(1), stream)?;
        columns.push((bytes, strings, (input.op.0, input.modulus), rows.to_vec(), out));
    }
    let mut calls: Vec<_> = (columns.iter_mut())
        .map(|(bytes, offsets, (hash_type, modulus), _, out)| string_hash::Column {
            bytes,
            offsets,
            hash_type: *hash_type,
            modulus: *modulus,
            out,
        })
        .collect();
    string_hash::forward(&mut calls, stream)?;
    let ragged =
        |offsets, out| RaggedTensor { values: Values::I64(out), offsets, weights: None, longest: None };
    let ragged = |offsets, out| Tensor::Ragged(ragged(offsets, out));
    Ok(columns.into_iter().map(|(_, _, _, offsets, out)| ragged(offsets, out)).collect())
}

const NEEDS_IDS: &str = "Mod needs ids";
const NEEDS_ROWS: &str = "SequenceTruncate needs rows of ids";

pub(super) fn truncate(
    inputs: &[Input<'_, SequenceTruncate>],
    batch: &Batch,
    stream: &Stream,
) -> Result<Vec<Tensor>> {
    let mut columns = Vec::new();
    for input in inputs {
        let Tensor::Ragged(RaggedTensor { values: Values::I64(values), offsets, weights, .. }) =
            input.tensor.as_ref()
        else {
            let is_of_ids = matches!(input.tensor.values(), Values::I64(_));
            let what = if input.modulus.is_some() && !is_of_ids { NEEDS_IDS } else { NEEDS_ROWS };
            return input.unfit(what);
        };
        let [offsets] = &offsets[..] else {
            return input.unfit("SequenceTruncate cuts rows of ids, not rows of lists");
        };
        let &SequenceTruncate { seq_len, truncate, truncate_side: side, check_length } = input.op;
        if !truncate && check_length {
            check_lengths(input.feature, offsets, seq_len, batch, stream)?;
        }
        // A row can keep all it has.
        let keep = if truncate { seq_len } else { usize::MAX };
        let (weights, modulus) = (weights.as_ref(), input.modulus);
        columns.push(truncate::Column { values, offsets, weights, keep, side, modulus });
    }
    let cut = truncate::forward(&columns, stream)?;
    let ragged = |(cut, keep): (truncate::Truncated, usize)| RaggedTensor {
        values: Values::I64(cut.values),
        offsets: vec![cut.offsets],
        weights: cut.weights,
        longest: (keep < usize::MAX).then_some(keep),
    };
    let keeps: Vec<usize> = columns.iter().map(|column| column.keep).collect();
    Ok(cut.into_iter().zip(keeps).map(|cut| Tensor::Ragged(ragged(cut))).collect())
}

fn check_lengths(
    feature: &str,
    offsets: &Buffer<i32>,
    seq_len: usize,
    batch: &Batch,
    stream: &Stream,
) -> Result<()> {
    let offsets = offsets.to_vec(stream)?;
    match offsets.windows(2).position(|ends| (ends[1] - ends[0]) as usize > seq_len) {
        None => Ok(()),
        Some(row) => Err(Error::Data {
            place: format!("feature '{feature}', {}", batch.place(row)),
            what: format!(
                "{} ids, above seq_len {seq_len}, and truncate is off",
                offsets[row + 1] - offsets[row]
            ),
        }),
    }
}

pub(super) fn cross(feature: &str, x: &Tensor, y: &Tensor, stream: &Stream) -> Result<Tensor> {
    fn side<'a>(feature: &str, tensor: &'a Tensor) -> Result<feature_cross::Side<'a>> {
        match tensor {
            Tensor::Ragged(RaggedTensor { values: Values::I64(values), offsets, weights, longest })
                if offsets.len() == 1 =>
            {
                let (offsets, weights, longest) = (&offsets[0], weights.as_ref(), *longest);
                Ok(feature_cross::Side { values, offsets, weights, longest })
            }
            _ => unfit(feature, "FeatureCross needs rows of ids", tensor),
        }
    }
    let crossed = feature_cross::forward(side(feature, x)?, side(feature, y)?, stream)?;
    Ok(Tensor::Ragged(RaggedTensor {
        values: Values::I64(crossed.values),
        offsets: vec![crossed.offsets],
        weights: Some(crossed.weights),
        longest: None,
    }))
}

/// The tensors with ids in the place of their values.
fn replace<O>(inputs: &[Input<'_, O>], outs: impl IntoIterator<Item = Buffer<i64>>) -> Vec<Tensor> {
    let with = |tensor: &Tensor, out| match tensor {
        Tensor::Dense(t) => {
            Tensor::Dense(DenseTensor { values: Values::I64(out), rows: t.rows, width: t.width })
        }
        Tensor::Ragged(t) => Tensor::Ragged(RaggedTensor {
            values: Values::I64(out),
            offsets: t.offsets.clone(),
            weights: t.weights.clone(),
            longest: t.longest,
        }),
    };
    inputs.iter().zip(outs).map(|(input, out)| with(&input.tensor, out)).collect()
}
