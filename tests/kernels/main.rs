//! Every kernel, run thread by thread on the CPU between guard pages, against the operation's CPU
//! form; and what the launchers refuse.

mod abi;
mod adamw;
mod bucketize;
mod common;
mod encode_ids;
mod modulo;
mod relu;
mod scale;
mod sigmoid;
mod string_hash;
