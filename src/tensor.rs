//! What flows between the parts of a model: named columns of numbers.

use std::sync::Arc;

use crate::device::{Buffer, Device, Order, Stream};
use crate::{Error, Result};

/// The numbers of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Buffer<f32>),
    /// 64-bit floats.
    F64(Buffer<f64>),
    /// Ids and other integers.
    I64(Buffer<i64>),
    /// The bytes of strings, as RecIS stores them.
    I8(Buffer<i8>),
}

impl Values {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::I8(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// These values in the memory of the stream's device: shared if they are there.
    pub fn copy_to(&self, stream: &Stream) -> Result<Self> {
        Ok(match self {
            Self::F32(v) => Self::F32(v.copy_to(stream)?),
            Self::F64(v) => Self::F64(v.copy_to(stream)?),
            Self::I64(v) => Self::I64(v.copy_to(stream)?),
            Self::I8(v) => Self::I8(v.copy_to(stream)?),
        })
    }

    /// The element type as messages name it.
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::I64(_) => "i64",
            Self::I8(_) => "i8",
        }
    }
}

/// `rows` × `width` values, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseTensor {
    /// `rows * width` elements.
    pub values: Values,
    /// The number of rows.
    pub rows: usize,
    /// The number of values in each row.
    pub width: usize,
}

/// Rows of different lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct RaggedTensor {
    /// All elements, row after row.
    pub values: Values,
    /// Prefix sums per level, outermost first; level `i` has one entry more than it has lists,
    /// starts at 0, and its last entry is the number of lists (or values) of the next level.
    pub offsets: Vec<Buffer<i32>>,
    /// One weight per element, if the column has weights.
    pub weights: Option<Buffer<f32>>,
    /// No list of the innermost level is longer, if that is known: with it, a device need not be asked
    /// how much room a result takes.
    pub longest: Option<usize>,
}

impl RaggedTensor {
    /// A ragged column; of one on the host the longest list is looked up.
    pub fn new(values: Values, offsets: Vec<Buffer<i32>>, weights: Option<Buffer<f32>>) -> Self {
        let lengths = offsets.last().and_then(|offsets| offsets.on_cpu().ok());
        let lengths = lengths.map(|offsets| offsets.windows(2).map(|ends| ends[1] - ends[0]));
        let longest = lengths.and_then(|lengths| usize::try_from(lengths.max().unwrap_or(0)).ok());
        Self { values, offsets, weights, longest }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.first().map_or(0, |offsets| offsets.len().saturating_sub(1))
    }

    /// The offsets of the innermost level: where each segment's values begin and end.
    pub fn segments(&self) -> &Buffer<i32> {
        &self.offsets[self.offsets.len() - 1]
    }
}

/// One column of a [`Batch`].
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// Every row has the same number of values.
    Dense(DenseTensor),
    /// Rows have lengths of their own.
    Ragged(RaggedTensor),
}

