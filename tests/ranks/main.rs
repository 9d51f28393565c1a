//! Several ranks: threads of this process, and processes of their own.

mod checkpoints;
mod collectives;
mod equal;
mod failure;
mod harness;
#[path = "../deepctr/model.rs"]
#[expect(dead_code, reason = "its other half is for the tests of one rank")]
mod model;
mod nccl;
mod processes;
mod uneven;
