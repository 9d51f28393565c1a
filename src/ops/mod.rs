//! The operations, one file each: a safe function that checks sizes once and then calls the form
//! for the stream's device. The portable forms are in [`cpu`], under the same names.
//!
//! Operations on several columns take a slice of them: one call (on a GPU one launch) serves all.
//! The stream comes last. Results do not depend on the number of threads.

pub mod cpu;
pub mod modulo;
