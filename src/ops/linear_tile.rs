//! A fully connected layer that gathers tiled embeddings as it multiplies: `combine_tile`, the
//! concatenation and `linear` in one, without the concatenation ever being written. f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::{Result, ops::cpu};

pub use super::linear::Size;
pub use super::lookup::Lookup;

/// Columns of the layer's input that are materialised.
#[derive(Clone, Copy)]
pub struct Dense<'a> {
    /// [rows, width].
    pub x: &'a Buffer<f32>,
    /// Values a row.
    pub width: usize,
    /// Where they begin in the layer's input.
    pub first_column: usize,
}

/// A tiled feature: position `k` of a row takes the columns from `first_column + k * dim`; ids
/// beyond `tile_len` are dropped from the right, missing ones count as zeros.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    /// The feature after its lookup; a segment is a row.
    pub lookup: Lookup<'a>,
    /// Positions a row.
    pub tile_len: usize,
    /// Where the first position begins in the layer's input.
    pub first_column: usize,
}

impl<'a> Tile<'a> {
    fn host(&self) -> cpu::linear_tile::Tile<'a> {
        let Self { lookup, tile_len, first_column } = *self;
        cpu::linear_tile::Tile { lookup: lookup.host(), tile_len, first_column }
    }

    fn width(&self) -> usize {
        self.lookup.dim * self.tile_len
    }
}

/// `y = X Wᵀ + b`: `weight` [outputs, inputs], `bias` `[outputs]`, `y` [rows, outputs]; X is the
/// concatenation of `dense` and `tiles`, whose columns must not overlap; columns that none covers
/// count as zero.
pub fn forward(
    dense: &[Dense<'_>],
    tiles: &[Tile<'_>],
    weight: &Buffer<f32>,
    bias: &Buffer<f32>,
    y: &mut Buffer<f32>,
    size: Size,
    stream: &Stream,
) -> Result<()> {
    check(dense, tiles, (y.len(), weight.len(), bias.len()), size)?;
    match stream.device() {
        Device::Cpu => cpu::linear_tile::forward(
            &host_dense(dense),
            &host_tiles(tiles),
            weight.host(),
            bias.host(),
            y.host_mut(),
            size,
        ),
    }
    Ok(())
}

/// The gradients of the parameters from `d_y` [rows, outputs], written or (with `accumulate`)
/// added. Columns that no input covers are left as they are.
#[allow(clippy::too_many_arguments)]
pub fn backward_weight(
    dense: &[Dense<'_>],
    tiles: &[Tile<'_>],
    d_y: &Buffer<f32>,
    d_weight: &mut Buffer<f32>,
    d_bias: &mut Buffer<f32>,
    size: Size,
    accumulate: bool,
    stream: &Stream,
) -> Result<()> {
    check(dense, tiles, (d_y.len(), d_weight.len(), d_bias.len()), size)?;
    match stream.device() {
        Device::Cpu => cpu::linear_tile::backward_weight(
            &host_dense(dense),
            &host_tiles(tiles),
            d_y.host(),
            d_weight.host_mut(),
            d_bias.host_mut(),
            size,
            accumulate,
        ),
    }
    Ok(())
}

/// The gradient of the materialised columns from `first_column`: `d_x` [rows, width], written.
pub fn backward_dense(
    d_y: &Buffer<f32>,
    weight: &Buffer<f32>,
    d_x: &mut Buffer<f32>,
    width: usize,
    first_column: usize,
    size: Size,
    stream: &Stream,
) -> Result<()> {
    let fits = first_column + width <= size.inputs && d_x.len() == size.rows * width;
    ensure(fits && width > 0, "linear_tile", || {
        format!("{width} columns from {first_column} do not fit {} inputs", size.inputs)
    })?;
    check(&[], &[], (d_y.len(), weight.len(), size.outputs), size)?;
    match stream.device() {
        Device::Cpu => cpu::linear_tile::backward_dense(
            d_y.host(),
            weight.host(),
            d_x.host_mut(),
            width,
            first_column,
            size,
        ),
    }
    Ok(())
}

/// Adds the gradient of a tile's embeddings, summed over the ids that share one, to
/// `d_embeddings` [unique, dim]. The order of summation is fixed.
pub fn backward_tile(
    tile: &Tile<'_>,
    d_y: &Buffer<f32>,
    weight: &Buffer<f32>,
    d_embeddings: &mut Buffer<f32>,
    size: Size,
    stream: &Stream,
) -> Result<()> {
    check(&[], std::slice::from_ref(tile), (d_y.len(), weight.len(), size.outputs), size)?;
    ensure(d_embeddings.len() == tile.lookup.embeddings.len(), "linear_tile", || {
        format!("{} embedding gradients for {} embeddings", d_embeddings.len(), tile.lookup.embeddings.len())
    })?;
    match stream.device() {
        Device::Cpu => cpu::linear_tile::backward_tile(
            &tile.host(),
            d_y.host(),
            weight.host(),
            d_embeddings.host_mut(),
            size,
        ),
    }
    Ok(())
}

fn host_dense<'a>(dense: &[Dense<'a>]) -> Vec<cpu::linear_tile::Dense<'a>> {
    let host = |d: &Dense<'a>| cpu::linear_tile::Dense {
        x: d.x.host(),
        width: d.width,
        first_column: d.first_column,
    };
    dense.iter().map(host).collect()
}

fn host_tiles<'a>(tiles: &[Tile<'a>]) -> Vec<cpu::linear_tile::Tile<'a>> {
    tiles.iter().map(Tile::host).collect()
}

/// Checks the inputs, and (y, weight, bias) or the gradients shaped like them.
fn check(dense: &[Dense<'_>], tiles: &[Tile<'_>], lens: (usize, usize, usize), size: Size) -> Result<()> {
    let Size { rows, inputs, outputs } = size;
    let expected = (rows * outputs, outputs * inputs, outputs);
    ensure(lens == expected && outputs > 0 && inputs > 0, "linear_tile", || {
        format!(
            "{rows} rows of {inputs} -> {outputs} need (y, weight, bias) of {expected:?} elements, got {lens:?}"
        )
    })?;
    for tile in tiles {
        tile.lookup.check("linear_tile")?;
        ensure(tile.lookup.segments() == rows, "linear_tile", || {
            format!("a tile of {} segments for {rows} rows", tile.lookup.segments())
        })?;
    }
    let mut columns: Vec<(usize, usize)> = Vec::new();
    for d in dense {
        ensure(d.x.len() == rows * d.width, "linear_tile", || {
            format!("{} dense values for {rows} rows of {}", d.x.len(), d.width)
        })?;
        columns.push((d.first_column, d.first_column + d.width));
    }
    columns.extend(tiles.iter().map(|t| (t.first_column, t.first_column + t.width())));
    columns.sort_unstable();
    let apart = columns.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    ensure(apart && columns.last().is_none_or(|last| last.1 <= inputs), "linear_tile", || {
        format!("input columns {columns:?} overlap or exceed {inputs}")
    })
}
