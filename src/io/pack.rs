//! Joins parts of columns into the tensors of a batch: the one copy after decoding.

use std::ops::Range;
use std::sync::Arc;

use super::column::{Numbers, Part, Shape};
use crate::device::{Buffer, Device, Element, Stream};
use crate::{DenseTensor, RaggedTensor, Tensor, Values};

/// Some rows of a part.
pub type Slice = (Arc<Part>, Range<usize>);

/// One column of a batch from its pieces, of which there is at least one; all have the same form. It
/// lies in host memory from which the stream's device can copy it.
///
/// Errors: a level of lists, or the values, number more than offsets of 32 bits can count; no memory.
pub fn pack(pieces: &[Slice], stream: &Stream) -> Result<Tensor, String> {
    let rows = pieces.iter().map(|(_, rows)| rows.len()).sum();
    let (first, _) = &pieces[0];
    let Shape::Ragged(levels) = &first.shape else {
        let Shape::Dense(width) = first.shape else { unreachable!("the other shape") };
        let bounds: Vec<_> = pieces.iter().map(|(_, rows)| rows.start * width..rows.end * width).collect();
        return Ok(Tensor::Dense(DenseTensor { values: values(pieces, &bounds, stream)?, rows, width }));
    };

    let mut bounds: Vec<_> = pieces.iter().map(|(_, rows)| rows.clone()).collect();
    let mut offsets = Vec::with_capacity(levels.len());
    for level in 0..levels.len() {
        offsets.push(stage(join_offsets(pieces, level, &mut bounds)?, stream)?);
    }
    let weights = first.weights.is_some().then(|| {
        let missing = "every part of a column has weights";
        join(pieces, &bounds, |part| part.weights.as_deref().expect(missing), stream)
    });
    Ok(Tensor::Ragged(RaggedTensor::new(values(pieces, &bounds, stream)?, offsets, weights.transpose()?)))
}

/// The offsets of one level, counted on from piece to piece. `bounds` are the lists of each piece
/// and become the range of what those lists hold.
fn join_offsets(pieces: &[Slice], level: usize, bounds: &mut [Range<usize>]) -> Result<Vec<i32>, String> {
    let mut joined = Vec::with_capacity(bounds.iter().map(Range::len).sum::<usize>() + 1);
    let mut end = 0i32;
    joined.push(end);
    for ((part, _), bounds) in pieces.iter().zip(bounds) {
        let Shape::Ragged(levels) = &part.shape else { unreachable!("all pieces have the same form") };
        let offsets = &levels[level][bounds.start..=bounds.end];
        let (first, last) = (offsets[0], offsets[bounds.len()]);
        let shift = end;
        end = shift
            .checked_add(last - first)
            .ok_or("more than 2^31 values in one batch; use a smaller batch_size")?;
        joined.extend(offsets[1..].iter().map(|offset| offset - first + shift));
        *bounds = first as usize..last as usize;
    }
    Ok(joined)
}

fn values(pieces: &[Slice], bounds: &[Range<usize>], stream: &Stream) -> Result<Values, String> {
    // Each arm names a type once; that all pieces have the first one's is a column's nature.
    macro_rules! join_as {
        ($variant:ident) => {
            join(
                pieces,
                bounds,
                |part| match &part.values {
                    Numbers::$variant(values) => values,
                    _ => unreachable!("all pieces have the same type"),
                },
                stream,
            )
            .map(Values::$variant)
        };
    }
    match pieces[0].0.values {
        Numbers::F32(_) => join_as!(F32),
        Numbers::F64(_) => join_as!(F64),
        Numbers::I64(_) => join_as!(I64),
        Numbers::I8(_) => join_as!(I8),
    }
}

fn join<'a, T: Element>(
    pieces: &'a [Slice],
    bounds: &[Range<usize>],
    values: impl Fn(&'a Part) -> &'a [T],
    stream: &Stream,
) -> Result<Buffer<T>, String> {
    let len = bounds.iter().map(Range::len).sum();
    let mut joined = Buffer::staging(len, stream).map_err(|e| e.to_string())?;
    for ((part, _), bounds) in pieces.iter().zip(bounds) {
        joined.extend_from_slice(&values(part)[bounds.clone()]);
    }
    Ok(joined.finish())
}

fn stage(offsets: Vec<i32>, stream: &Stream) -> Result<Buffer<i32>, String> {
    if stream.device() == Device::Cpu {
        return Ok(offsets.into());
    }
    let mut staged = Buffer::staging(offsets.len(), stream).map_err(|e| e.to_string())?;
    staged.extend_from_slice(&offsets);
    Ok(staged.finish())
}