impl Tensor {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Dense(t) => t.rows,
            Self::Ragged(t) => t.rows(),
        }
    }

    /// The device whose memory holds the column.
    pub fn device(&self) -> Device {
        match self.values() {
            Values::F32(v) => v.device(),
            Values::F64(v) => v.device(),
            Values::I64(v) => v.device(),
            Values::I8(v) => v.device(),
        }
    }

    /// The numbers.
    pub fn values(&self) -> &Values {
        match self {
            Self::Dense(t) => &t.values,
            Self::Ragged(t) => &t.values,
        }
    }

    /// What orders the work on its arrays.
    pub(crate) fn orders(&self) -> impl Iterator<Item = Option<&Order>> {
        let (offsets, weights) = match self {
            Self::Dense(_) => (&[][..], None),
            Self::Ragged(t) => (&t.offsets[..], t.weights.as_ref()),
        };
        let values = match self.values() {
            Values::F32(values) => values.order(),
            Values::F64(values) => values.order(),
            Values::I64(values) => values.order(),
            Values::I8(values) => values.order(),
        };
        [values].into_iter().chain(offsets.iter().map(Buffer::order)).chain(weights.map(Buffer::order))
    }

    /// The column in the memory of the stream's device: shared if it is there.
    pub fn copy_to(&self, stream: &Stream) -> Result<Self> {
        Ok(match self {
            Self::Dense(t) => {
                Self::Dense(DenseTensor { values: t.values.copy_to(stream)?, rows: t.rows, width: t.width })
            }
            Self::Ragged(t) => Self::Ragged(RaggedTensor {
                values: t.values.copy_to(stream)?,
                offsets: t.offsets.iter().map(|offsets| offsets.copy_to(stream)).collect::<Result<_>>()?,
                weights: t.weights.as_ref().map(|weights| weights.copy_to(stream)).transpose()?,
                longest: t.longest,
            }),
        })
    }

    /// Shape and element type, for messages: `dense f32 [1024, 8]`.
    pub fn describe(&self) -> String {
        let dtype = self.values().dtype();
        match self {
            Self::Dense(t) => format!("dense {dtype} [{}, {}]", t.rows, t.width),
            Self::Ragged(t) => format!("ragged {dtype} [{}{}]", t.rows(), ", ?".repeat(t.offsets.len())),
        }
    }
}

/// A run of rows of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: Arc<std::path::Path>,
    /// The first row, counted from 0 within the file.
    pub first_row: u64,
    /// How many rows.
    pub rows: usize,
}

/// How far a worker's stream of rows has been consumed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Rows consumed so far; the next one is the first of what remains.
    pub rows: u64,
    /// The name of the file of the row consumed last, by which changed data is noticed.
    pub file: String,
    /// That row, counted from 0 within its file.
    pub row: u64,
}

/// Named columns with the same number of rows, in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The number of rows.
    pub rows: usize,
    /// Which rows of which files these are, in order; empty when they come from elsewhere.
    pub sources: Vec<Source>,
    /// Where its last row is in the stream it was cut from, for a pass that continues after it.
    pub end: Option<Position>,
    columns: Vec<(String, Arc<Tensor>)>,
}

impl Batch {
    /// A batch of `rows` rows without columns.
    pub fn new(rows: usize) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Adds a column, or replaces the one of that name in its place.
    pub fn insert(&mut self, name: impl Into<String>, tensor: impl Into<Arc<Tensor>>) {
        let (name, tensor) = (name.into(), tensor.into());
        match self.columns.iter_mut().find(|(n, _)| *n == name) {
            Some((_, place)) => *place = tensor,
            None => self.columns.push((name, tensor)),
        }
    }

    /// The column of that name.
    pub fn get(&self, name: &str) -> Result<&Arc<Tensor>> {
        let found = self.columns.iter().find(|(n, _)| n == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| Error::Data {
            place: format!("column '{name}'"),
            what: format!("not in the batch, which has {}", self.names().collect::<Vec<_>>().join(", ")),
        })
    }

    /// The names of the columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &Arc<Tensor>)> {
        self.columns.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The batch with its columns in the memory of the stream's device: those that are there are
    /// shared, the others copied.
    pub fn copy_to(&self, stream: &Stream) -> Result<Self> {
        let mut copy = self.without_columns();
        for (name, tensor) in self.columns() {
            let here = tensor.device() == stream.device();
            copy.insert(name, if here { tensor.clone() } else { Arc::new(tensor.copy_to(stream)?) });
        }
        Ok(copy)
    }

    /// Where the batch came from, without its columns.
    pub(crate) fn without_columns(&self) -> Self {
        Self { rows: self.rows, sources: self.sources.clone(), end: self.end.clone(), columns: Vec::new() }
    }

    /// Where a row of this batch came from, for messages: `data_0.orc, row 17`.
    pub fn place(&self, row: usize) -> String {
        let mut first = 0;
        for source in &self.sources {
            if row < first + source.rows {
                return format!("{}, row {}", source.file.display(), source.first_row + (row - first) as u64);
            }
            first += source.rows;
        }
        format!("row {row} of the batch")
    }
}
