//! Which logical tables share one physical table (SPEC 3.2).

use super::{Combiner, EmbeddingOption};
use crate::{Error, Result};

/// Logical tables whose rows live in one storage because they look alike.
#[derive(Clone, Debug, PartialEq)]
pub struct PhysicalTable {
    /// The options that its logical tables have in common; the first feature's.
    pub option: EmbeddingOption,
    /// The logical tables, in order of first appearance.
    pub children: Vec<String>,
    /// The features and the logical table of each, as a place in `children`.
    pub features: Vec<(String, usize)>,
    /// The features that may be combined in one call, by combiner and use of weights: RecIS's
    /// runtime groups.
    pub runtime_groups: Vec<(Combiner, bool, Vec<String>)>,
}

/// Logical tables a physical table can hold: RecIS encodes the table in 12 bits of a key.
const MAX_CHILDREN: usize = 4094;

/// Groups the tables of `options` (feature, option). Tables of the same dim, initializer and
/// gradient reduction share storage.
///
/// # Errors
/// A table named by two features with different options, a feature that appears twice, and sizes
/// that hold nothing.
pub fn coalesce(options: &[(String, EmbeddingOption)]) -> Result<Vec<PhysicalTable>> {
    let mut tables: Vec<PhysicalTable> = Vec::new();
    for (i, (feature, option)) in options.iter().enumerate() {
        if options[..i].iter().any(|(other, _)| other == feature) {
            return Err(Error::Model(format!("feature '{feature}' has two embedding options")));
        }
        check(feature, option)?;
        let name = &option.shared_name;
        if let Some(other) = tables.iter().find(|t| t.children.contains(name) && !alike(&t.option, option)) {
            return Err(Error::Model(format!(
                "table '{name}' has two different options: feature '{feature}' wants {}, feature '{}' {}",
                describe(option),
                other.features[0].0,
                describe(&other.option),
            )));
        }
        let place = tables.iter().position(|t| alike(&t.option, option)).unwrap_or(tables.len());
        if place == tables.len() {
            tables.push(PhysicalTable {
                option: option.clone(),
                children: Vec::new(),
                features: Vec::new(),
                runtime_groups: Vec::new(),
            });
        }
        tables[place].add(feature, option)?;
    }
    Ok(tables)
}

impl PhysicalTable {
    fn add(&mut self, feature: &str, option: &EmbeddingOption) -> Result<()> {
        let child = self.children.iter().position(|child| *child == option.shared_name);
        let child = child.unwrap_or_else(|| {
            self.children.push(option.shared_name.clone());
            self.children.len() - 1
        });
        if child >= MAX_CHILDREN {
            return Err(Error::Model(format!("more than {MAX_CHILDREN} logical tables look alike")));
        }
        self.features.push((feature.into(), child));
        let kind = |combiner: &Combiner| std::mem::discriminant(combiner);
        let group = (self.runtime_groups.iter_mut()).find(|(combiner, weighted, _)| {
            kind(combiner) == kind(&option.combiner) && *weighted == option.use_weight
        });
        match group {
            Some((_, _, features)) => features.push(feature.into()),
            None => self.runtime_groups.push((option.combiner, option.use_weight, vec![feature.into()])),
        }
        Ok(())
    }
}

fn check(feature: &str, option: &EmbeddingOption) -> Result<()> {
    let refuse = |what: String| Err(Error::Model(format!("embedding option of feature '{feature}': {what}")));
    if option.embedding_dim == 0 {
        return refuse("embedding_dim is 0".into());
    }
    if option.combiner == (Combiner::Tile { tile_len: 0 }) {
        return refuse("tile_len is 0".into());
    }
    if option.shared_name.is_empty() {
        return refuse("shared_name is empty".into());
    }
    option.initializer.validate().or_else(|e| refuse(e.to_string()))
}

fn alike(a: &EmbeddingOption, b: &EmbeddingOption) -> bool {
    a.embedding_dim == b.embedding_dim
        && a.initializer == b.initializer
        && a.grad_reduce_by == b.grad_reduce_by
}

fn describe(option: &EmbeddingOption) -> String {
    format!("dim {}, {}, {:?}", option.embedding_dim, option.initializer, option.grad_reduce_by)
}
