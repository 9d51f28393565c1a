//! Sums and means of a segment's embeddings (SPEC 3.8), forward and backward, f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Result, ops::cpu};

pub use super::lookup::{Lookup, Place};

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
            let weights = weights.map(Buffer::host);
            cpu::combine::forward(&lookup.host(), weights, denominator, out.host_mut(), place);
        }
    }
    Ok(())
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
            let (weights, d_embeddings) = (weights.map(Buffer::host), d_embeddings.host_mut());
            cpu::combine::backward(&lookup.host(), weights, denominator, d_out.host(), place, d_embeddings);
        }
    }
    Ok(())
}

fn check(lookup: &Lookup<'_>, weights: Option<&Buffer<f32>>, out: usize, place: Place) -> Result<()> {
    lookup.check("combine")?;
    place.check("combine", lookup.segments(), lookup.dim, out)?;
    let ids = match lookup.offsets.device() {
        Device::Cpu => lookup.offsets.host().last().copied().unwrap_or(0) as usize,
    };
    ensure(weights.is_none_or(|weights| weights.len() >= ids), "combine", || {
        format!("{} weights for {ids} ids", weights.map_or(0, Buffer::len))
    })
}
