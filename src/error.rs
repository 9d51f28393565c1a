//! The crate's error: every variant says what went wrong, where, and (in its text) what to do.

use std::fmt;
use std::path::PathBuf;

/// What the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An operation was called with sizes, values or pointers that do not fit together.
    Shape {
        /// The operation, by its one name.
        op: &'static str,
        /// What does not fit.
        what: String,
    },
    /// An option or argument has a value that cannot be used.
    Option {
        /// The option as the user wrote it.
        option: String,
        /// Why it cannot be used, and what can.
        what: String,
    },
    /// A device that cannot be used.
    Device {
        /// The device as the user wrote it.
        device: String,
        /// Why it cannot be used, and what can.
        what: String,
    },
    /// CUDA has failed.
    Cuda(String),
    /// A model whose declaration contradicts itself.
    Model(String),
    /// A file that cannot be read or written.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Data that is not what the reader was told to expect.
    Data {
        /// File, column and row as far as they are known.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// Ranks that have lost each other.
    Rank {
        /// The rank that says so.
        rank: usize,
        /// What the ranks were to do together.
        operation: &'static str,
        /// The step in which they were to do it.
        step: u64,
        /// Which rank is missing, and why as far as it is known.
        what: String,
    },
    /// A checkpoint that cannot be written or restored.
    Checkpoint {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and what can be done.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { op, what } => write!(f, "{op}: {what}"),
            Self::Option { option, what } => write!(f, "{option}: {what}"),
            Self::Device { device, what } => write!(f, "device {device}: {what}"),
            Self::Cuda(what) => write!(f, "cuda: {what}"),
            Self::Model(what) => write!(f, "model: {what}"),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Data { place, what } => write!(f, "{place}: {what}"),
            Self::Rank { rank, operation, step, what } => {
                write!(f, "rank {rank}, {operation} of step {step}: {what}")
            }
            Self::Checkpoint { path, what } => write!(f, "checkpoint {}: {what}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Error {
    /// Turns an [`std::io::Error`] into ours, with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn shape(op: &'static str, what: impl Into<String>) -> Self {
        Self::Shape { op, what: what.into() }
    }

    #[cfg(feature = "trainer")]
    pub(crate) fn option(option: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Option { option: option.into(), what: what.into() }
    }

    #[cfg(feature = "trainer")]
    pub(crate) fn checkpoint(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.into(), what: what.into() }
    }
}

/// Fails with [`Error::Shape`] unless `fits`.
pub(crate) fn ensure(fits: bool, op: &'static str, what: impl FnOnce() -> String) -> Result<()> {
    if fits { Ok(()) } else { Err(Error::shape(op, what())) }
}
