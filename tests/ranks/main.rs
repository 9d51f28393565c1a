//! Several ranks: threads of this process, and processes of their own.

mod checkpoints;
mod collectives;
#[path = "../../benches/common/data.rs"]
#[expect(dead_code, reason = "its other half is for benches")]
mod data;
/// Where the benches' model looks for it.
mod common {
    pub(crate) use crate::data;
}
#[path = "../../benches/common/deepctr.rs"]
mod deepctr;
mod equal;
mod failure;
mod harness;
#[path = "../deepctr/model.rs"]
#[expect(dead_code, reason = "its other half is for the tests of one rank")]
mod model;
mod nccl;
mod processes;
mod uneven;
