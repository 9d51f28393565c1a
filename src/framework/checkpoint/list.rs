//! The file `checkpoint`, and how a new checkpoint becomes part of it.
//!
//! A save ends with two renames. Its whole folder is `ckpt_N.tmp` and the new list `checkpoint.tmp`;
//! then
//!
//! 1. `ckpt_N.tmp` becomes `ckpt_N`. From here on the checkpoint counts.
//! 2. `checkpoint.tmp` becomes `checkpoint`.
//!
//! So between the two, and only there, `checkpoint.tmp` exists and no `ckpt_*.tmp` does: it is then
//! the list. A `ckpt_N` that the new one replaces is `ckpt_N.old` meanwhile, and one that leaves the
//! list is `ckpt_N.gone` until it is removed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::file::{self, sync_dir, unreadable, unwritable};
use crate::framework::Logger;
use crate::{Error, Result};

const LIST: &str = "checkpoint";
const NEW_LIST: &str = "checkpoint.tmp";

/// The newest checkpoint of `output_dir`, or `None` if there is none. Changes nothing on disk.
///
/// # Errors
/// [`Error::Checkpoint`] if the list cannot be read, contains anything but ids, names a newest
/// checkpoint that is missing, or lacks one that is newer than all it names.
pub fn latest(output_dir: impl AsRef<Path>) -> Result<Option<PathBuf>> {
    let dir = output_dir.as_ref();
    let steps = read(dir)?;
    check_complete(dir, &steps)?;
    let Some(&newest) = steps.last() else { return Ok(None) };
    if let Some(found) = [folder(dir, newest), replaced(dir, newest)].into_iter().find(|path| path.is_dir()) {
        return Ok(Some(found));
    }
    let instead = match steps.iter().rev().find(|&&step| step != newest) {
        Some(step) => format!("to go on from ckpt_{step}"),
        None => "to start anew".into(),
    };
    let what = format!(
        "names ckpt_{newest} as the newest checkpoint, but {} is missing; put it back, or remove that line {instead}",
        folder(dir, newest).display()
    );
    Err(Error::checkpoint(dir.join(LIST), what))
}

/// How to do without the checkpoint `path`, for the end of an error message.
pub(super) fn way_out(path: &Path) -> String {
    let anew = "to train from the start, use another output_dir or do not resume".to_string();
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return anew };
    let name = name.to_string_lossy();
    let Some(step) = parse_id(name.trim_end_matches(".old")) else { return anew };
    let steps = read(dir).unwrap_or_default();
    let older = steps.iter().rev().skip_while(|&&s| s != step).find(|&&s| s != step);
    match older {
        Some(older) => format!(
            "to go on from the older ckpt_{older}, delete {} and its line in {}",
            path.display(),
            dir.join(LIST).display()
        ),
        None => format!("no older one is listed; {anew}"),
    }
}

/// Completes or undoes a save that was interrupted, and checks that the list can be read.
pub(super) fn recover(dir: &Path) -> Result<()> {
    let new_list = dir.join(NEW_LIST);
    if new_list.exists() {
        if is_committed(dir)? {
            adopt_new_list(dir)?;
        } else {
            fs::remove_file(&new_list).map_err(|e| unwritable(&new_list, e))?;
        }
    }
    for (step, suffix) in folders(dir)? {
        match suffix {
            Suffix::None => {}
            Suffix::Tmp => remove(&unfinished(dir, step))?,
            Suffix::Gone => tidy(remove(&outdated(dir, step))),
            Suffix::Old if folder(dir, step).exists() => remove(&replaced(dir, step))?,
            Suffix::Old => rename(&replaced(dir, step), &folder(dir, step))?,
        }
    }
    sync_dir(dir)?;
    read(dir).map(drop)
}

/// Makes the finished `ckpt_<step>.tmp` a checkpoint, the newest, and removes the oldest ones on the
/// list beyond `max_to_keep`.
pub(super) fn commit(dir: &Path, step: u64, max_to_keep: usize) -> Result<PathBuf> {
    let mut steps = read(dir)?;
    steps.retain(|&listed| listed != step);
    steps.push(step);
    let kept = steps.split_off(steps.len().saturating_sub(max_to_keep));
    let lines: String = kept.iter().map(|step| format!("ckpt_{step}\n")).collect();
    file::write(dir.join(NEW_LIST), lines.as_bytes())?;
    sync_dir(dir)?;

    let (path, old) = (folder(dir, step), replaced(dir, step));
    if path.exists() {
        rename(&path, &old)?;
    }
    rename(&unfinished(dir, step), &path)?;
    // On disk before the list that names it.
    sync_dir(dir)?;
    adopt_new_list(dir)?;
    sync_dir(dir)?;

    let gone = steps.into_iter().map(|step| outdated(dir, step)).chain([old]);
    gone.filter(|path| path.exists()).for_each(|path| tidy(remove(&path)));
    Ok(path)
}

