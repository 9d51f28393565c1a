//! Optimizers: one for the rows of tables, one for dense parameters.
//!
//! Tables and parameters are apart by construction, so what RecIS needs `filter_out_sparse_param`
//! for happens by itself: the sparse optimizer gets the tables, the dense one the rest.

mod adamw;
mod parameter;
mod sparse_adamw;

pub use adamw::{AdamW, DenseOptimizer, Take};
pub use parameter::{Parameter, ParameterSpec};
pub use sparse_adamw::{SparseAdamWTF, SparseOptimizer, SparseState};
