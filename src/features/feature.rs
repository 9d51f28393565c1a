use super::op::Op;
use crate::{Error, Result};

/// A named chain of operators; the first selects columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    name: String,
    ops: Vec<Op>,
}

impl Feature {
    /// A feature without operators.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ops: Vec::new() }
    }

    /// Appends an operator.
    pub fn add_op(mut self, op: impl Into<Op>) -> Self {
        self.ops.push(op.into());
        self
    }

    /// Its name, under which its result stands in the batch.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its operators.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The columns that it selects.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.ops.iter().flat_map(Op::fields).map(|field| field.name.as_str())
    }

    /// Values a row of the result, if [`super::SelectField::dim`] says so.
    pub fn width(&self) -> Option<usize> {
        match self.ops.first() {
            Some(Op::SelectField(field)) if self.ops.iter().all(Op::keeps_width) => field.dim,
            _ => None,
        }
    }

    /// Fails if an operator cannot follow the one before.
    pub(super) fn validate(&self) -> Result<()> {
        let unfit = |what: String| Error::Model(format!("feature '{}': {what}", self.name));
        let mut columns = 0;
        for op in &self.ops {
            columns = op.outputs(columns).map_err(unfit)?;
        }
        match columns {
            1 => Ok(()),
            0 => Err(unfit("it selects no column".into())),
            _ => Err(unfit(format!("it ends in {columns} columns instead of one"))),
        }
    }
}
