//! Which file holds what, under which key: RecIS's names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::snapshot::TableSnapshot;

pub(super) const STATE: &str = "state.json";
pub(super) const INDEX: &str = "index";
pub(super) const TENSOR_KEY: &str = "tensorkey.json";
pub(super) const DENSE: &str = "dense.safetensors";

/// The slot under which a table's ids are stored.
pub(super) const ID: &str = "id";

/// The file `index`.
#[derive(Serialize, Deserialize)]
pub(super) struct Index {
    /// Key → number of the file that holds it.
    pub block_index: BTreeMap<String, usize>,
    /// File name → its number.
    pub file_index: BTreeMap<String, usize>,
}

/// Everything stored per row of a table, ids first.
pub(super) fn slots(table: &TableSnapshot) -> impl Iterator<Item = &str> {
    std::iter::once(ID).chain(table.slots.iter().map(|(slot, _)| slot.as_str()))
}

/// The key of a slot: part 0 of 1, since one process writes whole tables.
pub(super) fn key(table: &str, slot: &str) -> String {
    format!("{table}.{slot}/part_0_1")
}

/// RecIS's internal name of a slot, with the whole range of its 65536 slices.
pub(super) fn internal_name(table: &str, slot: &str) -> String {
    format!("{table}@{slot}^00000@65536@65536")
}

/// The name of file `number` of `count`.
pub(super) fn file_name(number: usize, count: usize) -> String {
    format!("model-{number:06}-of-{count:06}.safetensors")
}
