//! Ragged columns as dense ones and back (SPEC 1.5), and the values of a ragged column at positions
//! that were found in its dense form.

use crate::device::{Buffer, Device, Element, Stream};
use crate::error::ensure;
use crate::ops::check_offsets;
use crate::ops::launch::only_cpu;
use crate::{Result, ops::cpu};

pub use super::truncate::Side;

/// Values in rows of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense<T: Element> {
    /// As many values as the shape says.
    pub values: Buffer<T>,
    /// Outermost dimension first: rows, then the length of the longest list of each level.
    pub shape: Vec<usize>,
}

/// Values in rows of lengths of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Ragged<T: Element> {
    /// All values, row after row.
    pub values: Buffer<T>,
    /// Prefix sums of each level, outermost first.
    pub offsets: Vec<Buffer<i32>>,
}

/// Pads every list of every level with `default` to the longest of its level. `offsets` are prefix
/// sums, outermost level first.
///
/// # Errors
/// No level, offsets that do not fit the level below them, and a result that no memory can hold.
pub fn to_dense<T: Element>(
    values: &Buffer<T>,
    offsets: &[&Buffer<i32>],
    default: T,
    stream: &Stream,
) -> Result<Dense<T>> {
    ensure(!offsets.is_empty(), "ragged_dense", || "no offsets".into())?;
    for (level, level_offsets) in offsets.iter().enumerate() {
        let below = offsets.get(level + 1).map_or(values.len(), |below| below.len().saturating_sub(1));
        check_offsets("ragged_dense", level_offsets, below)?;
    }
    match stream.device() {
        Device::Cpu => {
            let offsets = offsets.iter().map(|level| level.on_cpu()).collect::<Result<Vec<_>>>()?;
            let shape = cpu::ragged_dense::shape(&offsets);
            let bytes = (shape.iter()).try_fold(size_of::<T>(), |bytes, &dim| bytes.checked_mul(dim));
            ensure(bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok()), "ragged_dense", || {
                format!("a dense column of shape {shape:?} does not fit in memory")
            })?;
            let values = cpu::ragged_dense::to_dense(values.on_cpu()?, &offsets, &shape, default);
            Ok(Dense { values: values.into(), shape })
        }
        device => Err(only_cpu("ragged_dense", device)),
    }
}

/// Takes the innermost lists of `dense` apart. With an `invalid` value, those at the end of a list are
/// dropped; others stay.
///
/// # Errors
/// Fewer than two dimensions, a shape that does not fit the values, and more than 2^31 - 1 values.
pub fn from_dense<T: Element>(dense: &Dense<T>, invalid: Option<T>, stream: &Stream) -> Result<Ragged<T>> {
    let Dense { values, shape } = dense;
    // How many lists each level has, and at last the values; a 0 would hide them from the product.
    let mut counts = vec![1usize];
    counts.extend(shape.iter().scan(1usize, |count, &dim| {
        *count = count.saturating_mul(dim);
        Some(*count)
    }));
    ensure(shape.len() > 1 && counts[shape.len()] == values.len(), "ragged_dense", || {
        format!("{} values do not make rows of shape {shape:?}", values.len())
    })?;
    ensure(counts.iter().all(|&count| i32::try_from(count).is_ok()), "ragged_dense", || {
        format!("shape {shape:?} has more than 2^31 - 1 lists or values")
    })?;
    match stream.device() {
        Device::Cpu => {
            let (values, offsets) = cpu::ragged_dense::from_dense(values.on_cpu()?, shape, invalid);
            Ok(Ragged { values: values.into(), offsets: offsets.into_iter().map(Buffer::from).collect() })
        }
        device => Err(only_cpu("ragged_dense", device)),
    }
}

/// How rows were cut or padded to one length.
#[derive(Clone, Copy)]
pub struct Cutoff<'a> {
    /// Where each row began and ended before: one entry more than there are rows, ascending from 0.
    pub offsets: &'a Buffer<i32>,
    /// How many values each row has lost.
    pub drop_num: &'a Buffer<i32>,
    /// On which side.
    pub drop_side: Side,
    /// How many values each row was padded with.
    pub pad_num: &'a Buffer<i32>,
    /// On which side.
    pub pad_side: Side,
}

impl<'a> Cutoff<'a> {
    fn host(&self) -> Result<cpu::ragged_dense::Cutoff<'a>> {
        let Self { offsets, drop_num, drop_side, pad_num, pad_side } = *self;
        let (offsets, drop_num, pad_num) = (offsets.on_cpu()?, drop_num.on_cpu()?, pad_num.on_cpu()?);
        Ok(cpu::ragged_dense::Cutoff { offsets, drop_num, drop_side, pad_num, pad_side })
    }
}

/// Where the values at `topk` positions of the cut rows are in the ragged column, and the offsets of
/// the rows that they make. `topk` is [`indicator.len()`, k], positions in the cut row that
/// `indicator` names; those of padding and beyond the row are passed over.
///
/// # Errors
/// Sizes that do not fit together, negative counts, and rows that do not exist.
pub fn topk_index(
    cutoff: &Cutoff<'_>,
    topk: &Buffer<i64>,
    k: usize,
    indicator: &Buffer<i64>,
    stream: &Stream,
) -> Result<Ragged<i64>> {
    let rows = cutoff.offsets.len().saturating_sub(1);
    check_offsets("ragged_dense", cutoff.offsets, usize::MAX)?;
    let (drop_num, pad_num) = (cutoff.drop_num, cutoff.pad_num);
    ensure(drop_num.len() == rows && pad_num.len() == rows, "ragged_dense", || {
        format!("{rows} rows have {} drop_num and {} pad_num", drop_num.len(), pad_num.len())
    })?;
    let positions = indicator.len().checked_mul(k);
    ensure(k > 0 && positions == Some(topk.len()), "ragged_dense", || {
        format!("{} positions for {} rows of {k}", topk.len(), indicator.len())
    })?;
    ensure(i32::try_from(topk.len()).is_ok(), "ragged_dense", || {
        format!("{} positions, above 2^31 - 1", topk.len())
    })?;
    match stream.device() {
        Device::Cpu => {
            let (cutoff, indicator) = (cutoff.host()?, indicator.on_cpu()?);
            let negative = cutoff.drop_num.iter().chain(cutoff.pad_num).find(|&&n| n < 0);
            ensure(negative.is_none(), "ragged_dense", || {
                format!("a count of {}", negative.copied().unwrap_or_default())
            })?;
            let outside = indicator.iter().find(|&&row| !(0..rows as i64).contains(&row));
            ensure(outside.is_none(), "ragged_dense", || {
                format!("row {} of {rows}", outside.copied().unwrap_or_default())
            })?;
            let (values, offsets) = cpu::ragged_dense::topk_index(&cutoff, topk.on_cpu()?, k, indicator);
            Ok(Ragged { values: values.into(), offsets: vec![offsets.into()] })
        }
        device => Err(only_cpu("ragged_dense", device)),
    }
}
