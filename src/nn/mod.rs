//! Embeddings, layers, losses, and the plan that runs them.
//!
//! A [`Model`] is a declaration: data that a user writes. A [`Plan`] derives from it, once, the
//! sequence of operations of a step. What the library lacks comes in by implementing a trait:
//! [`Layer`], [`Loss`], [`embedding::Table`] or [`crate::metrics::Metric`].

pub mod embedding;
mod layer;
mod loss;
mod model;
mod plan;

pub use crate::ops::initialize::Initializer;
pub use crate::optim::{Parameter, ParameterSpec};
pub use crate::snapshot::{ArrayData, ArraySnapshot, ModelSnapshot, TableSnapshot};
pub use embedding::{Combiner, EmbeddingEngine, EmbeddingOption};
pub use layer::Activation::{self, Relu, Sigmoid};
pub use layer::{Backward, Layer, Linear, Sequential};
pub use loss::{BceLoss, Loss};
pub use model::Model;
pub use plan::{PendingStep, Plan, PlanOptions, PreparedBatch, Preparer, StepOutput, Turn};
