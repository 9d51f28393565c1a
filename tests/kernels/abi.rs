//! The header, the bindings and what was linked belong together, and nothing in it goes untested.

use recis::ffi::{RECIS_ABI_VERSION, simt};

use crate::common::launches;
use crate::{adamw, bucketize, encode_ids, modulo, relu, scale, sigmoid, string_hash};

const HEADER: &str = include_str!("../../cuda/include/recis.h");

/// The launchers that the header declares, as the operations they launch: `modulo.forward`.
fn launchers() -> Vec<String> {
    let functions = HEADER.lines().filter_map(|line| line.strip_prefix("int recis_")?.split('(').next());
    let launchers = functions.filter_map(|name| name.rsplit_once('_'));
    launchers.map(|(op, verb)| format!("{op}.{verb}")).filter(|name| name != "abi.version").collect()
}

#[test]
fn every_launcher_is_executed() {
    let tests = [
        adamw::step,
        bucketize::forward,
        encode_ids::forward,
        modulo::forward,
        relu::forward,
        relu::backward,
        scale::forward,
        sigmoid::forward,
        sigmoid::backward,
        string_hash::farm,
        string_hash::murmur,
    ];
    // They run here too, because the harness may run them later than this, or not at all.
    tests.iter().for_each(|test| test());
    let never: Vec<_> = launchers().into_iter().filter(|op| launches(op) == 0).collect();
    assert_eq!((never, launchers().len()), (vec![], tests.len()));
}

#[test]
fn the_bindings_are_those_of_the_library() {
    assert_eq!(unsafe { simt::recis_abi_version() } as u32, RECIS_ABI_VERSION);
}

/// Starts, and answers, on a machine without a driver too.
#[cfg(recis_cuda)]
#[test]
fn the_cuda_build_answers() {
    use std::ffi::CStr;
    use std::ptr::null_mut;

    use recis::ffi::{cuda, recis_status};

    assert_eq!(unsafe { cuda::recis_abi_version() } as u32, RECIS_ABI_VERSION);
    let status = unsafe { cuda::recis_modulo_forward(null_mut(), 1, 3, null_mut(), null_mut()) };
    assert_eq!(status, recis_status::RECIS_INVALID_ARGUMENT.0 as i32);
    let error = unsafe { CStr::from_ptr(cuda::recis_last_error()) }.to_string_lossy();
    assert!(error.starts_with("modulo.forward: the input is null (cuda/"), "{error}");
}
