//! A fully connected layer that gathers tiled embeddings as it multiplies: `combine_tile`, the
//! concatenation and `linear` in one, without the concatenation ever being written. f32.

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ffi::{recis_dense_columns, recis_tile};
use crate::ops::launch::{launch, scratch_on, workspace};
use crate::{Result, ops::cpu};

mod prepared;

pub use super::linear::{Precision, Size};
pub use super::lookup::{Lookup, TableRange};
pub use prepared::Prepared;

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
    fn host(&self) -> Result<cpu::linear_tile::Tile<'a>> {
        let Self { lookup, tile_len, first_column } = *self;
        Ok(cpu::linear_tile::Tile { lookup: lookup.host()?, tile_len, first_column })
    }

    fn raw(&self, stream: &Stream, values: Values) -> Result<recis_tile> {
        let (tile_len, first_column) = (self.tile_len as i64, self.first_column as i64);
        let range = self.lookup.raw_range("linear_tile", stream)?;
        let lookup = match values {
            Values::Read => self.lookup.raw(stream)?,
            Values::Later => self.lookup.raw_without_embeddings(stream)?,
        };
        Ok(recis_tile { lookup, tile_len, first_column, range })
    }

    fn width(&self) -> usize {
        self.lookup.dim.saturating_mul(self.tile_len)
    }
}

