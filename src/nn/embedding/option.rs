use std::fmt;

use crate::ops::initialize::Initializer;

/// How the embeddings of a row's ids become one vector (SPEC 3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combiner {
    /// `Σ wᵢ eᵢ`; an empty row gives 0.
    Sum,
    /// `Σ wᵢ eᵢ / Σ wᵢ`; an empty row gives 0.
    Mean,
    /// The first `tile_len` embeddings side by side, then zeros. Weights are ignored.
    Tile {
        /// Positions a row.
        tile_len: usize,
    },
}

impl Combiner {
    /// Values a row of the result.
    pub fn width(&self, dim: usize) -> usize {
        match self {
            Self::Sum | Self::Mean => dim,
            Self::Tile { tile_len } => tile_len * dim,
        }
    }
}

impl fmt::Display for Combiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum => f.write_str("sum"),
            Self::Mean => f.write_str("mean"),
            Self::Tile { tile_len } => write!(f, "tile({tile_len})"),
        }
    }
}

/// How the gradients of a row that several ranks used become one. With one rank both are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GradReduceBy {
    /// The sum over the ranks, divided by the number of ranks.
    #[default]
    Worker,
    /// The mean over the ranks that used the row.
    Id,
}

/// How a feature is embedded.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingOption {
    /// Values an embedding (16).
    pub embedding_dim: usize,
    /// The logical table; features that name the same one share its rows.
    pub shared_name: String,
    /// How a row's embeddings become one vector (sum).
    pub combiner: Combiner,
    /// The distribution of the initial values of a row (constant 0).
    pub initializer: Initializer,
    /// Whether the weights of a column count; without weights every id counts as 1 (true).
    pub use_weight: bool,
    /// How gradients of several ranks become one (worker).
    pub grad_reduce_by: GradReduceBy,
}

impl Default for EmbeddingOption {
    fn default() -> Self {
        Self {
            embedding_dim: 16,
            shared_name: "embedding".into(),
            combiner: Combiner::Sum,
            initializer: Initializer::Constant(0.0),
            use_weight: true,
            grad_reduce_by: GradReduceBy::default(),
        }
    }
}
