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
pub struct Prepared {
    memory: Buffer<u8>,
    /// Bytes that the memory has had.
    room: usize,
    /// Of what layer, and whether its output's gradient is there.
    of: Option<Layer>,
    has_gradient: bool,
}

/// The layer's size, and of each input where it begins, its width, and how many embeddings there are of which
/// dim.
type Layer = (Size, Vec<[usize; 4]>);

fn layer(dense: &[Dense<'_>], tiles: &[Tile<'_>], size: Size) -> Layer {
    let dense = dense.iter().map(|d| [d.first_column, d.width, 0, 0]);
    (size, dense.chain(tiles.iter().map(place)).collect())
}

fn place(tile: &Tile<'_>) -> [usize; 4] {
    [tile.first_column, tile.width(), tile.lookup.embeddings.len(), tile.lookup.dim]
}

impl Prepared {
    /// Nothing is prepared: passes take their arguments as they are.
    ///
    /// # Errors
    /// No memory on the stream's device.
    pub fn nothing(stream: &Stream) -> Result<Self> {
        Ok(Self { memory: Buffer::unset(0, stream)?, room: 0, of: None, has_gradient: false })
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
        let (key, inputs) = (layer(dense, tiles, size), Inputs::new(dense, tiles, stream)?);
        let (dense, dense_count, tiles, tile_count) = inputs.raw();
        let (raw, mut bytes) = (size.raw(), 0usize);
        call!(
            stream,
            recis_linear_tile_prepare_size(dense, dense_count, tiles, tile_count, &raw, &raw mut bytes)
        )?;
        if bytes > self.room {
            // Not both at once.
            self.memory = Buffer::unset(0, stream)?;
            self.room = bytes;
        }
        self.memory.resize(bytes, stream)?;
        (self.of, self.has_gradient) = (Some(key), false);
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
        let fits = self.memory.is_empty() || self.of.as_ref().is_some_and(|(of, _)| *of == size);
        ensure(fits, "linear_tile", || "the factors were prepared for another layer".into())?;
        self.has_gradient = true;
        let d_y = d_y.on(stream)?;
        let (prepared, bytes) = self.raw(stream)?;
        launch!(stream, recis_linear_tile_prepare_backward(d_y, &size.raw(), prepared, bytes))
    }

    /// For a pass over these inputs.
    pub(super) fn of_layer(
        &mut self,
        dense: &[Dense<'_>],
        tiles: &[Tile<'_>],
        size: Size,
        stream: &Stream,
    ) -> Result<(*mut c_void, usize)> {
        let fits = self.memory.is_empty() || self.of.as_ref() == Some(&layer(dense, tiles, size));
        ensure(fits, "linear_tile", || "the factors were prepared for another layer".into())?;
        self.raw(stream)
    }

    /// For a backward pass to one of the tiles.
    pub(super) fn of_tile(
        &mut self,
        tile: &Tile<'_>,
        size: Size,
        stream: &Stream,
    ) -> Result<(*mut c_void, usize)> {
        let is_of = |(of, inputs): &Layer| *of == size && inputs.contains(&place(tile));
        let fits = self.memory.is_empty() || self.of.as_ref().is_some_and(is_of);
        ensure(fits, "linear_tile", || "the factors were prepared for another layer".into())?;
        self.with_gradient()?;
        self.raw(stream)
    }

    /// Fails if a backward pass would take another batch's gradient.
    pub(super) fn with_gradient(&self) -> Result<()> {
        ensure(self.memory.is_empty() || self.has_gradient, "linear_tile", || {
            "the gradient was not added to the prepared factors".into()
        })
    }

    fn raw(&mut self, stream: &Stream) -> Result<(*mut c_void, usize)> {
        if self.memory.is_empty() {
            Ok((std::ptr::null_mut(), 0))
        } else {
            scratch_on(&mut self.memory, stream)
        }
    }
}
