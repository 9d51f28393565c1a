//! Where work runs: [`Device`], [`Stream`] and [`Buffer`].

mod buffer;

use std::fmt;
use std::str::FromStr;

pub use buffer::{Buffer, Element};

use crate::{Error, Result};

/// A place where operations run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The host's cores. Complete: every operation has this form.
    #[default]
    Cpu,
}

impl Device {
    /// The device of that name (`auto`, `cpu` or `cuda:N`), and why it is this one.
    pub fn choose(name: &str) -> Result<(Self, &'static str)> {
        match name {
            "auto" => Ok((Self::Cpu, "the only device so far")),
            _ => Ok((name.parse()?, "asked for")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

/// Reads `cpu` or `cuda:N`.
impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let refuse = |what: &str| Err(Error::Device { device: name.into(), what: what.into() });
        match name {
            "cpu" => Ok(Self::Cpu),
            _ if name == "cuda" || name.starts_with("cuda:") => {
                refuse("the operations do not run on CUDA devices yet; use cpu or auto")
            }
            _ => refuse("unknown; one of auto, cpu, cuda:N"),
        }
    }
}

/// An order of execution on a device. Operations take it last, and are enqueued on it.
///
/// On [`Device::Cpu`] an operation has finished when its call returns.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    device: Device,
}

impl Stream {
    /// A new stream on `device`.
    pub fn new(device: Device) -> Result<Self> {
        Ok(Self { device })
    }

    /// The device whose work this stream orders.
    pub fn device(&self) -> Device {
        self.device
    }
}
