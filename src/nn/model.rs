use super::embedding::{EmbeddingOption, MakeTable, PhysicalTable, Table, embedding_table};
use super::layer::{Layer, Sequential};
use super::loss::Loss;
use crate::Result;
use crate::device::Stream;
use crate::features::Feature;
use crate::metrics::Metric;

/// A model as its author declares it: what happens to the columns, which tables embed them, in what
/// order the results are concatenated, the layers above, the loss and the metrics. [`super::Plan`]
/// checks it and makes it run.
pub struct Model {
    pub(super) features: Vec<Feature>,
    pub(super) embeddings: Vec<(String, EmbeddingOption)>,
    pub(super) inputs: Vec<String>,
    pub(super) dense: Sequential,
    pub(super) label: String,
    pub(super) loss: Box<dyn Loss>,
    pub(super) metrics: Vec<(String, Box<dyn Metric>)>,
    pub(super) make_table: Box<MakeTable>,
}

impl Model {
    /// A model of `dense` layers trained towards `label` with `loss`.
    pub fn new(dense: Sequential, label: impl Into<String>, loss: impl Loss + 'static) -> Self {
        Self {
            features: Vec::new(),
            embeddings: Vec::new(),
            inputs: Vec::new(),
            dense,
            label: label.into(),
            loss: Box::new(loss),
            metrics: Vec::new(),
            make_table: Box::new(embedding_table),
        }
    }

    /// What happens to the columns of a batch.
    pub fn features(mut self, features: Vec<Feature>) -> Self {
        self.features = features;
        self
    }

    /// How features are embedded. A feature without an option is used as it is.
    pub fn embeddings(mut self, options: Vec<(&str, EmbeddingOption)>) -> Self {
        self.embeddings = options.into_iter().map(|(name, option)| (name.into(), option)).collect();
        self
    }

    /// Makes tables of one's own instead of [`super::embedding::EmbeddingTable`]; `make` is given each
    /// physical table and the seed of its initial values.
    pub fn tables(
        mut self,
        make: impl Fn(&PhysicalTable, u64, &Stream) -> Result<Box<dyn Table>> + 'static,
    ) -> Self {
        self.make_table = Box::new(make);
        self
    }

    /// The features, embedded or not, whose rows side by side are the first layer's input.
    pub fn concat(mut self, names: &[&str]) -> Self {
        self.inputs = names.iter().map(|&name| name.into()).collect();
        self
    }

    /// A metric of predictions and labels, logged under `name`.
    pub fn add_metric(mut self, name: impl Into<String>, metric: impl Metric + 'static) -> Self {
        self.metrics.push((name.into(), Box::new(metric)));
        self
    }

    pub(super) fn layers(&self) -> &[Box<dyn Layer>] {
        &self.dense.layers
    }
}
