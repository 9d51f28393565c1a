//! Rows cut to a length (SPEC 2.5).

use crate::device::{Buffer, Device, Stream};
use crate::error::ensure;
use crate::ops::check_offsets;
use crate::{Result, ops::cpu};

/// Which end of a row is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The last values are kept: it is cut on the left.
    Left,
    /// The first values are kept: it is cut on the right.
    Right,
}

/// One column to cut.
pub struct Column<'a> {
    /// The values.
    pub values: &'a Buffer<i64>,
    /// Where each row begins and ends: one entry more than there are rows, ascending from 0.
    pub offsets: &'a Buffer<i32>,
    /// One weight a value, cut alike.
    pub weights: Option<&'a Buffer<f32>>,
    /// The most values a row keeps.
    pub keep: usize,
    /// Where it is cut.
    pub side: Side,
}

/// A column that has been cut.
#[derive(Debug, PartialEq)]
pub struct Truncated {
    /// What is left of the values.
    pub values: Buffer<i64>,
    /// Where each row begins and ends.
    pub offsets: Buffer<i32>,
    /// What is left of the weights.
    pub weights: Option<Buffer<f32>>,
}

/// Cuts the rows of every column; shorter ones stay as they are.
pub fn forward(columns: &[Column<'_>], stream: &Stream) -> Result<Vec<Truncated>> {
    for c in columns {
        check_offsets("truncate", c.offsets, c.values.len())?;
        ensure(c.weights.is_none_or(|w| w.len() == c.values.len()), "truncate", || {
            format!("{} weights for {} values", c.weights.map_or(0, Buffer::len), c.values.len())
        })?;
    }
    match stream.device() {
        Device::Cpu => Ok(columns.iter().map(truncate).collect()),
    }
}

fn truncate(c: &Column<'_>) -> Truncated {
    let from = c.offsets.host();
    let to = cpu::truncate::offsets(from, c.keep);
    Truncated {
        values: cpu::truncate::copy(c.values.host(), from, &to, c.side).into(),
        weights: c.weights.map(|w| cpu::truncate::copy(w.host(), from, &to, c.side).into()),
        offsets: to.into(),
    }
}
