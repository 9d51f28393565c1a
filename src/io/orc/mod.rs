//! What stands between a file and orc-rust, which decodes it.
//!
//! orc-rust trusts what a file says about itself: it may recurse without end, allocate what a
//! damaged length asks for, or panic. So it never sees a file. [`OrcFile`] reads and checks the
//! tail, [`Stripe`] reads, decompresses and checks the streams of one column and hands them over
//! as an uncompressed stripe of that column alone, and a panic that is still left becomes an
//! error. Every read is positioned, so that any number of threads can share one open file.

mod compression;
mod file;
mod rle;
mod schema;
mod stripe;

pub use file::{Extent, OrcFile};
pub use schema::Schema;
pub use stripe::Stripe;
