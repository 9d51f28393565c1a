//! Kernels for click-through-rate models, and a thin trainer on top: hash-table embeddings,
//! combiners, an MLP, sparse and dense AdamW, AUC, string hashing. Written for CUDA, complete on the
//! CPU too, with nothing in between.
//!
//! There are three doors.
//!
//! # Train a model
//!
//! ```sh
//! cargo run --release --example deepctr
//! ```
//!
//! `examples/deepctr.rs` is the reading to start with: a whole model, top to bottom.
//!
//! # Measure the kernels
//!
//! ```sh
//! cargo bench --bench hash_table        # or rows, combine, linear_tile, …: one for each family
//! ```
//!
//! Every operation on every device that is there, against a copy of as many bytes in the same run.
//!
//! # Link it into a runtime of your own
//!
//! **From C and C++**: `cuda/` is a library by itself, with a header, CMake and no Rust; the README's
//! "Link it" has the commands.
//!
//! **From Rust**, leave the trainer out:
//!
//! ```toml
//! recis = { path = "…", default-features = false }
//! ```
//!
//! | feature | what it adds |
//! |---|---|
//! | none | [`device`], [`ops`], [`ffi`]: 28 crates, cudarc, rayon and `gemm-f32` the largest |
//! | `trainer` (default) | `io`, `features`, `nn`, `optim`, `metrics`, `dist`, `framework`; ORC, arrow and their like |
//! | `simt` | `Device::Simt`: the kernels on the CPU, for tests; needs a C++20 compiler |
//!
//! Kernels for GPUs are built where there is nvcc (`RECIS_CUDA=require` insists, `off` does without).
//! The program starts on a machine without a driver, and [`device::Device::choose`] says what is there.
//!
//! An operation takes its buffers, then the stream. On a GPU it is enqueued, and what the host wants to
//! know is read back when it is wanted:
//!
//! ```
//! use recis::device::{Buffer, Device, Stream};
//! use recis::ops::hash_table::HashTable;
//!
//! let (device, _why) = Device::choose("auto")?;
//! let stream = Stream::new(device)?;
//!
//! // Any 64-bit id is valid. These three are all of the first (and only) logical table.
//! let ids = Buffer::from_vec(vec![42_i64, -1, 42], &stream)?;
//! let offsets = Buffer::from_vec(vec![0_u32, 3], &stream)?;
//! let mut rows = Buffer::unset(3, &stream)?;
//!
//! let mut table = HashTable::create(1, &stream)?;
//! table.find_or_insert(&ids, &offsets, &mut rows, &stream)?;
//! let rows = rows.to_vec(&stream)?;
//! assert!(rows[0] == rows[2] && rows[0] != rows[1]);
//! # Ok::<(), recis::Error>(())
//! ```
//!
//! `examples/rust_runtime` goes on from here, as a crate of its own: string hashing, the table, the mean
//! combiner forward and backward, and a step of sparse AdamW.
//!
//! Your own streams and arrays are taken as they are:
//!
//! | you have | you write |
//! |---|---|
//! | cudarc's `Arc<CudaStream>` | [`device::Stream::from_cudarc`], back by [`device::Stream::cuda_stream`] |
//! | cudarc's `CudaSlice<T>` | [`device::Buffer::from_cuda_slice`], back by [`device::Buffer::into_cuda_slice`]; nothing is copied |
//! | a pointer that PyTorch or C++ owns | [`device::Buffer::from_raw`], which is `unsafe` |
//! | pointers and a `CUstream`, and want no more | the launchers in [`ffi`] |
//!
//! [`cudarc`] is exported, so that versions agree. A program that depends on cudarc itself takes the same
//! version of it, and any features but another version of CUDA: cudarc compiles with one of those, which
//! is `cuda-12000` here, and `cuda-version-from-build-system` yields to it.
//!
//! **Order**: work on a buffer, table or rows waits, on the device, for what the stream before was given;
//! several streams may read a buffer at once. Work that you enqueue past recis is yours to order; on the
//! same stream it is in order by itself.
//! **Threads**: everything may go to another thread; a [`ops::hash_table::HashTable`] is used by one at a
//! time. **Memory**: results and workspaces come from the device's default pool in the order of the
//! stream, and go back so, or stay with a stream of [`device::Stream::new`] for what it allocates next. A
//! launcher of [`ffi`] allocates nothing: its workspace is the caller's.
//! **Errors**: an [`Error`] says what, where and what to do; wrong sizes, devices and pointers are errors
//! before anything is enqueued. Nothing panics on them but the accessors that say so, such as
//! [`device::Buffer::host`].
//!
//! # How it is built
//!
//! Layers; imports point down only:
//!
//! - `dist`: several ranks that train one model
//! - `framework`: the trainer, its arguments, hooks, checkpoints and log lines
//! - `io`, `features`, `nn`, `optim`, `metrics`: what a model is made of, in the vocabulary of RecIS
//! - [`ops`]: one file per operation, which checks shapes once and then calls the form for the
//!   device
//! - [`device`]: devices, streams and buffers
//! - [`ffi`]: the C ABI of the kernels
//!
//! # Questions
//!
//! **Why are there CPU forms in a build for the kernels alone?** They are what the kernels are held
//! against, and what a runtime falls back to. They cost the crates `rayon` and `gemm-f32`.
//!
//! **Why only the primary context?** The kernels are linked with the CUDA runtime, which works there.
//! PyTorch, JAX and `CudaContext::new` use the same one.
//!
//! **Does it change anything of my process?** [`device::Stream::new`] lets the device's default pool keep
//! memory that is freed, keeps it from making one stream wait for another to reuse some, and holds what
//! its stream has freed until [`device::Stream::give_back_memory`], or until there is no more;
//! [`device::Stream::from_cudarc`] does none of that. Pinned memory, once made for copies from the host, is
//! kept for the next ones. There are no threads but rayon's, and a watchdog for ranks that NCCL connects.
//!
//! **Are results reproducible?** The same inputs on the same device give the same bits, and on the CPU
//! whatever the number of threads. Row numbers in a table on a GPU are not: they depend on who came
//! first. A row's initial values depend on the id alone.
//!
//! **Why is the CPU slow in this or that?** It is written to be used, but not tuned for any model of CPU;
//! `cargo bench` says how far from a copy it is.
//!
//! **What is not there?** Automatic differentiation, layers other than fully connected ones, embeddings
//! in half precision, AMD, Windows and macOS. `merge_offsets` and `ragged_dense` have no kernel, and
//! `encode_ids` that refuses ids has none either: they run on the CPU.
//!
//! # How it is tested
//!
//! Every operation runs on every device against a plain loop (`tests/ops`), floats against f64 within
//! twice the error of the plain formula in f32; every kernel against the CPU form (`tests/kernels`).
//! `cargo test` needs no GPU: the same `.cu` files run on the CPU thread by thread, between guard pages,
//! with every load and store watched for races. Results of RecIS itself are kept as vectors
//! (`tests/vectors`), a training run is held against a reference in numpy, and readers of files are fed
//! damaged ones. `CONTRIBUTING.md` has the commands.
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

/// The cudarc that [`device::Stream`] and [`device::Buffer`] take streams and arrays of. A program that
/// uses it through here has the same version.
pub use cudarc;
pub use error::{Error, Result};
#[cfg(feature = "trainer")]
pub use tensor::{Batch, DenseTensor, Position, RaggedTensor, Source, Tensor, Values};
