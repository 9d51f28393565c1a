//! `state.json`: what the other files do not say, and what they must look like.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::{self, Seal, unreadable};
use super::layout::STATE;
use super::snapshot::Snapshot;
use crate::{Error, Result};

/// Raised whenever an older reader would misread what is written.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
pub(super) struct State {
    format: u32,
    pub step: u64,
    /// In model order, which the other files do not keep.
    pub tables: Vec<Table>,
    /// The names of the arrays, in order.
    pub arrays: Vec<String>,
    pub progress: serde_json::Value,
    pub files: BTreeMap<String, Seal>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Table {
    pub name: String,
    pub dim: usize,
    pub slots: Vec<String>,
}

impl State {
    pub fn new(snapshot: &Snapshot, files: BTreeMap<String, Seal>) -> Self {
        let tables = snapshot.tables.iter().map(|table| Table {
            name: table.name.clone(),
            dim: table.dim,
            slots: table.slots.iter().map(|(slot, _)| slot.clone()).collect(),
        });
        Self {
            format: FORMAT,
            step: snapshot.step,
            tables: tables.collect(),
            arrays: snapshot.arrays.iter().map(|array| array.name.clone()).collect(),
            progress: snapshot.progress.clone(),
            files,
        }
    }

    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(STATE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::checkpoint(&path, format!("cannot be written ({e})")))?;
        file::write(path, with_crc(text.trim_end_matches("\n}")).as_bytes()).map(drop)
    }

    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE);
        let damaged = |what: String| Error::checkpoint(&path, format!("damaged: {what}"));
        let bytes = std::fs::read(&path).map_err(|e| unreadable(&path, e))?;
        let text = String::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
        let intact = text.rfind(CRC).is_some_and(|end| with_crc(&text[..end]) == text);
        if !intact {
            return Err(damaged("its text changed since it was written (crc32)".into()));
        }

        // Read first, and alone: another format may have other members.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if format != FORMAT {
            let what = format!("written in format {format}, and this version of recis reads {FORMAT} only");
            return Err(Error::checkpoint(&path, what));
        }
        serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))
    }

    /// What the file `name` of this checkpoint must look like.
    pub fn seal(&self, dir: &Path, name: &str) -> Result<Seal> {
        let unknown = || Error::checkpoint(dir.join(STATE), format!("does not list the file '{name}'"));
        self.files.get(name).copied().ok_or_else(unknown)
    }
}

/// What stands between the text that the checksum is of and the checksum.
const CRC: &str = ",\n  \"crc32\": ";

/// Completes a JSON object that lacks its closing brace by the checksum of its text. Compared as
/// text when read, so that every byte of the file counts.
fn with_crc(open_object: &str) -> String {
    format!("{open_object}{CRC}{}\n}}\n", crc32fast::hash(open_object.as_bytes()))
}
