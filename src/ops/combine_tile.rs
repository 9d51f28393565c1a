//! The first embeddings of a segment side by side (SPEC 3.8), forward and backward, f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::{Result, ops::cpu};

pub use super::lookup::{Lookup, Occurrences, Place};

/// Writes the first `tile_len` embeddings of every segment to `out`, at `place`: `tile_len * dim`
/// columns, zeros where a segment is shorter. Ids beyond are dropped from the right.
pub fn forward(
    lookup: &Lookup<'_>,
    tile_len: usize,
    out: &mut Buffer<f32>,
    place: Place,
    stream: &Stream,
) -> Result<()> {
    lookup.check("combine_tile")?;
    place.check("combine_tile", lookup.segments(), tile_len.saturating_mul(lookup.dim), out.len())?;
    match stream.device() {
        Device::Cpu => {
            cpu::combine_tile::forward(&lookup.host()?, tile_len, out.on_cpu_mut()?, place);
            Ok(())
        }
        _ => {
            let (lookup, tile_len, (first, stride)) = (lookup.raw(stream)?, tile_len as i64, place.raw());
            launch!(stream, recis_combine_tile_forward(&lookup, tile_len, out.on_mut(stream)?, first, stride))
        }
    }
}

/// Adds the gradient of the embeddings, summed over the ids that share one, to `d_embeddings`
/// [unique, dim]. `d_out` is laid out as in [`forward`]. The order of summation is fixed.
pub fn backward(
    lookup: &Lookup<'_>,
    tile_len: usize,
    d_out: &Buffer<f32>,
    place: Place,
    d_embeddings: &mut Buffer<f32>,
    stream: &Stream,
) -> Result<()> {
    lookup.check("combine_tile")?;
    place.check("combine_tile", lookup.segments(), tile_len.saturating_mul(lookup.dim), d_out.len())?;
    ensure(d_embeddings.len() == lookup.embeddings.len(), "combine_tile", || {
        format!("{} gradients for {} embedding values", d_embeddings.len(), lookup.embeddings.len())
    })?;
    match stream.device() {
        Device::Cpu => {
            let (d_out, d_embeddings) = (d_out.on_cpu()?, d_embeddings.on_cpu_mut()?);
            cpu::combine_tile::backward(&lookup.host()?, tile_len, d_out, place, d_embeddings);
            Ok(())
        }
        _ => {
            let (raw, (first, stride)) = (lookup.raw(stream)?, place.raw());
            let occurrences = lookup.raw_occurrences("combine_tile", stream)?;
            let mut scratch =
                workspace!(stream, recis_combine_tile_backward_workspace_size(&raw, &occurrences))?;
            let (d_out, d_embeddings) = (d_out.on(stream)?, d_embeddings.on_mut(stream)?);
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_combine_tile_backward(
                    &raw,
                    &occurrences,
                    tile_len as i64,
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
