//! A layer's factors in the form in which some devices multiply them.

use std::ffi::c_void;

use super::{Dense, Inputs, Size, Tile, Values, check};
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
    /// Of what layer, and whether the values of its inputs and its output's gradient are there.
    of: Option<Layer>,
    has_inputs: bool,
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
        let memory = Buffer::unset(0, stream)?;
        Ok(Self { memory, room: 0, of: None, has_inputs: false, has_gradient: false })
    }

    /// Whether nothing is prepared.
    fn is_nothing(&self) -> bool {
        self.memory.is_empty()
    }

    /// Prepares the weight, and where the ids of the inputs lead, in the memory that is there if it is enough; the inputs'
    /// values may come later, by [`add_inputs`](Self::add_inputs). Small numbers beside large ones lose some bits: see
    /// `recis_linear_tile_prepare_size` in the header.
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
        let key = layer(dense, tiles, size);
        let inputs = Inputs::with(Values::Later, dense, tiles, stream)?;
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
        (self.of, self.has_inputs, self.has_gradient) = (Some(key), false, false);
        let (weight, (prepared, bytes)) = (weight.on(stream)?, self.raw(stream)?);
        launch!(
            stream,
            recis_linear_tile_prepare(dense, dense_count, tiles, tile_count, weight, &raw, prepared, bytes)
        )
    }

    /// Adds the values of the inputs, for all passes.
    ///
    /// # Errors
    /// Inputs other than those that were prepared.
    pub fn add_inputs(
        &mut self,
        dense: &[Dense<'_>],
        tiles: &[Tile<'_>],
        size: Size,
        stream: &Stream,
    ) -> Result<()> {
        if stream.device() == Device::Cpu {
            return Ok(());
        }
        self.check_layer(dense, tiles, size)?;
        self.has_inputs = true;
        let inputs = Inputs::new(dense, tiles, stream)?;
        let ((dense, dense_count, tiles, tile_count), size) = (inputs.raw(), size.raw());
        let (prepared, bytes) = self.raw(stream)?;
        launch!(
            stream,
            recis_linear_tile_prepare_inputs(dense, dense_count, tiles, tile_count, &size, prepared, bytes)
        )
    }

    /// Adds the gradient of the layer's output, for [`backward_weight`](super::backward_weight) and
    /// [`backward_tiles`](super::backward_tiles).
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
        let fits = self.is_nothing() || self.of.as_ref().is_some_and(|(of, _)| *of == size);
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
        self.check_layer(dense, tiles, size)?;
        ensure(self.is_nothing() || self.has_inputs, "linear_tile", || {
            "the inputs were not added to the prepared factors".into()
        })?;
        self.raw(stream)
    }

    fn check_layer(&self, dense: &[Dense<'_>], tiles: &[Tile<'_>], size: Size) -> Result<()> {
        let fits = self.is_nothing() || self.of.as_ref() == Some(&layer(dense, tiles, size));
        ensure(fits, "linear_tile", || "the factors were prepared for another layer".into())
    }

    /// For a backward pass to some of the tiles.
    pub(super) fn of_tiles(
        &mut self,
        tiles: &[Tile<'_>],
        size: Size,
        stream: &Stream,
    ) -> Result<(*mut c_void, usize)> {
        let is_of =
            |(of, inputs): &Layer| *of == size && tiles.iter().all(|tile| inputs.contains(&place(tile)));
        let fits = self.is_nothing() || self.of.as_ref().is_some_and(is_of);
        ensure(fits, "linear_tile", || "the factors were prepared for another layer".into())?;
        self.with_gradient()?;
        self.raw(stream)
    }

    /// Fails if a backward pass would take another batch's gradient.
    pub(super) fn with_gradient(&self) -> Result<()> {
        ensure(self.is_nothing() || self.has_gradient, "linear_tile", || {
            "the gradient was not added to the prepared factors".into()
        })
    }

    fn raw(&mut self, stream: &Stream) -> Result<(*mut c_void, usize)> {
        if self.is_nothing() { Ok((std::ptr::null_mut(), 0)) } else { scratch_on(&mut self.memory, stream) }
    }
}
