//! Where work runs: [`Device`], [`Stream`], and memory: [`Buffer`], [`Growing`], and [`ReadBack`] for
//! what the host wants to know.

mod buffer;
mod cuda;
mod cuda_slice;
mod freed;
#[cfg_attr(not(feature = "trainer"), expect(dead_code))]
mod graph;
mod growing;
mod memory;
mod order;
mod pinned;
mod read_back;
mod recording;
#[cfg(feature = "simt")]
mod simt;
mod stream;

use std::fmt;
use std::str::FromStr;

pub use buffer::{Buffer, Element};
#[cfg(feature = "trainer")]
pub(crate) use graph::Graph;
pub use growing::Growing;
pub(crate) use order::Order;
pub use read_back::ReadBack;
pub use stream::{Event, Stream};

use crate::{Error, Result};

/// A place where operations run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The host's cores. Complete: every operation has this form.
    #[default]
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
    /// The kernels, run on the host thread by thread: a test bed, slow.
    #[cfg(feature = "simt")]
    Simt,
}

impl Device {
    /// The device of that name (`auto`, `cpu` or `cuda:N`), and why it is this one. `auto` is the
    /// first CUDA device, or the CPU where there is none.
    ///
    /// # Errors
    /// Another name, and a CUDA device that cannot be used.
    pub fn choose(name: &str) -> Result<(Self, String)> {
        if name != "auto" {
            let device: Self = name.parse()?;
            device.check()?;
            return Ok((device, "asked for".into()));
        }
        Ok(match cuda::probe() {
            Ok(_) => (Self::Cuda(0), "the first CUDA device".into()),
            Err(why) => (Self::Cpu, format!("no CUDA device: {why}")),
        })
    }

    /// The devices that this process can use, the CPU first.
    pub fn available() -> Vec<Self> {
        let mut devices = vec![Self::Cpu];
        devices.extend((0..cuda::probe().unwrap_or(0)).map(Self::Cuda));
        devices
    }

    /// Fails if the device cannot be used, saying why.
    pub fn check(self) -> Result<()> {
        let Self::Cuda(ordinal) = self else { return Ok(()) };
        let refuse = |what: String| Err(Error::Device { device: self.to_string(), what });
        match cuda::probe() {
            Ok(count) if ordinal < count => Ok(()),
            Ok(count) => refuse(format!("there are {count} CUDA devices, numbered from 0")),
            Err(why) => refuse(format!("{why}; use cpu or auto")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            #[cfg(feature = "simt")]
            Self::Simt => f.write_str("simt"),
        }
    }
}

/// Reads `cpu`, `cuda` (the first one) or `cuda:N`.
impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let number = match name {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        let what = "unknown; one of auto, cpu, cuda:N";
        number.map(Self::Cuda).ok_or_else(|| Error::Device { device: name.into(), what: what.into() })
    }
}
