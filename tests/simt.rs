//! The test bed's own tests: a kernel with one mistake is caught, and named. Each runs in a process
//! of its own, because the test bed ends it.

use std::ffi::CString;
use std::process::{Command, Output};

use recis::ffi::simt::recis_simt_planted;

const KERNEL: &str = "RECIS_PLANTED_KERNEL";

/// Not a test of its own: what the others run in a process of their own.
#[test]
fn planted() {
    if let Ok(kernel) = std::env::var(KERNEL) {
        let name = CString::new(kernel).unwrap();
        // SAFETY: the name ends with 0.
        let result = unsafe { recis_simt_planted(name.as_ptr()) };
        println!("result {result}");
    }
}

fn run(kernel: &str) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["planted", "--exact", "--nocapture"]).env(KERNEL, kernel).env("RECIS_SIMT_SECONDS", "1");
    child.output().unwrap()
}

/// Checks that the kernel ends its process, and that the message has all of `parts`.
fn caught(kernel: &str, parts: &[&str]) {
    let output = run(kernel);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{kernel} was not caught: {text}");
    assert!(text.contains(&format!("simt: kernel {kernel}")), "{text}");
    for part in parts {
        assert!(text.contains(part), "no '{part}' in: {text}");
    }
}

#[test]
fn a_sound_kernel_gives_its_result() {
    let output = run("sound");
    let text = String::from_utf8_lossy(&output.stdout);
    // Four blocks add up 0..64 each.
    assert!(output.status.success() && text.contains(&format!("result {}", 4 * 64 * 63 / 2)), "{output:?}");
}

#[test]
fn a_barrier_that_some_never_reach() {
    let parts =
        ["block (", "wait for others", "threads 0..39: in __syncthreads", "threads 40..63: have returned"];
    caught("missing_barrier", &parts);
}

#[test]
fn lanes_in_different_warp_operations() {
    caught(
        "divergent_shuffle",
        &["block (", "threads 0..0: in __shfl_xor_sync with mask ffffffff", "threads 1..1: in __shfl_sync"],
    );
}

#[test]
fn a_shuffle_from_a_lane_that_takes_no_part() {
    caught(
        "shuffle_from_nobody",
        &["block (", "thread (0, 0, 0): a shuffle reads a lane that takes no part in it"],
    );
}

#[test]
fn an_access_behind_a_buffer() {
    caught(
        "out_of_bounds",
        &["block (", "thread (0, 0, 0): access to 0x", "256 bytes from the begin of a buffer of 256"],
    );
}

#[test]
fn a_write_before_a_buffer() {
    let output = run("write_beside");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("a kernel has written beside a buffer"), "{text}");
}

#[test]
fn a_wait_without_end() {
    caught("endless_wait", &["block (", "threads 0..63: run without end"]);
}
