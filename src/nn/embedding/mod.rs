//! Embedding tables and the engine that looks up a batch's features in them.

mod coalesce;
mod engine;
mod group;
mod option;
mod partitioner;
mod sharding;
mod table;

pub use coalesce::{PhysicalTable, coalesce};
pub use engine::{EmbeddingEngine, MakeTable, embedding_table};
pub use option::{Combiner, EmbeddingOption, GradReduceBy};
pub use partitioner::{BatchIds, Partitioner};
pub use sharding::{Notice, Sharding, reduce_gradients};
pub use table::{EmbeddingTable, Table};
