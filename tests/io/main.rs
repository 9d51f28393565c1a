//! Reading ORC files: what is in the rows, in which order they come, where a pass is continued, and
//! what happens to files that are not what they should be.

mod codecs;
mod content;
mod damaged;
mod features;
#[path = "../../examples/inspect/json_rows.rs"]
mod json_rows;
mod lies;
mod memory;
mod order;
mod reading;
#[path = "../common/root.rs"]
mod root;
mod usage;
mod write;
