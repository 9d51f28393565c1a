//! What happens to the columns of a batch before they are embedded (SPEC 2).
//!
//! A [`Feature`] is a chain of operators that begins by selecting columns; the [`FeatureEngine`]
//! runs many of them, operators of one kind at one position as one call. Inputs are never changed.

mod call;
mod engine;
mod feature;
mod op;
mod run;

pub use crate::ops::string_hash::HashType;
pub use crate::ops::truncate::Side as TruncateSide;
pub use engine::FeatureEngine;
pub use feature::Feature;
pub use op::{Bucketize, FeatureCross, Hash, Mod, Op, SelectField, SelectFields, SequenceTruncate};
