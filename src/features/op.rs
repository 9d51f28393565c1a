use std::fmt;

use crate::ops::string_hash::HashType;
use crate::ops::truncate::Side;

/// Takes a column of the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectField {
    pub(super) name: String,
    pub(super) dim: Option<usize>,
}

impl SelectField {
    /// The column of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), dim: None }
    }

    /// Says how many values a row has; another number in a batch is an error. A column that goes
    /// into the network as it is needs it.
    pub fn dim(mut self, dim: usize) -> Self {
        self.dim = Some(dim);
        self
    }
}

/// Takes several columns of the batch, for an operator that wants more than one.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectFields(pub(super) Vec<SelectField>);

impl SelectFields {
    /// The columns of these names.
    pub fn new<const N: usize>(names: [&str; N]) -> Self {
        Self(names.map(SelectField::new).to_vec())
    }
}

/// Floats to the number of boundaries at or below them, compared in f32; NaN to the last bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucketize(pub Vec<f32>);

/// Ids to `(id as u64) % modulus`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mod(pub u64);

/// Strings, read as bytes, to 64-bit hashes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hash(pub HashType);

/// Two columns of ids to hashes of their pairs, row by row, with the product of their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureCross;

/// Rows cut to a length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceTruncate {
    /// The most ids a row keeps (64).
    pub seq_len: usize,
    /// Whether a row that is too long and may not be cut is an error (true).
    pub check_length: bool,
    /// Whether rows are cut (true).
    pub truncate: bool,
    /// Where they are cut (left: the last ids are kept).
    pub truncate_side: Side,
}

impl Default for SequenceTruncate {
    fn default() -> Self {
        Self { seq_len: 64, check_length: true, truncate: true, truncate_side: Side::Left }
    }
}

/// An operator of a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// See [`SelectField`].
    SelectField(SelectField),
    /// See [`SelectFields`].
    SelectFields(SelectFields),
    /// See [`Bucketize`].
    Bucketize(Bucketize),
    /// See [`Mod`].
    Mod(Mod),
    /// See [`Hash`](struct@Hash).
    Hash(Hash),
    /// See [`FeatureCross`].
    FeatureCross(FeatureCross),
    /// See [`SequenceTruncate`].
    SequenceTruncate(SequenceTruncate),
}

macro_rules! into_op {
    ($($op:ident),*) => {
        $(impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$op(op)
            }
        })*
    };
}
into_op!(SelectField, SelectFields, Bucketize, Mod, Hash, FeatureCross, SequenceTruncate);

impl Op {
    /// The columns that it takes of the batch.
    pub(super) fn fields(&self) -> &[SelectField] {
        match self {
            Self::SelectField(field) => std::slice::from_ref(field),
            Self::SelectFields(fields) => &fields.0,
            _ => &[],
        }
    }

    /// How many columns it gives out of how many, or why it cannot take those.
    pub(super) fn outputs(&self, inputs: usize) -> Result<usize, String> {
        match self {
            Self::SelectField(_) | Self::SelectFields(_) if inputs > 0 => {
                Err(format!("{self} is not the first operator"))
            }
            Self::SelectField(_) => Ok(1),
            Self::SelectFields(fields) => Ok(fields.0.len()),
            _ if inputs == 0 => {
                Err(format!("{self} has nothing to work on; begin with SelectField or SelectFields"))
            }
            Self::FeatureCross(_) if inputs != 2 => {
                Err(format!("{self} needs two columns and is given {inputs}"))
            }
            Self::FeatureCross(_) => Ok(1),
            _ if inputs != 1 => Err(format!("{self} needs one column and is given {inputs}")),
            Self::Mod(Mod(0)) => Err(format!("{self}: the modulus must be at least 1")),
            Self::Bucketize(Bucketize(boundaries)) if !boundaries.is_sorted() => {
                Err(format!("{self}: the boundaries do not ascend"))
            }
            _ => Ok(1),
        }
    }

    /// Columns that go through it keep their width.
    pub(super) fn keeps_width(&self) -> bool {
        matches!(self, Self::SelectField(_) | Self::Bucketize(_) | Self::Mod(_))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelectField(field) => write!(f, "SelectField({})", field.name),
            Self::SelectFields(fields) => {
                let names: Vec<_> = fields.0.iter().map(|field| field.name.as_str()).collect();
                write!(f, "SelectFields({})", names.join(", "))
            }
            Self::Bucketize(Bucketize(boundaries)) => write!(f, "Bucketize({boundaries:?})"),
            Self::Mod(Mod(modulus)) => write!(f, "Mod({modulus})"),
            Self::Hash(Hash(hash_type)) => write!(f, "Hash({hash_type:?})"),
            Self::FeatureCross(_) => f.write_str("FeatureCross"),
            Self::SequenceTruncate(op) => {
                write!(f, "SequenceTruncate({}, {:?})", op.seq_len, op.truncate_side)
            }
        }
    }
}
