//! Reading a checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rayon::prelude::*;

use super::file;
use super::layout::{self, Index};
use super::list;
use super::snapshot::Snapshot;
use super::state::{self, State};
use super::tensors::{self, Array};
use crate::snapshot::{ArrayData, ArraySnapshot, TableSnapshot};
use crate::{Error, Result};

/// Reads the checkpoint in the folder `path`, as [`super::latest`] returns it.
///
/// # Errors
/// [`Error::Checkpoint`], naming the file, if anything is missing, was changed since it was
/// written, or contradicts the rest. It says how to continue from the checkpoint before; this is
/// never done silently.
pub fn load(path: impl AsRef<Path>) -> Result<Snapshot> {
    let dir = path.as_ref();
    read(dir).map_err(|error| match error {
        Error::Checkpoint { path, what } => Error::Checkpoint {
            path,
            what: format!("{what}; restore it from a copy, or {}", list::way_out(dir)),
        },
        other => other,
    })
}

fn read(dir: &Path) -> Result<Snapshot> {
    let state = State::read(dir)?;
    let mut slots = Slots::read(dir, &state)?;
    let tables = state.tables.iter().map(|table| slots.take_table(table)).collect::<Result<_>>()?;
    slots.check_none_left()?;
    // Nothing here reads its contents, but a damaged file would break the tools that do.
    file::read(dir.join(layout::TENSOR_KEY), state.seal(dir, layout::TENSOR_KEY)?)?;
    let arrays = read_arrays(dir, &state)?;
    let snapshot = Snapshot { step: state.step, tables, arrays, progress: state.progress };
    snapshot.check().map_err(|what| Error::checkpoint(dir, what))?;
    Ok(snapshot)
}

/// The ids and slots of all tables, by key.
struct Slots<'a> {
    dir: &'a Path,
    index: Index,
    /// By number.
    names: Vec<String>,
    files: Vec<HashMap<String, Array>>,
}

impl<'a> Slots<'a> {
    fn read(dir: &'a Path, state: &State) -> Result<Self> {
        let index = read_index(dir, state)?;
        let names = (0..index.file_index.len())
            .map(|number| layout::file_name(number, index.file_index.len()))
            .collect::<Vec<_>>();
        let expected: BTreeMap<_, _> = names.iter().cloned().zip(0..).collect();
        if index.file_index != expected {
            return Err(Error::checkpoint(
                dir.join(layout::INDEX),
                "file_index does not number the files in order",
            ));
        }
        let files = names
            .par_iter()
            .map(|name| tensors::read(dir.join(name), state.seal(dir, name)?))
            .collect::<Result<_>>()?;
        Ok(Self { dir, index, names, files })
    }

    fn take_table(&mut self, table: &state::Table) -> Result<TableSnapshot> {
        let (file, ids) = self.take(&table.name, layout::ID)?;
        let (rows, ids) = match (&ids.shape[..], ids.data) {
            (&[rows], ArrayData::I64(ids)) => (rows, ids),
            (shape, data) => return Err(self.unfit(&table.name, layout::ID, file, shape, &data, "I64 [n]")),
        };
        let mut slots = Vec::with_capacity(table.slots.len());
        for slot in &table.slots {
            let (file, array) = self.take(&table.name, slot)?;
            match (&array.shape[..], array.data) {
                (shape, ArrayData::F32(values)) if *shape == [rows, table.dim] => {
                    slots.push((slot.clone(), values))
                }
                (shape, data) => {
                    let expected = format!("F32 [{rows}, {}]", table.dim);
                    return Err(self.unfit(&table.name, slot, file, shape, &data, &expected));
                }
            }
        }
        Ok(TableSnapshot { name: table.name.clone(), dim: table.dim, ids, slots })
    }

    /// Takes an array out, with the number of the file it was in.
    fn take(&mut self, table: &str, slot: &str) -> Result<(usize, Array)> {
        let key = layout::key(table, slot);
        let index = self.dir.join(layout::INDEX);
        let number = self.index.block_index.remove(&key);
        let number = number.ok_or_else(|| Error::checkpoint(&index, format!("does not name '{key}'")))?;
        let file = self.files.get_mut(number);
        let file = file.ok_or_else(|| {
            Error::checkpoint(&index, format!("'{key}' is in file {number}, which is not one"))
        })?;
        let absent = || format!("does not hold '{key}', which index says it does");
        let array = file
            .remove(&key)
            .ok_or_else(|| Error::checkpoint(self.dir.join(&self.names[number]), absent()))?;
        Ok((number, array))
    }

    /// What is there but belongs to no table must not be dropped in silence.
    fn check_none_left(&self) -> Result<()> {
        if let Some(key) = self.index.block_index.keys().next() {
            return Err(Error::checkpoint(
                self.dir.join(layout::INDEX),
                format!("names '{key}', which state.json does not"),
            ));
        }
        let mut left =
            self.files.iter().zip(&self.names).filter_map(|(file, name)| Some((name, file.keys().next()?)));
        match left.next() {
            Some((name, key)) => Err(Error::checkpoint(
                self.dir.join(name),
                format!("holds '{key}', which index does not name"),
            )),
            None => Ok(()),
        }
    }

    fn unfit(
        &self,
        table: &str,
        slot: &str,
        file: usize,
        shape: &[usize],
        data: &ArrayData,
        expected: &str,
    ) -> Error {
        let dtype = match data {
            ArrayData::F32(_) => "F32",
            ArrayData::F64(_) => "F64",
            ArrayData::I64(_) => "I64",
        };
        let what = format!("'{}' is {dtype} {shape:?}, expected {expected}", layout::key(table, slot));
        Error::checkpoint(self.dir.join(&self.names[file]), what)
    }
}

fn read_index(dir: &Path, state: &State) -> Result<Index> {
    let path = dir.join(layout::INDEX);
    let bytes = file::read(path.clone(), state.seal(dir, layout::INDEX)?)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::checkpoint(path, format!("damaged: {e}")))
}

fn read_arrays(dir: &Path, state: &State) -> Result<Vec<ArraySnapshot>> {
    let path = dir.join(layout::DENSE);
    let mut found = tensors::read(path.clone(), state.seal(dir, layout::DENSE)?)?;
    let mut arrays = Vec::with_capacity(state.arrays.len());
    for name in &state.arrays {
        let array = found.remove(name);
        let Array { shape, data } =
            array.ok_or_else(|| Error::checkpoint(&path, format!("does not hold '{name}'")))?;
        arrays.push(ArraySnapshot { name: name.clone(), shape, data });
    }
    match found.keys().next() {
        Some(name) => Err(Error::checkpoint(path, format!("holds '{name}', which state.json does not name"))),
        None => Ok(arrays),
    }
}