/// `y = X Wᵀ + b`: `weight` [outputs, inputs], `bias` `[outputs]`, `y` [rows, outputs]; X is the
/// concatenation of `dense` and `tiles`, whose columns must not overlap; columns that none covers
/// count as zero. What is `prepared` must be so from these inputs and this weight, if it is not
/// [nothing](Prepared::nothing).
#[allow(clippy::too_many_arguments)]
pub fn forward(
    dense: &[Dense<'_>],
    tiles: &[Tile<'_>],
    weight: &Buffer<f32>,
    bias: &Buffer<f32>,
    y: &mut Buffer<f32>,
    size: Size,
    prepared: &mut Prepared,
    stream: &Stream,
) -> Result<()> {
    check(dense, tiles, (y.len(), weight.len(), bias.len()), size)?;
    match stream.device() {
        Device::Cpu => {
            let (dense, tiles) = (host_dense(dense)?, host_tiles(tiles)?);
            cpu::linear_tile::forward(
                &dense,
                &tiles,
                weight.on_cpu()?,
                bias.on_cpu()?,
                y.on_cpu_mut()?,
                size,
            );
            Ok(())
        }
        _ => {
            let (prepared, prepared_bytes) = prepared.of_layer(dense, tiles, size, stream)?;
            let inputs = Inputs::new(dense, tiles, stream)?;
            let mut scratch = inputs.workspace(size, stream)?;
            let (dense, dense_count, tiles, tile_count) = inputs.raw();
            let (weight, bias, y) = (weight.on(stream)?, bias.on(stream)?, y.on_mut(stream)?);
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_linear_tile_forward(
                    dense,
                    dense_count,
                    tiles,
                    tile_count,
                    weight,
                    bias,
                    y,
                    &size.raw(),
                    prepared,
                    prepared_bytes,
                    scratch,
                    bytes
                )
            )
        }
    }
}

/// The gradient of the weight from `d_y` [rows, outputs], written or (with `accumulate`) added; that of the bias is
/// [`backward_bias`](super::linear::backward_bias)'s. Columns that no input covers are left as they are. `prepared` as in
/// [`forward`], and behind [`Prepared::add_gradient`] of `d_y`.
#[allow(clippy::too_many_arguments)]
pub fn backward_weight(
    dense: &[Dense<'_>],
    tiles: &[Tile<'_>],
    d_y: &Buffer<f32>,
    d_weight: &mut Buffer<f32>,
    size: Size,
    accumulate: bool,
    prepared: &mut Prepared,
    stream: &Stream,
) -> Result<()> {
    check(dense, tiles, (d_y.len(), d_weight.len(), size.outputs), size)?;
    match stream.device() {
        Device::Cpu => {
            let (dense, tiles) = (host_dense(dense)?, host_tiles(tiles)?);
            let (d_y, d_weight) = (d_y.on_cpu()?, d_weight.on_cpu_mut()?);
            cpu::linear_tile::backward_weight(&dense, &tiles, d_y, d_weight, size, accumulate);
            Ok(())
        }
        _ => {
            prepared.with_gradient()?;
            let (prepared, prepared_bytes) = prepared.of_layer(dense, tiles, size, stream)?;
            let inputs = Inputs::new(dense, tiles, stream)?;
            let mut scratch = inputs.workspace(size, stream)?;
            let (dense, dense_count, tiles, tile_count) = inputs.raw();
            let (d_y, d_weight) = (d_y.on(stream)?, d_weight.on_mut(stream)?);
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_linear_tile_backward_weight(
                    dense,
                    dense_count,
                    tiles,
                    tile_count,
                    d_y,
                    d_weight,
                    &size.raw(),
                    i32::from(accumulate),
                    prepared,
                    prepared_bytes,
                    scratch,
                    bytes
                )
            )
        }
    }
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
    let fits =
        first_column.saturating_add(width) <= size.inputs && d_x.len() == size.rows.saturating_mul(width);
    ensure(fits && width > 0, "linear_tile", || {
        format!("{width} columns from {first_column} do not fit {} inputs", size.inputs)
    })?;
    check(&[], &[], (d_y.len(), weight.len(), size.outputs), size)?;
    match stream.device() {
        Device::Cpu => {
            let (d_y, weight, d_x) = (d_y.on_cpu()?, weight.on_cpu()?, d_x.on_cpu_mut()?);
            cpu::linear_tile::backward_dense(d_y, weight, d_x, width, first_column, size);
            Ok(())
        }
        _ => {
            let mut scratch = Inputs::new(&[], &[], stream)?.workspace(size, stream)?;
            let (d_y, weight, d_x) = (d_y.on(stream)?, weight.on(stream)?, d_x.on_mut(stream)?);
            let (width, first, size) = (width as i64, first_column as i64, size.raw());
            let (scratch, bytes) = scratch_on(&mut scratch, stream)?;
            launch!(
                stream,
                recis_linear_tile_backward_dense(d_y, weight, d_x, width, first, &size, scratch, bytes)
            )
        }
    }
}

/// How sums are made of which many add up to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// The same to the bit in every run.
    #[default]
    Repeatable,
    /// In whatever order terms come, on a device: not repeatable, and faster in [`Precision::Fp32`] alone.
    Unordered,
}

/// Adds the gradients of tiles' embeddings, summed over the ids that share one, to `d_embeddings` [unique, dim]; all are
/// of the same embeddings. `prepared` as in [`backward_weight`]; if it is not nothing, a device does not read the
/// weight. If sums are repeatable, the zeros that they begin with are written `beside`: `stream` waits for that only before
/// it adds to them.
#[allow(clippy::too_many_arguments)]
pub fn backward_tiles(
    tiles: &[Tile<'_>],
    d_y: &Buffer<f32>,
    weight: &Buffer<f32>,
    d_embeddings: &mut Buffer<f32>,
    size: Size,
    reduction: Reduction,
    prepared: &mut Prepared,
    stream: &Stream,
    beside: &Stream,
) -> Result<()> {
    check(&[], tiles, (d_y.len(), weight.len(), size.outputs), size)?;
    for Tile { lookup, .. } in tiles {
        ensure(
            d_embeddings.len() == lookup.embeddings.len() && lookup.dim == tiles[0].lookup.dim,
            "linear_tile",
            || {
                format!(
                    "{} embedding gradients for {} embeddings",
                    d_embeddings.len(),
                    lookup.embeddings.len()
                )
            },
        )?;
    }
    stream.read("the stream beside", beside.device(), None)?;
    match stream.device() {
        Device::Cpu => {
            let (d_y, weight, d_embeddings) = (d_y.on_cpu()?, weight.on_cpu()?, d_embeddings.on_cpu_mut()?);
            tiles.iter().try_for_each(|tile| {
                cpu::linear_tile::backward_tile(&tile.host()?, d_y, weight, d_embeddings, size);
                Ok(())
            })
        }
        _ => {
            let (prepared, prepared_bytes) = prepared.of_tiles(tiles, size, stream)?;
            let (inputs, raw_size) = (Inputs::new(&[], tiles, stream)?, size.raw());
            let (_, _, raw, count) = inputs.raw();
            let is_unordered = reduction == Reduction::Unordered;
            let unordered = i32::from(is_unordered);
            let mut scratch = workspace!(
                if is_unordered { stream } else { beside },
                recis_linear_tile_backward_tiles_workspace_size(
                    raw,
                    count,
                    &raw_size,
                    unordered,
                    prepared_bytes
                )
            )?;
            if !is_unordered {
                // Of the tiles it reads where their ranges are.
                for tile in tiles {
                    tile.lookup.raw_range("linear_tile", beside)?;
                }
                let (memory, bytes) = scratch_on(&mut scratch, beside)?;
                launch!(
                    beside,
                    recis_linear_tile_begin_tiles(raw, count, &raw_size, prepared_bytes, memory, bytes)
                )?;
            }
            // What is prepared knows the weight: it may change meanwhile.
            let weight = if prepared.is_null() { weight.on(stream)? } else { std::ptr::null() };
            let (d_y, (memory, bytes)) = (d_y.on(stream)?, scratch_on(&mut scratch, stream)?);
            let sums_to = if is_unordered { d_embeddings.on_mut(stream)? } else { std::ptr::null_mut() };
            launch!(
                stream,
                recis_linear_tile_backward_tiles(
                    raw,
                    count,
                    d_y,
                    weight,
                    sums_to,
                    &raw_size,
                    unordered,
                    prepared,
                    prepared_bytes,
                    memory,
                    bytes
                )
            )?;
            if is_unordered {
                return Ok(());
            }
            // Only now: what else adds to the gradients on other streams may do so beside the sums.
            let d_embeddings = d_embeddings.on_mut(stream)?;
            launch!(
                stream,
                recis_linear_tile_finish_tiles(
                    raw,
                    count,
                    d_embeddings,
                    &raw_size,
                    prepared_bytes,
                    memory,
                    bytes
                )
            )
        }
    }
}

/// The inputs of a layer as kernels take them.
struct Inputs {
    dense: Vec<recis_dense_columns>,
    tiles: Vec<recis_tile>,
}

/// Whether kernels read the values of inputs, or only learn where they will be.
#[derive(Clone, Copy)]
enum Values {
    Read,
    Later,
}

impl Inputs {
    fn new(dense: &[Dense<'_>], tiles: &[Tile<'_>], stream: &Stream) -> Result<Self> {
        Self::with(Values::Read, dense, tiles, stream)
    }

    fn with(values: Values, dense: &[Dense<'_>], tiles: &[Tile<'_>], stream: &Stream) -> Result<Self> {
        let columns = |d: &Dense<'_>| {
            let (width, first_column) = (d.width as i64, d.first_column as i64);
            let x = match values {
                Values::Read => d.x.on(stream)?,
                Values::Later => d.x.address(stream)?,
            };
            Ok(recis_dense_columns { x, width, first_column })
        };
        Ok(Self {
            dense: dense.iter().map(columns).collect::<Result<_>>()?,
            tiles: tiles.iter().map(|tile| tile.raw(stream, values)).collect::<Result<_>>()?,
        })
    }

    fn raw(&self) -> (*const recis_dense_columns, i64, *const recis_tile, i64) {
        (self.dense.as_ptr(), self.dense.len() as i64, self.tiles.as_ptr(), self.tiles.len() as i64)
    }

    fn workspace(&self, size: Size, stream: &Stream) -> Result<Buffer<u8>> {
        let (dense, dense_count, tiles, tile_count) = self.raw();
        let size = size.raw();
        workspace!(stream, recis_linear_tile_workspace_size(dense, dense_count, tiles, tile_count, &size))
    }
}

fn host_dense<'a>(dense: &[Dense<'a>]) -> Result<Vec<cpu::linear_tile::Dense<'a>>> {
    let host = |&Dense { x, width, first_column }: &Dense<'a>| {
        Ok(cpu::linear_tile::Dense { x: x.on_cpu()?, width, first_column })
    };
    dense.iter().map(host).collect()
}

fn host_tiles<'a>(tiles: &[Tile<'a>]) -> Result<Vec<cpu::linear_tile::Tile<'a>>> {
    tiles.iter().map(Tile::host).collect()
}

/// Checks the inputs, and (y, weight, bias) or the gradients shaped like them.
fn check(dense: &[Dense<'_>], tiles: &[Tile<'_>], lens: (usize, usize, usize), size: Size) -> Result<()> {
    let Size { rows, inputs, outputs, .. } = size;
    let expected = (rows.saturating_mul(outputs), outputs.saturating_mul(inputs), outputs);
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
        ensure(d.x.len() == rows.saturating_mul(d.width), "linear_tile", || {
            format!("{} dense values for {rows} rows of {}", d.x.len(), d.width)
        })?;
        columns.push((d.first_column, d.first_column.saturating_add(d.width)));
    }
    columns.extend(tiles.iter().map(|t| (t.first_column, t.first_column.saturating_add(t.width()))));
    columns.sort_unstable();
    let apart = columns.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    ensure(apart && columns.last().is_none_or(|last| last.1 <= inputs), "linear_tile", || {
        format!("input columns {columns:?} overlap or exceed {inputs}")
    })
}
