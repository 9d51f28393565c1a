//! What the user asks of a column, and whether a file's column can give it.

use orc_rust::proto::r#type::Kind;

use super::orc::Schema;
use super::{Dtype, HashType, Varlen};

/// A selected column.
#[derive(Clone, Debug)]
pub struct Feature {
    pub name: String,
    pub form: Form,
    pub dtype: Dtype,
}

/// The tensor that a column becomes.
#[derive(Clone, Debug)]
pub enum Form {
    /// `[rows, default.len()]`; empty and null rows become `default`.
    Fixed { default: Vec<f64> },
    /// Rows of any length.
    Varlen(Varlen),
}

impl Feature {
    /// The column's type id in a file, or why the file's column cannot be read as asked.
    pub fn locate(&self, schema: &Schema) -> Result<usize, String> {
        let Some(id) = schema.column(&self.name) else {
            let columns: Vec<_> = schema.columns().map(|(name, _)| name).collect();
            return Err(format!("not in the file, which has {}", columns.join(", ")));
        };
        self.check(schema, id).map_err(|what| format!("is {}; {what}", schema.describe(id)))?;
        Ok(id)
    }

    /// What the parts of the column will look like: parts of one column must be alike.
    pub fn nature(&self, schema: &Schema, id: usize) -> Nature {
        let (leaf, levels) = innermost(schema, id);
        let fields = schema.children(leaf).map(|field| class(schema.kind(field))).collect();
        Nature { levels, class: class(schema.kind(leaf)), fields }
    }

    fn check(&self, schema: &Schema, id: usize) -> Result<(), &'static str> {
        let (leaf, levels) = innermost(schema, id);
        if levels == 0 {
            return Err("only lists can be read: write each row's values as a list");
        }
        match &self.form {
            Form::Fixed { .. } if levels > 1 => Err("a fixedlen feature is a list of numbers"),
            Form::Fixed { default } => match class(schema.kind(leaf)) {
                Class::Float => Ok(()),
                Class::Integer if default.iter().all(|value| value.fract() == 0.0) => Ok(()),
                Class::Integer => Err("its default has to be whole numbers"),
                _ => Err("a fixedlen feature is a list of numbers"),
            },
            Form::Varlen(varlen) => self.check_varlen(schema, leaf, varlen),
        }
    }

    fn check_varlen(&self, schema: &Schema, leaf: usize, varlen: &Varlen) -> Result<(), &'static str> {
        let encoded = varlen.hash_type.is_some() || varlen.trans_int8;
        match class(schema.kind(leaf)) {
            Class::String if encoded => Ok(()),
            Class::String => Err("strings need a hash_type, or trans_int8 to be read as bytes"),
            _ if encoded => Err("hash_type and trans_int8 are for strings"),
            Class::Integer | Class::Float => Ok(()),
            Class::Struct => {
                let fields: Vec<_> = schema.children(leaf).map(|field| class(schema.kind(field))).collect();
                match fields[..] {
                    [Class::Integer | Class::Float, Class::Integer | Class::Float] => Ok(()),
                    _ => Err("structs are read as a value and its weight, both numbers"),
                }
            }
            Class::Other => Err("its values are neither numbers nor strings"),
        }
    }
}

/// The type inside all lists, and how many lists there are around it.
fn innermost(schema: &Schema, mut id: usize) -> (usize, usize) {
    let mut levels = 0;
    while schema.kind(id) == Kind::List
        && let Some(child) = schema.children(id).next()
    {
        (id, levels) = (child, levels + 1);
    }
    (id, levels)
}

/// The nesting and the type of a column's values, and of a value and its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nature {
    levels: usize,
    class: Class,
    fields: Vec<Class>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Integer,
    Float,
    String,
    Struct,
    Other,
}

fn class(kind: Kind) -> Class {
    match kind {
        Kind::Byte | Kind::Short | Kind::Int | Kind::Long => Class::Integer,
        Kind::Float | Kind::Double => Class::Float,
        Kind::String | Kind::Varchar | Kind::Char => Class::String,
        Kind::Struct => Class::Struct,
        _ => Class::Other,
    }
}

/// The id of a string, as the readers of RecIS compute it: `bucket` 0 keeps the lower 63 bits of
/// the hash, a positive one takes the remainder, a negative one keeps all bits.
pub fn string_id(hash: HashType, bucket: i64, bytes: &[u8]) -> i64 {
    let hash = hash.hash(bytes);
    match bucket {
        0 => (hash & i64::MAX as u64) as i64,
        1.. => (hash % bucket as u64) as i64,
        _ => hash as i64,
    }
}
