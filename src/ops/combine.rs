//! Sums and means of a segment's embeddings (SPEC 3.8), forward and backward, f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::{recis_combined, recis_combined_gradient, recis_denominator};
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

/// A feature to combine.
#[derive(Clone, Copy)]
pub struct Combined<'a> {
    /// The feature after its lookup.
    pub lookup: Lookup<'a>,
    /// One for each id of the feature; without, all count as 1.
    pub weights: Option<&'a Buffer<f32>>,
    /// What a segment's sum is divided by.
    pub denominator: Denominator,
    /// Where the feature's columns begin in the output.
    pub first_column: usize,
}

/// Writes `Σ wᵢ eᵢ / denominator` of every segment of each feature to `out` [segments, stride]. The features' columns
/// must not overlap; other columns are left as they are.
pub fn forward(
    features: &[Combined<'_>],
    out: &mut Buffer<f32>,
    stride: usize,
    stream: &Stream,
) -> Result<()> {
    features.iter().try_for_each(|feature| feature.check(out.len(), stride))?;
    check_apart(features)?;
    match stream.device() {
        Device::Cpu => features.iter().try_for_each(|feature| {
            let weights = feature.weights.map(Buffer::on_cpu).transpose()?;
            let (lookup, place) = (feature.lookup.host()?, feature.place(stride));
            cpu::combine::forward(&lookup, weights, feature.denominator, out.on_cpu_mut()?, place);
            Ok(())
        }),
        _ => {
            let features = features.iter().map(|feature| feature.raw(stream)).collect::<Result<Vec<_>>>()?;
            let (features, count) = (features.as_ptr(), features.len() as i64);
            let out = out.on_mut(stream)?;
            launch!(stream, recis_combine_forward(features, count, out, stride as i64))
        }
    }
}

/// The gradient of a combined feature.
#[derive(Clone, Copy)]
pub struct CombinedGradient<'a> {
    /// The feature.
    pub feature: Combined<'a>,
    /// [segments, stride], laid out as in [`forward`].
    pub d_out: &'a Buffer<f32>,
    /// Columns a row.
    pub stride: usize,
}

/// The gradients of embeddings that some features are combined of.
pub struct EmbeddingGradients<'a> {
    /// What they come from.
    pub gradients: Vec<CombinedGradient<'a>>,
    /// [unique, dim] of the features' lookups.
    pub d_embeddings: &'a mut Buffer<f32>,
}

/// Adds the gradients of the features' embeddings, summed over the ids that share one, to `d_embeddings`. The order of
/// summation is fixed.
pub fn backward(tables: &mut [EmbeddingGradients<'_>], stream: &Stream) -> Result<()> {
    for EmbeddingGradients { gradients, d_embeddings } in &*tables {
        gradients.iter().try_for_each(|gradient| gradient.check(d_embeddings))?;
    }
    match stream.device() {
        Device::Cpu => {
            for EmbeddingGradients { gradients, d_embeddings } in tables {
                for CombinedGradient { feature, d_out, stride } in gradients.iter() {
                    let Combined { lookup, weights, denominator, .. } = feature;
                    let (lookup, weights) = (lookup.host()?, weights.map(Buffer::on_cpu).transpose()?);
                    let (d_out, d_embeddings) = (d_out.on_cpu()?, d_embeddings.on_cpu_mut()?);
                    let place = feature.place(*stride);
                    cpu::combine::backward(&lookup, weights, *denominator, d_out, place, d_embeddings);
                }
            }
            Ok(())
        }
        _ => {
            let mut raw = Vec::new();
            for EmbeddingGradients { gradients, d_embeddings } in tables {
                let d_embeddings = d_embeddings.on_mut(stream)?;
                for gradient in gradients {
                    raw.push(gradient.raw(d_embeddings, stream)?);
                }
            }
            let (gradients, count) = (raw.as_ptr(), raw.len() as i64);
            let mut scratch = workspace!(stream, recis_combine_backward_workspace_size(gradients, count))?;
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(stream, recis_combine_backward(gradients, count, scratch, bytes))
        }
    }
}

impl CombinedGradient<'_> {
    fn check(&self, d_embeddings: &Buffer<f32>) -> Result<()> {
        self.feature.check(self.d_out.len(), self.stride)?;
        let values = self.feature.lookup.embeddings.len();
        ensure(d_embeddings.len() == values, "combine", || {
            format!("{} gradients for {values} embedding values", d_embeddings.len())
        })
    }

    fn raw(&self, d_embeddings: *mut f32, stream: &Stream) -> Result<recis_combined_gradient> {
        Ok(recis_combined_gradient {
            feature: self.feature.raw(stream)?,
            occurrences: self.feature.lookup.raw_occurrences("combine", stream)?,
            d_out: self.d_out.on(stream)?,
            out_stride: self.stride as i64,
            d_embeddings,
        })
    }
}

impl Combined<'_> {
    fn place(&self, stride: usize) -> Place {
        Place { first_column: self.first_column, stride }
    }

    fn check(&self, out: usize, stride: usize) -> Result<()> {
        let Self { lookup, weights, .. } = self;
        lookup.check("combine")?;
        self.place(stride).check("combine", lookup.segments(), lookup.dim, out)?;
        let ids = match lookup.offsets.device() {
            Device::Cpu => lookup.offsets.on_cpu()?.last().copied().unwrap_or(0) as usize,
            _ => lookup.ids,
        };
        ensure(weights.is_none_or(|weights| weights.len() >= ids), "combine", || {
            format!("{} weights for {ids} ids", weights.map_or(0, Buffer::len))
        })
    }

    fn raw(&self, stream: &Stream) -> Result<recis_combined> {
        Ok(recis_combined {
            lookup: self.lookup.raw(stream)?,
            weights: self.weights.map_or(Ok(std::ptr::null()), |weights| weights.on(stream))?,
            denominator: self.denominator.raw(),
            first_column: self.first_column as i64,
        })
    }
}

fn check_apart(features: &[Combined<'_>]) -> Result<()> {
    let columns = features.iter().map(|feature| (feature.first_column, feature.lookup.dim));
    let mut columns: Vec<_> = columns.collect();
    columns.sort_unstable();
    let apart = columns.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0);
    ensure(apart, "combine", || format!("columns (first, count) {columns:?} overlap"))
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