/// Makes `checkpoint.tmp` the list. What it names no more is renamed before: whenever this is
/// interrupted, the next save finds what is left to be removed.
fn adopt_new_list(dir: &Path) -> Result<()> {
    let (list, new_list) = (dir.join(LIST), dir.join(NEW_LIST));
    let kept = read_list(&new_list)?.unwrap_or_default();
    // A list that cannot be read names nothing; it is replaced.
    let listed = read_list(&list).ok().flatten().unwrap_or_default();
    let gone = listed.into_iter().filter(|step| !kept.contains(step) && folder(dir, *step).exists());
    gone.for_each(|step| tidy(rename(&folder(dir, step), &outdated(dir, step))));
    rename(&new_list, &list)
}

/// The folder of a checkpoint that is being written.
pub(super) fn unfinished(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("ckpt_{step}.tmp"))
}

/// The folder of the checkpoint of that step in `dir`.
pub fn folder(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("ckpt_{step}"))
}

/// The folder of a checkpoint that is being removed.
fn outdated(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("ckpt_{step}.gone"))
}

/// The folder of a checkpoint that is being replaced.
fn replaced(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("ckpt_{step}.old"))
}

/// The steps on the list, newest last.
fn read(dir: &Path) -> Result<Vec<u64>> {
    if is_committed(dir)?
        && let Some(steps) = read_list(&dir.join(NEW_LIST))?
    {
        return Ok(steps);
    }
    Ok(read_list(&dir.join(LIST))?.unwrap_or_default())
}

fn read_list(path: &Path) -> Result<Option<Vec<u64>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unreadable(path, e)),
    };
    let damaged = |line: usize, text: &[u8]| {
        let text = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
        let what =
            format!("line {line} is {text:?}, expected an id such as ckpt_1000 and a line end; correct it");
        Error::checkpoint(path, what)
    };
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').enumerate();
    let steps = lines.map(|(i, line)| {
        let id = line.strip_suffix(b"\n").and_then(|id| std::str::from_utf8(id).ok());
        id.and_then(parse_id).ok_or_else(|| damaged(i + 1, line))
    });
    steps.collect::<Result<_>>().map(Some)
}

/// Whether `checkpoint.tmp` is the list: the folder it was written for has been renamed.
fn is_committed(dir: &Path) -> Result<bool> {
    Ok(folders(dir)?.iter().all(|(_, suffix)| *suffix != Suffix::Tmp))
}

/// Fails if a checkpoint newer than all listed ones is not listed: the list lost its end, and to
/// follow it would mean to fall back.
fn check_complete(dir: &Path, steps: &[u64]) -> Result<()> {
    let newest_listed = steps.iter().max();
    let unlisted =
        folders(dir)?.into_iter().filter(|(_, suffix)| *suffix == Suffix::None).map(|(step, _)| step);
    match unlisted.max() {
        Some(step) if Some(&step) > newest_listed => {
            let what = format!(
                "does not list ckpt_{step}, which is newer than all it lists; append the line ckpt_{step} to use it, \
                 or delete {}",
                folder(dir, step).display()
            );
            Err(Error::checkpoint(dir.join(LIST), what))
        }
        _ => Ok(()),
    }
}

#[derive(PartialEq)]
enum Suffix {
    None,
    Tmp,
    Old,
    Gone,
}

/// The folders of checkpoints in `dir`, whatever state they are in; none if `dir` does not exist.
fn folders(dir: &Path) -> Result<Vec<(u64, Suffix)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(dir, e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| unreadable(dir, e))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let (id, suffix) = match name.split_once('.') {
            None => (name, Suffix::None),
            Some((id, "tmp")) => (id, Suffix::Tmp),
            Some((id, "old")) => (id, Suffix::Old),
            Some((id, "gone")) => (id, Suffix::Gone),
            Some(_) => continue,
        };
        found.extend(parse_id(id).map(|step| (step, suffix)));
    }
    Ok(found)
}

/// The step of `ckpt_<step>`, written exactly as we write it.
fn parse_id(id: &str) -> Option<u64> {
    let step = id.strip_prefix("ckpt_")?.parse().ok()?;
    (id == format!("ckpt_{step}")).then_some(step)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| unwritable(to, e))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).map_err(|e| Error::checkpoint(path, format!("cannot be removed ({e})")))
}

/// What cannot be removed takes space, but the new checkpoint is safe: no reason to stop training.
fn tidy(result: Result<()>) {
    if let Err(error) = result {
        Logger::new("Checkpoint").warning(error);
    }
}
