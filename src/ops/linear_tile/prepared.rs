//! A layer's factors in the form in which some devices multiply them.

use std::ffi::c_void;

use super::{Dense, Inputs, Size, Tile, check};
use crate::Result;
use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::launch::{call, launch, scratch_on};

/// The factors of a layer over one batch, as the tensor cores of some devices want them: what its passes share.
/// Empty where a device or a layer has no use for that.
#[derive(Debug)]
pub struct Prepared(Buffer<u8>);

impl Prepared {
    /// Nothing is prepared: passes take their arguments as they are.
    pub fn nothing(stream: &Stream) -> Result<Self> {
        Ok(Self(Buffer::unset(0, stream)?))
    }

    /// Prepares the input and the weight for [`forward`](super::forward) and
    /// [`backward_weight`](super::backward_weight), in the memory that is there if it is enough. Small numbers
    /// beside large ones lose some bits: see `recis_linear_tile_prepare_size` in the header.
    ///
    /// # Errors
    /// Inputs that do not fit the layer.
    pub fn prepare(
        &mut self,
        dense: &[Dense<'_>],
        tiles: &[Tile<'_>],
        weight: &Buffer<f32>,
        size: Size,
        stream: &Stream,
    ) -> Result<()> {
        let lens = (size.rows.saturating_mul(size.outputs), weight.len(), size.outputs);
        check(dense, tiles, lens, size)?;
        if stream.device() == Device::Cpu {
            return Ok(());
        }
        let inputs = Inputs::new(dense, tiles, stream)?;
        let (dense, dense_count, tiles, tile_count) = inputs.raw();
        let (raw, mut bytes) = (size.raw(), 0usize);
        call!(
            stream,
            recis_linear_tile_prepare_size(dense, dense_count, tiles, tile_count, &raw, &raw mut bytes)
        )?;
        self.0.resize(bytes, stream)?;
        let (weight, (prepared, bytes)) = (weight.on(stream)?, self.raw(stream)?);
        launch!(
            stream,
            recis_linear_tile_prepare(dense, dense_count, tiles, tile_count, weight, &raw, prepared, bytes)
        )
    }

    /// Adds the gradient of the layer's output, for [`backward_weight`](super::backward_weight) and
    /// [`backward_tile`](super::backward_tile).
    ///
    /// # Errors
    /// A gradient of another size than the layer's output.
    pub fn add_gradient(&mut self, d_y: &Buffer<f32>, size: Size, stream: &Stream) -> Result<()> {
        ensure(d_y.len() == size.rows.saturating_mul(size.outputs), "linear_tile", || {
            format!("{} gradients for {} rows of {}", d_y.len(), size.rows, size.outputs)
        })?;
        if stream.device() == Device::Cpu {
            return Ok(());
        }
        let d_y = d_y.on(stream)?;
        let (prepared, bytes) = self.raw(stream)?;
        launch!(stream, recis_linear_tile_prepare_backward(d_y, &size.raw(), prepared, bytes))
    }

    pub(super) fn raw(&mut self, stream: &Stream) -> Result<(*mut c_void, usize)> {
        if self.0.is_empty() { Ok((std::ptr::null_mut(), 0)) } else { scratch_on(&mut self.0, stream) }
    }
}
