//! Train click-through-rate models with kernels written for the job and nothing in between.
//!
//! The crate is a house of layers; imports point down only:
//!
//! - [`framework`]: [`framework::Trainer`], its arguments, hooks, checkpoints and log lines
//! - [`io`], [`features`], [`nn`], [`optim`], [`metrics`]: what a model is made of, in the
//!   vocabulary of RecIS
//! - [`dist`]: several ranks that train one model
//! - [`ops`]: one file per operation, which checks shapes once and then calls the form for the
//!   device
//! - [`device`]: devices, streams and buffers
//! - [`ffi`]: the C ABI of the kernels
//!
//! `examples/deepctr.rs` is the reading to start with: a whole model, top to bottom.
#![deny(missing_docs)]

pub mod device;
#[cfg(feature = "trainer")]
pub mod dist;
mod error;
pub mod ffi;
pub mod ops;

#[cfg(feature = "trainer")]
pub mod features;
#[cfg(feature = "trainer")]
pub mod framework;
#[cfg(feature = "trainer")]
pub mod io;
#[cfg(feature = "trainer")]
pub mod metrics;
#[cfg(feature = "trainer")]
pub mod nn;
#[cfg(feature = "trainer")]
pub mod optim;
#[cfg(feature = "trainer")]
mod snapshot;
#[cfg(feature = "trainer")]
mod tensor;

pub use error::{Error, Result};
#[cfg(feature = "trainer")]
pub use tensor::{Batch, DenseTensor, Position, RaggedTensor, Source, Tensor, Values};
