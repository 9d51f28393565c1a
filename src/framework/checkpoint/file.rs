//! Files whose length and crc32 are known: summed while they are written, checked while they are
//! read, so that neither takes a second pass.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Small enough that bytes are still in the cache when the second of the two (disk and sum) sees them.
const CHUNK: usize = 1 << 18;

/// What a file must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    pub bytes: u64,
    pub crc32: u32,
}

/// A file being written.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    crc: crc32fast::Hasher,
    bytes: u64,
}

impl Writer {
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(|e| unwritable(&path, e))?;
        Ok(Self { path, file, crc: crc32fast::Hasher::new(), bytes: 0 })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            self.crc.update(chunk);
            self.file.write_all(chunk).map_err(|e| unwritable(&self.path, e))?;
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Returns when the file is on disk.
    pub fn finish(self) -> Result<Seal> {
        self.file.sync_all().map_err(|e| unwritable(&self.path, e))?;
        Ok(Seal { bytes: self.bytes, crc32: self.crc.finalize() })
    }
}

/// A file being read. Nothing that was read may be used before [`Reader::finish`] said that it is
/// what was written.
pub(super) struct Reader {
    path: PathBuf,
    file: File,
    crc: crc32fast::Hasher,
    seal: Seal,
}

impl Reader {
    /// Opens a file and checks its length, which bounds all that is allocated for its contents.
    pub fn open(path: PathBuf, seal: Seal) -> Result<Self> {
        let file = File::open(&path).map_err(|e| unreadable(&path, e))?;
        let bytes = file.metadata().map_err(|e| unreadable(&path, e))?.len();
        if bytes != seal.bytes {
            let what = format!("has {bytes} bytes where {} were written: cut short or replaced", seal.bytes);
            return Err(Error::checkpoint(path, what));
        }
        Ok(Self { path, file, crc: crc32fast::Hasher::new(), seal })
    }

    pub fn read(&mut self, into: &mut [u8]) -> Result<()> {
        for chunk in into.chunks_mut(CHUNK) {
            self.file.read_exact(chunk).map_err(|e| unreadable(&self.path, e))?;
            self.crc.update(chunk);
        }
        Ok(())
    }

    /// The length of the file.
    pub fn bytes(&self) -> u64 {
        self.seal.bytes
    }

    /// An error about this file.
    pub fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::checkpoint(&self.path, format!("damaged: {what}"))
    }

    /// Checks, after all bytes were read, that they are the ones that were written.
    pub fn finish(self) -> Result<()> {
        if self.crc.clone().finalize() == self.seal.crc32 {
            Ok(())
        } else {
            Err(self.damaged("its bytes changed since it was written (crc32)"))
        }
    }
}

/// Writes a small file at once.
pub(super) fn write(path: PathBuf, bytes: &[u8]) -> Result<Seal> {
    let mut writer = Writer::create(path)?;
    writer.write(bytes)?;
    writer.finish()
}

/// Reads a small file at once.
pub(super) fn read(path: PathBuf, seal: Seal) -> Result<Vec<u8>> {
    let mut reader = Reader::open(path, seal)?;
    // As long as the file itself, see `open`.
    let mut bytes = vec![0; seal.bytes as usize];
    reader.read(&mut bytes)?;
    reader.finish()?;
    Ok(bytes)
}

/// Makes the names in a directory durable, as `sync_all` makes a file's contents.
pub(super) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| unwritable(path, e))
}

/// The error for what the system refuses to write.
pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    let what = format!("cannot be written ({error}); earlier checkpoints are as they were");
    Error::checkpoint(path, what)
}

/// The error for what the system refuses to read.
pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::checkpoint(path, "missing"),
        _ => Error::checkpoint(path, format!("cannot be read ({error})")),
    }
}
