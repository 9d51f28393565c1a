//! What a checkpoint holds.

use std::collections::HashSet;

use super::layout;
use crate::snapshot::{ArraySnapshot, TableSnapshot};

/// Everything that training continues from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Steps finished.
    pub step: u64,
    /// The embedding tables, in model order.
    pub tables: Vec<TableSnapshot>,
    /// Everything of fixed shape: dense parameters, optimizer moments, metric counts.
    pub arrays: Vec<ArraySnapshot>,
    /// Where training stands: epoch, position in the data and the like. Kept as JSON, where a
    /// float may lose its last bit: floats belong into `arrays`.
    pub progress: serde_json::Value,
}

impl Snapshot {
    /// Says what does not fit together, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        self.tables.iter().try_for_each(check_table)?;
        self.arrays.iter().try_for_each(check_array)?;
        // Table "a.b" with slot "c" and table "a" with slot "b.c" would share a key.
        let mut keys = HashSet::new();
        for table in &self.tables {
            for key in layout::slots(table).map(|slot| layout::key(&table.name, slot)) {
                if let Some(key) = keys.replace(key) {
                    return Err(format!("two slots would be stored as '{key}'; rename a table or slot"));
                }
            }
        }
        let mut names = HashSet::new();
        match self.arrays.iter().find(|array| !names.insert(&array.name)) {
            Some(array) => Err(format!("two arrays are named '{}'; rename one", array.name)),
            None => Ok(()),
        }
    }
}

fn check_table(table: &TableSnapshot) -> Result<(), String> {
    let TableSnapshot { name, dim, ids, slots } = table;
    if *dim == 0 {
        return Err(format!("table '{name}' has rows of 0 values"));
    }
    if let Some(k) = ids.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(format!(
            "table '{name}': ids must ascend, but row {k} is {} and row {} is {}",
            ids[k],
            k + 1,
            ids[k + 1]
        ));
    }
    match slots.iter().find(|(_, values)| ids.len().checked_mul(*dim) != Some(values.len())) {
        Some((slot, values)) => Err(format!(
            "table '{name}', slot '{slot}': {} values for {} rows of {dim}",
            values.len(),
            ids.len()
        )),
        None => Ok(()),
    }
}

fn check_array(array: &ArraySnapshot) -> Result<(), String> {
    let ArraySnapshot { name, shape, data } = array;
    if name == "__metadata__" {
        return Err("'__metadata__' is no name for an array: safetensors reserves it".into());
    }
    let expected = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    if expected == Some(data.len()) {
        Ok(())
    } else {
        Err(format!("array '{name}': {} values for shape {shape:?}", data.len()))
    }
}
