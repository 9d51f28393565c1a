//! The raw C ABI of the kernels: launchers on raw pointers and streams.
//!
//! `cuda/include/recis.h` says what every function does and requires. [`crate::ops`] is the safe
//! way to the same operations.
//!
//! There are two builds of the same kernels: `cuda`, where the crate was built with nvcc, and
//! `simt`, with the feature of that name, which runs them on the CPU, for tests. Both have the
//! same functions, and the status they return is a [`recis_status`]. `recis_last_error` of the same
//! build says more, until the thread's next call into it.

#[cfg_attr(not(recis_cuda), expect(dead_code, reason = "the functions are those of the CUDA build"))]
#[allow(missing_docs, non_camel_case_types, reason = "made by scripts/bindings from the documented header")]
mod bindings;

pub use bindings::{
    CUstream_st, RECIS_ABI_VERSION, RECIS_NO_ROW, recis_adamw_parameter, recis_combined,
    recis_combined_gradient, recis_denominator, recis_dense_columns, recis_distribution, recis_gradients,
    recis_hash_table, recis_hash_table_counter, recis_ids_column, recis_initializer, recis_linear_size,
    recis_lookup, recis_mlp_layer, recis_occurrences, recis_owner, recis_precision, recis_ragged, recis_rows,
    recis_side, recis_status, recis_stream_t, recis_tile,
};

/// The kernels on a CUDA device. Pointers are device memory; launches are enqueued on the stream, in the
/// calling thread's current context, which must be the device's primary one.
///
/// ```no_run
/// use recis::cudarc::driver::{CudaContext, DevicePtr, DevicePtrMut};
/// use recis::ffi::{cuda::recis_modulo_forward, recis_status};
///
/// let stream = CudaContext::new(0)?.new_stream()?;
/// let ids = stream.clone_htod(&[7_i64, 10, 12])?;
/// let mut out = stream.alloc_zeros::<i64>(3)?;
/// {
///     // What these return besides orders the work with that of cudarc on other streams.
///     let (from, _read) = ids.device_ptr(&stream);
///     let (to, _written) = out.device_ptr_mut(&stream);
///     stream.context().bind_to_thread()?;
///     // SAFETY: both are three numbers in the device's memory.
///     let status = unsafe {
///         recis_modulo_forward(from as *const i64, 3, 5, to as *mut i64, stream.cu_stream().cast())
///     };
///     assert_eq!(status, recis_status::RECIS_OK.0 as i32);
/// }
/// assert_eq!(stream.clone_dtoh(&out)?, [2, 0, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(recis_cuda)]
pub mod cuda {
    pub use super::bindings::*;
}

/// The kernels on the CPU, thread by thread, and what the tests need besides. Pointers are host
/// memory; streams are ignored, and a launch has finished when the call returns.
///
/// A test bed for logic and hazards, not for speed. It ends the program with a message on standard
/// error when a kernel does what would hang or corrupt a device; `cuda/simt/simt.hpp` lists what it
/// catches and what it cannot.
///
/// Arrays are aligned to 16 bytes, as on a device; [`simt::recis_simt_allocate`] puts them between guard
/// pages, and with a [`Buffer`](crate::device::Buffer) of [`Device::Simt`](crate::device::Device::Simt)
/// that is done already.
///
/// ```
/// use recis::ffi::{recis_status, simt::*};
///
/// // SAFETY: three numbers each, and no stream, which is ignored.
/// unsafe {
///     let bytes = 3 * size_of::<i64>();
///     let [ids, out] = [0; 2].map(|_| recis_simt_allocate(bytes).cast::<i64>());
///     ids.copy_from_nonoverlapping([7, 10, 12].as_ptr(), 3);
///     let status = recis_modulo_forward(ids, 3, 5, out, std::ptr::null_mut());
///     assert_eq!(status, recis_status::RECIS_OK.0 as i32);
///     assert_eq!(std::slice::from_raw_parts(out, 3), [2, 0, 2]);
///
///     let status = recis_modulo_forward(ids, -1, 5, out, std::ptr::null_mut());
///     assert_eq!(status, recis_status::RECIS_INVALID_ARGUMENT.0 as i32);
///     let why = std::ffi::CStr::from_ptr(recis_last_error()).to_string_lossy();
///     assert!(why.contains("modulo"), "{why}");
///     [ids, out].map(|array| recis_simt_release(array.cast()));
/// }
/// ```
#[cfg(feature = "simt")]
pub mod simt {
    #![allow(missing_docs, reason = "documented in the header")]
    use core::ffi::{c_char, c_int, c_void};

    use super::bindings::*;

    include!(concat!(env!("OUT_DIR"), "/simt.rs"));

    unsafe extern "C" {
        /// Memory for `bytes` bytes that ends against a page without access, as near as an aligned
        /// beginning allows. Null if there is none. The contents are unspecified.
        pub fn recis_simt_allocate(bytes: usize) -> *mut c_void;
        /// Frees what [`recis_simt_allocate`] gave; null is fine. Ends the program if a kernel has
        /// written beside it.
        pub fn recis_simt_release(memory: *mut c_void);
        /// How often kernels of an operation, such as `modulo.forward`, have been launched.
        pub fn recis_simt_launches(op: *const c_char) -> i64;
        /// Whether kernels that the calling thread launches from now on may race (not 0) or end the
        /// program (0, as at the beginning). For tests of contents that break the rules, such as
        /// overlapping segments, where only memory safety counts.
        pub fn recis_simt_allow_races(allow: c_int);
        /// Runs a kernel of `cuda/simt/planted.cu` by name and returns its result; −1 if there is
        /// none of that name.
        pub fn recis_simt_planted(name: *const c_char) -> c_int;
    }
}
