//! The state of a model as plain numbers on the host: what a checkpoint holds.

use crate::{Error, Result};

/// One logical table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableSnapshot {
    /// Unique among the tables.
    pub name: String,
    /// Values per row, at least 1.
    pub dim: usize,
    /// `[n]`, strictly ascending.
    pub ids: Vec<i64>,
    /// Name and values `[n, dim]` of each slot; row `k` belongs to `ids[k]`. `id` is not a slot.
    pub slots: Vec<(String, Vec<f32>)>,
}

/// A named array.
#[derive(Clone, Debug, PartialEq)]
pub struct ArraySnapshot {
    /// Unique among the arrays.
    pub name: String,
    /// Outermost dimension first; `[]` is a single value.
    pub shape: Vec<usize>,
    /// As many values as the shape says.
    pub data: ArrayData,
}

/// The values of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 64-bit integers.
    I64(Vec<i64>),
}

impl ArrayData {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::F64(values) => bytemuck::cast_slice(values),
            Self::I64(values) => bytemuck::cast_slice(values),
        }
    }

    /// The elements of an f32 array; `name` is for the error of another type.
    pub(crate) fn into_f32(self, name: &str) -> Result<Vec<f32>> {
        match self {
            Self::F32(values) => Ok(values),
            _ => Err(Error::Model(format!("array '{name}' is not f32"))),
        }
    }

    /// The elements of an i64 array; `name` is for the error of another type.
    pub(crate) fn into_i64(self, name: &str) -> Result<Vec<i64>> {
        match self {
            Self::I64(values) => Ok(values),
            _ => Err(Error::Model(format!("array '{name}' is not i64"))),
        }
    }
}

/// Everything that a [`Plan`](crate::nn::Plan) learns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSnapshot {
    /// The logical tables, in the model's order.
    pub tables: Vec<TableSnapshot>,
    /// Dense parameters, optimizer state and metric counters.
    pub arrays: Vec<ArraySnapshot>,
}
