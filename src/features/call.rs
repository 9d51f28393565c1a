//! What of a feature's operators runs at once.

use std::num::NonZeroU64;
use std::ops::Range;

use super::op::{Mod, Op};

/// An operator of a feature, and the remainder that is taken with it: before rows are cut, or of hashes. By itself a
/// remainder would read and write all ids once more.
#[derive(Debug)]
pub(super) struct Call {
    /// The places of both.
    pub ops: Range<usize>,
    /// The place of the operator.
    pub op: usize,
    /// The modulus of the remainder; a feature has none that is 0.
    pub modulus: Option<NonZeroU64>,
}

impl Call {
    /// The calls that a feature's operators take, in order.
    pub fn all(ops: &[Op]) -> Vec<Self> {
        let mut calls = Vec::new();
        let mut next = 0;
        while next < ops.len() {
            let call = Self::at(next, ops);
            next = call.ops.end;
            calls.push(call);
        }
        calls
    }

    fn at(first: usize, ops: &[Op]) -> Self {
        let with =
            |op, modulus: &Mod| Self { ops: first..first + 2, op, modulus: NonZeroU64::new(modulus.0) };
        match (&ops[first], ops.get(first + 1)) {
            (Op::Hash(_), Some(Op::Mod(modulus))) => with(first, modulus),
            (Op::Mod(modulus), Some(Op::SequenceTruncate(_))) => with(first + 1, modulus),
            _ => Self { ops: first..first + 1, op: first, modulus: None },
        }
    }
}
