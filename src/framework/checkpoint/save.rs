//! Writing a checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::Dtype;

use super::file::{self, Seal, sync_dir, unwritable};
use super::layout::{self, Index};
use super::list;
use super::snapshot::Snapshot;
use super::state::State;
use super::tensors::{self, Block};
use crate::snapshot::ArrayData;
use crate::{Error, Result};

/// Writes `<output_dir>/ckpt_<step>` and makes it the newest checkpoint; returns its path.
///
/// Tables are spread over `save_concurrency` files, or fewer if there are fewer arrays to spread.
/// Of the checkpoints listed in `output_dir`, the newest `max_to_keep` stay. When this returns, the
/// checkpoint is on disk; if it fails, the ones before are as they were. One process at a time may
/// save to a directory.
///
/// # Errors
/// [`Error::Option`] if `max_to_keep` or `save_concurrency` is 0; [`Error::Checkpoint`] if the
/// snapshot contradicts itself, the list in `output_dir` is damaged, or the disk refuses.
pub fn save(
    output_dir: impl AsRef<Path>,
    snapshot: &Snapshot,
    max_to_keep: usize,
    save_concurrency: usize,
) -> Result<PathBuf> {
    for (option, value) in [("max_to_keep", max_to_keep), ("save_concurrency", save_concurrency)] {
        if value == 0 {
            return Err(Error::option(option, "is 0; use 1 or more"));
        }
    }
    let output_dir = output_dir.as_ref();
    snapshot.check().map_err(|what| Error::checkpoint(list::folder(output_dir, snapshot.step), what))?;

    fs::create_dir_all(output_dir).map_err(|e| unwritable(output_dir, e))?;
    list::recover(output_dir)?;
    let dir = list::unfinished(output_dir, snapshot.step);
    fs::create_dir(&dir).map_err(|e| unwritable(&dir, e))?;

    let mut files = write_tables(&dir, snapshot, save_concurrency)?;
    files.insert(layout::DENSE.into(), tensors::write(dir.join(layout::DENSE), array_blocks(snapshot))?);
    State::new(snapshot, files).write(&dir)?;
    sync_dir(&dir)?;
    list::commit(output_dir, snapshot.step, max_to_keep)
}

/// Writes the tables, side by side, and what tells where each of their slots is.
fn write_tables(dir: &Path, snapshot: &Snapshot, save_concurrency: usize) -> Result<BTreeMap<String, Seal>> {
    let blocks = table_blocks(snapshot);
    let count = save_concurrency.min(blocks.len());
    let names: Vec<String> = (0..count).map(|number| layout::file_name(number, count)).collect();
    let index = Index {
        block_index: blocks.iter().enumerate().map(|(i, block)| (block.key.clone(), i % count)).collect(),
        file_index: names.iter().cloned().zip(0..).collect(),
    };

    let mut dealt: Vec<Vec<Block<'_>>> = names.iter().map(|_| Vec::new()).collect();
    for (i, block) in blocks.into_iter().enumerate() {
        dealt[i % count].push(block);
    }
    let mut files: BTreeMap<String, Seal> = names
        .into_par_iter()
        .zip(dealt)
        .map(|(name, blocks)| tensors::write(dir.join(&name), blocks).map(|seal| (name, seal)))
        .collect::<Result<_>>()?;
    files.insert(layout::INDEX.into(), write_json(dir.join(layout::INDEX), &index)?);
    files
        .insert(layout::TENSOR_KEY.into(), write_json(dir.join(layout::TENSOR_KEY), &tensor_keys(snapshot))?);
    Ok(files)
}

/// Ids and slots of all tables, in the order in which they are dealt to the files.
fn table_blocks(snapshot: &Snapshot) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    for table in &snapshot.tables {
        let rows = table.ids.len();
        blocks.push(Block {
            key: layout::key(&table.name, layout::ID),
            dtype: Dtype::I64,
            shape: vec![rows],
            bytes: bytemuck::cast_slice(&table.ids),
        });
        blocks.extend(table.slots.iter().map(|(slot, values)| Block {
            key: layout::key(&table.name, slot),
            dtype: Dtype::F32,
            shape: vec![rows, table.dim],
            bytes: bytemuck::cast_slice(values),
        }));
    }
    blocks
}

fn array_blocks(snapshot: &Snapshot) -> Vec<Block<'_>> {
    let arrays = snapshot.arrays.iter().map(|array| Block {
        key: array.name.clone(),
        dtype: match array.data {
            ArrayData::F32(_) => Dtype::F32,
            ArrayData::F64(_) => Dtype::F64,
            ArrayData::I64(_) => Dtype::I64,
        },
        shape: array.shape.clone(),
        bytes: array.data.bytes(),
    });
    arrays.collect()
}

fn tensor_keys(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let tables = snapshot.tables.iter();
    let slots = tables.flat_map(|table| layout::slots(table).map(|slot| (table.name.as_str(), slot)));
    slots.map(|(table, slot)| (layout::key(table, slot), layout::internal_name(table, slot))).collect()
}

fn write_json(path: PathBuf, value: &impl serde::Serialize) -> Result<Seal> {
    match serde_json::to_vec(value) {
        Ok(bytes) => file::write(path, &bytes),
        Err(e) => Err(Error::checkpoint(path, format!("cannot be written ({e})"))),
    }
}
