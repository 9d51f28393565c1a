//! Sums and means of a segment's embeddings (SPEC 3.8), forward and backward, f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::recis_denominator;
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::{Result, ops::cpu};

pub use super::lookup::{Lookup, Occurrences, Place};

/// What a segment's weighted sum of embeddings is divided by. An empty segment gives 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denominator {
    /// Nothing: the result is the sum.
    One,
    /// The sum of the segment's weights.
    Weights,
    /// The number of the segment's ids.
    Count,
}

/// Writes `Σ wᵢ eᵢ / denominator` of every segment to `out`, at `place`. `weights`, one for each id
/// of the feature, count as 1 if there are none.
pub fn forward(
    lookup: &Lookup<'_>,
    weights: Option<&Buffer<f32>>,
    denominator: Denominator,
    out: &mut Buffer<f32>,
    place: Place,
    stream: &Stream,
) -> Result<()> {
    check(lookup, weights, out.len(), place)?;
    match stream.device() {
        Device::Cpu => {
            let weights = weights.map(Buffer::on_cpu).transpose()?;
            cpu::combine::forward(&lookup.host()?, weights, denominator, out.on_cpu_mut()?, place);
            Ok(())
        }
        _ => {
            let (lookup, weights) = (lookup.raw(stream)?, weights_on(weights, stream)?);
            let (denominator, (first, stride)) = (denominator.raw(), place.raw());
            let out = out.on_mut(stream)?;
            launch!(stream, recis_combine_forward(&lookup, weights, denominator, out, first, stride))
        }
    }
}

/// Adds the gradient of the embeddings, summed over the ids that share one, to `d_embeddings`
/// [unique, dim]. `d_out` is laid out as in [`forward`]. The order of summation is fixed.
pub fn backward(
    lookup: &Lookup<'_>,
    weights: Option<&Buffer<f32>>,
    denominator: Denominator,
    d_out: &Buffer<f32>,
    place: Place,
    d_embeddings: &mut Buffer<f32>,
    stream: &Stream,
) -> Result<()> {
    check(lookup, weights, d_out.len(), place)?;
    ensure(d_embeddings.len() == lookup.embeddings.len(), "combine", || {
        format!("{} gradients for {} embedding values", d_embeddings.len(), lookup.embeddings.len())
    })?;
    match stream.device() {
        Device::Cpu => {
            let (weights, d_embeddings) =
                (weights.map(Buffer::on_cpu).transpose()?, d_embeddings.on_cpu_mut()?);
            cpu::combine::backward(
                &lookup.host()?,
                weights,
                denominator,
                d_out.on_cpu()?,
                place,
                d_embeddings,
            );
            Ok(())
        }
        _ => {
            let (raw, weights) = (lookup.raw(stream)?, weights_on(weights, stream)?);
            let occurrences = lookup.raw_occurrences("combine", stream)?;
            let mut scratch = workspace!(stream, recis_combine_backward_workspace_size(&raw, &occurrences))?;
            let (denominator, (first, stride)) = (denominator.raw(), place.raw());
            let (d_out, d_embeddings) = (d_out.on(stream)?, d_embeddings.on_mut(stream)?);
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_combine_backward(
                    &raw,
                    &occurrences,
                    weights,
                    denominator,
                    d_out,
                    first,
                    stride,
                    d_embeddings,
                    scratch,
                    bytes
                )
            )
        }
    }
}

impl Denominator {
    fn raw(self) -> recis_denominator {
        match self {
            Self::One => recis_denominator::RECIS_ONE,
            Self::Weights => recis_denominator::RECIS_WEIGHTS,
            Self::Count => recis_denominator::RECIS_COUNT,
        }
    }
}

fn weights_on(weights: Option<&Buffer<f32>>, stream: &Stream) -> Result<*const f32> {
    weights.map_or(Ok(std::ptr::null()), |weights| weights.on(stream))
}

fn check(lookup: &Lookup<'_>, weights: Option<&Buffer<f32>>, out: usize, place: Place) -> Result<()> {
    lookup.check("combine")?;
    place.check("combine", lookup.segments(), lookup.dim, out)?;
    let ids = match lookup.offsets.device() {
        Device::Cpu => lookup.offsets.on_cpu()?.last().copied().unwrap_or(0) as usize,
        _ => lookup.ids,
    };
    ensure(weights.is_none_or(|weights| weights.len() >= ids), "combine", || {
        format!("{} weights for {ids} ids", weights.map_or(0, Buffer::len))
    })
}
