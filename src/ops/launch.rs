//! From an operation to the launcher of its kernels, in the build for the stream's device.

use std::ffi::c_void;

use crate::device::{Buffer, Device, Stream};
use crate::error::Error;

/// Calls a launcher of the C ABI with these arguments and the stream behind them.
///
/// The caller has checked the sizes; pointers come from [`Buffer::on`](crate::device::Buffer), which
/// checks the device.
macro_rules! launch {
    ($stream:expr, $launcher:ident($($argument:expr),* $(,)?)) => {
        match $stream.device() {
            #[cfg(recis_cuda)]
            $crate::device::Device::Cuda(_) => {
                let raw = $stream.raw()?;
                // SAFETY: what the header asks of the arguments, the operation has checked.
                let status = unsafe { $crate::ffi::cuda::$launcher($($argument,)* raw) };
                $crate::ops::launch::check_cuda(status)
            }
            #[cfg(feature = "simt")]
            $crate::device::Device::Simt => {
                let raw = $stream.raw()?;
                // SAFETY: what the header asks of the arguments, the operation has checked.
                let status = unsafe { $crate::ffi::simt::$launcher($($argument,)* raw) };
                $crate::ops::launch::check_simt(status)
            }
            _ => {
                let _ = ($($argument,)*);
                Err::<(), _>($crate::ops::launch::no_kernels($stream))
            }
        }
    };
}

/// Calls a function of the C ABI that takes no stream, in the build for the stream's device.
macro_rules! call {
    ($stream:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $stream.device() {
            #[cfg(recis_cuda)]
            $crate::device::Device::Cuda(_) => {
                let _ = $stream.raw()?;
                // SAFETY: what the header asks of the arguments, the operation has checked.
                $crate::ops::launch::check_cuda(unsafe { $crate::ffi::cuda::$function($($argument,)*) })
            }
            #[cfg(feature = "simt")]
            $crate::device::Device::Simt => {
                // SAFETY: what the header asks of the arguments, the operation has checked.
                $crate::ops::launch::check_simt(unsafe { $crate::ffi::simt::$function($($argument,)*) })
            }
            _ => {
                let _ = ($($argument,)*);
                Err::<(), _>($crate::ops::launch::no_kernels($stream))
            }
        }
    };
}

/// A workspace as large as `recis_<op>_workspace_size` says.
macro_rules! workspace {
    ($stream:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let mut bytes = 0usize;
        $crate::ops::launch::call!($stream, $function($($argument,)* &raw mut bytes))
            .and_then(|()| $crate::device::Buffer::<u8>::unset(bytes, $stream))
    }};
}

pub(crate) use {call, launch, workspace};

/// A workspace as launchers take it.
pub fn scratch_on(scratch: &mut Buffer<u8>, stream: &Stream) -> crate::Result<(*mut c_void, usize)> {
    Ok((scratch.on_mut(stream)?.cast(), scratch.len()))
}

/// Fails with what the CUDA build says of its last error, unless the status is fine.
#[cfg(recis_cuda)]
pub fn check_cuda(status: i32) -> crate::Result<()> {
    // SAFETY: the text is copied before this thread's next call.
    check(status, || unsafe { crate::ffi::cuda::recis_last_error() })
}

/// Fails with what the SIMT build says of its last error, unless the status is fine.
#[cfg(feature = "simt")]
pub fn check_simt(status: i32) -> crate::Result<()> {
    // SAFETY: the text is copied before this thread's next call.
    check(status, || unsafe { crate::ffi::simt::recis_last_error() })
}

#[cfg(any(recis_cuda, feature = "simt"))]
fn check(status: i32, last_error: impl FnOnce() -> *const std::ffi::c_char) -> crate::Result<()> {
    if status == crate::ffi::recis_status::RECIS_OK.0 as i32 {
        return Ok(());
    }
    // SAFETY: the text ends with 0.
    let text = unsafe { std::ffi::CStr::from_ptr(last_error()) };
    Err(Error::Cuda(text.to_string_lossy().into_owned()))
}

/// The error of a stream whose device has no kernels in this build.
pub fn no_kernels(stream: &Stream) -> Error {
    let device = stream.device();
    let what = "this build has no kernels for it";
    Error::Device { device: device.to_string(), what: what.into() }
}

/// The error of an operation that has only a CPU form.
pub fn only_cpu(op: &'static str, device: Device) -> Error {
    Error::Device { device: device.to_string(), what: format!("{op} has no kernel; run it on cpu") }
}
