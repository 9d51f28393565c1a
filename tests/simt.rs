//! The test bed's own tests: a kernel with one mistake is caught, and named. Each runs in a process
//! of its own, because the test bed ends it.

use std::ffi::CString;
use std::process::{Command, Output};

use recis::ffi::simt::{recis_simt_allow_races, recis_simt_planted};

const KERNEL: &str = "RECIS_PLANTED_KERNEL";
const ALLOWED: &str = "RECIS_PLANTED_RACES_ALLOWED";

/// Not a test of its own: what the others run in a process of their own.
#[test]
fn planted() {
    if let Ok(kernel) = std::env::var(KERNEL) {
        let name = CString::new(kernel).unwrap();
        // SAFETY: it sets a flag of this thread.
        unsafe { recis_simt_allow_races(std::env::var(ALLOWED).is_ok().into()) };
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

/// Checks that a kernel is let through, with its result.
fn passes(kernel: &str, result: i32) {
    let output = run(kernel);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(&format!("result {result}\n")), "{kernel}: {output:?}");
}

/// Where in planted.cu the line is that contains `code`, as reports say it.
fn place(code: &str) -> String {
    let source = include_str!("../cuda/simt/planted.cu");
    let line = source.lines().position(|line| line.contains(code)).unwrap() + 1;
    format!("at cuda/simt/planted.cu:{line} in ")
}

#[test]
fn sound_kernels_give_their_results() {
    // Four blocks add up 0..64 each.
    passes("sound", 4 * 64 * 63 / 2);
    passes("sound_count", 4 * 64);
    passes("sound_votes", 4 * (2 * 11 - 40 - 8 + 31 + 63));
    passes("sound_words", 17);
    passes("sound_lanes", 4 * 64);
    passes("sound_bytes", 4 * (64 + 16));
    passes("sound_rounds", 4 * 64 * 5);
}

#[test]
fn what_is_published_by_a_fence_and_an_atomic_may_be_read() {
    passes("publish<Publish::rightly>", 7);
    passes("last_block", 4 * 28);
    passes("insert", 4 * 64 * 3);
}

#[test]
fn blocks_that_store_to_the_same_place() {
    let line = place("out[5] = int(blockIdx.x)");
    let parts = [
        "a race: writes 4 bytes at 0x",
        ", 20 bytes from the begin of a buffer of 256",
        &line,
        "blocks_store",
    ];
    caught("blocks_store", &parts);
    caught("blocks_store", &["thread (0, 0, 0) wrote it before, in no order", "Blocks run at the same time"]);
    let line = place("out[0] = out[0] + 1");
    caught("blocks_count", &["a race: ", "in no order", &line]);
    caught("blocks_share_a_byte", &["a race: writes 1 bytes at 0x", "wrote it before"]);
}

#[test]
fn races_that_a_test_allows() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["planted", "--exact", "--nocapture"]).env(KERNEL, "blocks_store").env(ALLOWED, "1");
    assert!(child.output().unwrap().status.success());
}

#[test]
fn a_plain_load_of_what_other_blocks_add_to() {
    let (add, load) = (place("atomicAdd(&out[0], 1);"), place("out[1 + blockIdx.x] = out[0];"));
    caught("blocks_read_a_counter", &["a race: ", "An atomic on one side alone", &add, &load]);
}

#[test]
fn what_is_not_published_rightly() {
    for mistake in ["without_fence", "with_a_fence_for_the_block", "without_barrier", "unread"] {
        let kernel = format!("publish<Publish::{mistake}>");
        caught(
            &kernel,
            &["a race: ", "bytes from the begin of a buffer of 256", "If one shall see what the other wrote"],
        );
    }
}

#[test]
fn threads_of_a_block_without_a_barrier_between() {
    let (write, read) = (
        place("shared[threadIdx.x] = int(threadIdx.x);  // too late"),
        place("shared[63 - threadIdx.x]);  // too early"),
    );
    let hint = "Threads of a block: __syncthreads()";
    caught("threads_without_barrier", &["a race: ", "of a __shared__ variable", hint, &write, &read]);
    caught("threads_overwrite", &["thread (63, 0, 0): a race: writes 4 bytes", "read it before", hint]);
    caught(
        "threads_of_a_buffer",
        &["thread (3, 0, 0): a race: ", "160 bytes from the begin of a buffer", hint],
    );
    let parts = ["36 bytes from the begin of the dynamic shared memory", "Lanes of a warp: __syncwarp()"];
    caught("lanes_without_barrier", &parts);
    caught("counter_without_barrier", &["a race: writes atomically", "thread (5, 0, 0) read it before"]);
}

#[test]
fn shared_memory_that_nobody_has_written() {
    let nobody = "which no thread of the block has written";
    caught("unwritten", &["thread (23, 0, 0): reads 4 bytes of a __shared__ variable", nobody]);
    let dynamic = "32 bytes from the begin of the dynamic shared memory";
    caught("unwritten_dynamic", &["thread (8, 0, 0)", dynamic, nobody]);
    caught("unwritten_counter", &["thread (0, 0, 0): reads atomically", nobody]);
}

#[test]
fn an_access_beside_a_buffer() {
    let parts = ["an access outside: reads 4 bytes", "-4 bytes from the begin of a buffer of 256"];
    caught("read_beside", &parts);
    let parts = ["an access outside: writes 4 bytes", "-4 bytes from the begin of a buffer of 256"];
    caught("write_beside", &parts);
    let parts = ["an access outside: reads 4 bytes", "256 bytes from the begin of the dynamic shared memory"];
    caught("read_beside_shared", &parts);
    caught("misaligned", &["not aligned: reads 8 bytes", "4 bytes from the begin of a buffer of 256"]);
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
        &[
            "block (",
            "thread (0, 0, 0): an access outside: reads 4 bytes at 0x",
            "256 bytes from the begin of a buffer of 256",
        ],
    );
}

#[test]
fn a_wait_without_end() {
    caught("endless_wait", &["block (", "threads 0..63: run without end"]);
}
