//! Checkpoints on disk. Knows nothing of models: a [`Snapshot`] is named tables and arrays.
//!
//! ```text
//! output_dir/
//!   checkpoint                           ids, one a line, newest last:  ckpt_1000 ↵ ckpt_2000 ↵
//!   ckpt_2000/
//!     model-000000-of-000004.safetensors  <table>.id/part_0_1         i64 [n], ascending
//!     …                                   <table>.<slot>/part_0_1     f32 [n, dim]
//!     index                               which of these files holds which key
//!     tensorkey.json                      key → RecIS's internal name
//!     dense.safetensors                   the arrays: parameters, their moments, metric counts
//!     state.json                          format, step, progress; length and crc32 of each file
//! ```
//!
//! Several ranks bring their rows to rank 0, which writes them: the files do not depend on how many
//! there were, and any number can read them, each keeping the rows that it owns. So rank 0 needs the
//! memory for whole tables while it saves, and so does each rank while it loads.
//!
//! Names and layout of the tables are RecIS's; `dense.safetensors` and `state.json` stand where it
//! has torch pickles. Row `k` of every slot belongs to id `k`. The same snapshot gives the same
//! bytes.
//!
//! A save that is interrupted at any point leaves either the checkpoints that were there before it
//! or those and the new one. A damaged checkpoint is an error and never passed over: which
//! checkpoint to continue from instead is the user's choice, and the error says how to make it.

mod file;
mod layout;
mod list;
mod load;
mod save;
mod snapshot;
mod state;
mod tensors;

pub use list::{folder as path, latest};
pub use load::load;
pub use save::save;
pub use snapshot::Snapshot;
