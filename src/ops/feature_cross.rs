//! The product of two columns of ids (SPEC 2.4).

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::recis_ragged;
use crate::ops::check_offsets;
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::{Result, ops::cpu};

/// One of the two columns.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Any 64 bits each.
    pub values: &'a Buffer<i64>,
    /// Where each row begins and ends: one entry more than there are rows, ascending from 0.
    pub offsets: &'a Buffer<i32>,
    /// One weight a value; none: all 1.
    pub weights: Option<&'a Buffer<f32>>,
    /// No row has more values, if that is known.
    pub longest: Option<usize>,
}

/// The most pairs that a device is given room for without asking it how many there are.
const MOST_FORESEEN: usize = 1 << 26;

impl<'a> Side<'a> {
    fn rows(self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn raw(self, stream: &Stream) -> Result<recis_ragged> {
        Ok(recis_ragged {
            values: self.values.on(stream)?,
            offsets: self.offsets.on(stream)?,
            weights: self.weights.map_or(Ok(std::ptr::null()), |weights| weights.on(stream))?,
            rows: self.rows() as i64,
            capacity: self.values.len() as i64,
        })
    }

    fn host(self) -> Result<cpu::feature_cross::Side<'a>> {
        Ok(cpu::feature_cross::Side {
            values: self.values.on_cpu()?,
            offsets: self.offsets.on_cpu()?,
            weights: self.weights.map(Buffer::on_cpu).transpose()?,
        })
    }
}

/// The crossed column, always weighted; there may be room for more pairs than it has.
#[derive(Debug, Default, PartialEq)]
pub struct Crossed {
    /// Hashes of pairs.
    pub values: Buffer<i64>,
    /// Where each row begins and ends.
    pub offsets: Buffer<i32>,
    /// The product of the pair's weights.
    pub weights: Buffer<f32>,
}

/// Crosses rows of `x` and `y`, as many as the shorter has. The id of a pair is MurmurHash64A of both
/// ids' bytes. Within a row either side's ids count once, with the weight of their first occurrence,
/// in ascending order; `x` is the outer loop. Rows of one value each are crossed as they are.
///
/// # Errors
/// Sizes that do not fit together, and more than 2^31 - 1 pairs.
pub fn forward(x: Side<'_>, y: Side<'_>, stream: &Stream) -> Result<Crossed> {
    for side in [x, y] {
        check_offsets("feature_cross", side.offsets, side.values.len())?;
        ensure(side.weights.is_none_or(|w| w.len() == side.values.len()), "feature_cross", || {
            format!("{} weights for {} values", side.weights.map_or(0, Buffer::len), side.values.len())
        })?;
    }
    match stream.device() {
        Device::Cpu => {
            let (x, y) = (x.host()?, y.host()?);
            let offsets = cpu::feature_cross::offsets(&x, &y);
            let pairs = offsets.last().copied().unwrap_or(0);
            let offsets: Vec<i32> =
                offsets.into_iter().map_while(|offset| i32::try_from(offset).ok()).collect();
            ensure(i32::try_from(pairs).is_ok(), "feature_cross", || {
                format!("{pairs} pairs in a batch, above 2^31 - 1")
            })?;
            let (mut values, mut weights) = (vec![0; pairs as usize], vec![0.0; pairs as usize]);
            cpu::feature_cross::forward(&x, &y, &offsets, &mut values, &mut weights);
            Ok(Crossed { values: values.into(), offsets: offsets.into(), weights: weights.into() })
        }
        _ => {
            let foreseen = x
                .longest
                .zip(y.longest)
                .and_then(|(x_len, y_len)| x_len.checked_mul(y_len)?.checked_mul(x.rows().min(y.rows())));
            if let Some(capacity) = foreseen.filter(|&capacity| capacity <= MOST_FORESEEN) {
                return Ok(cross(x, y, capacity, stream)?.0);
            }
            // The device counts first.
            let (_, pairs) = cross(x, y, 0, stream)?;
            let pairs = pairs.to_vec(stream)?[0];
            ensure(i32::try_from(pairs).is_ok(), "feature_cross", || {
                format!("{pairs} pairs in a batch, above 2^31 - 1")
            })?;
            Ok(cross(x, y, pairs as usize, stream)?.0)
        }
    }
}

/// Crosses on a device, with room for `capacity` pairs; tells how many there are.
fn cross(x: Side<'_>, y: Side<'_>, capacity: usize, stream: &Stream) -> Result<(Crossed, Buffer<i64>)> {
    let rows = x.rows().min(y.rows());
    let (x, y) = (x.raw(stream)?, y.raw(stream)?);
    let mut scratch =
        workspace!(stream, recis_feature_cross_workspace_size(rows as i64, x.capacity, y.capacity))?;
    let mut crossed = Crossed {
        values: Buffer::unset(capacity, stream)?,
        offsets: Buffer::unset(rows + 1, stream)?,
        weights: Buffer::unset(capacity, stream)?,
    };
    let mut pairs = Buffer::unset(1, stream)?;
    let (values, offsets) = (crossed.values.on_mut(stream)?, crossed.offsets.on_mut(stream)?);
    let (weights, out_pairs) = (crossed.weights.on_mut(stream)?, pairs.on_mut(stream)?);
    let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
    launch!(
        stream,
        recis_feature_cross_forward(
            &x,
            &y,
            values,
            offsets,
            weights,
            capacity as i64,
            out_pairs,
            scratch,
            bytes
        )
    )?;
    Ok((crossed, pairs))
}
