//! Finds the files that a path stands for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, Result};

/// The ORC files of a file, a directory (with all below it, by name) or several of them separated by
/// commas.
///
/// Errors: [`Error::Io`] where there is nothing or it cannot be listed; [`Error::Data`] where no
/// file ends in `.orc`.
pub fn find(path: &Path) -> Result<Vec<Arc<Path>>> {
    let mut files = Vec::new();
    for path in entries(path) {
        let known = files.len();
        let kind = std::fs::metadata(&path).map_err(Error::io(&path))?;
        if kind.is_dir() {
            walk(&path, &mut files)?;
        } else {
            files.push(path.as_path().into());
        }
        if files.len() == known {
            let place = path.display().to_string();
            return Err(Error::Data { place, what: "no file that ends in .orc below this directory".into() });
        }
    }
    Ok(files)
}

/// The entries of a comma-separated list. A path that is there is taken whole, comma or not.
fn entries(path: &Path) -> Vec<PathBuf> {
    match path.to_str() {
        Some(list) if list.contains(',') && !path.exists() => {
            list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(PathBuf::from).collect()
        }
        _ => vec![path.to_path_buf()],
    }
}

fn walk(directory: &Path, files: &mut Vec<Arc<Path>>) -> Result<()> {
    let entries = std::fs::read_dir(directory).map_err(Error::io(directory))?;
    let entries: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut entries = entries.map_err(Error::io(directory))?;
    // The system lists names in any order; ranks and runs have to agree on one.
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "orc") {
            files.push(path.into());
        }
    }
    Ok(())
}
