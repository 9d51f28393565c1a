//! Ranks on GPUs. Without one, only what NCCL says without one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use recis::device::{Device, Stream};
use recis::dist::launch::{World, start_with};
use recis::dist::nccl::Nccl;
use recis::dist::{Communicator, process};
use recis::ops::partition_ids::Owner;

use crate::collectives::exercise;
use crate::equal::check;
use crate::harness::trace;
use crate::processes::child;

/// How many CUDA devices there are.
fn gpus() -> usize {
    Device::available().into_iter().filter(|device| matches!(device, Device::Cuda(_))).count()
}

fn gpu() -> Option<Device> {
    let found = (gpus() > 0).then_some(Device::Cuda(0));
    if found.is_none() {
        println!("no CUDA device: not run");
    }
    found
}

fn connect(world: &World, device: Device) -> recis::Result<Nccl> {
    let timeout = Duration::from_secs(60);
    Nccl::connect(process::connect(world, timeout)?, &Stream::new(device)?, timeout)
}

fn alone() -> World {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    World { rank: 0, local_rank: 0, world_size: 1, address: "127.0.0.1".into(), port }
}

#[test]
fn without_nccl_or_a_device_the_error_says_so() {
    match Nccl::version() {
        Ok(version) => {
            println!("NCCL {version}");
            assert!(version >= 2_07_00);
            let error = connect(&alone(), Device::Cpu).unwrap_err().to_string();
            assert!(error.starts_with("device cpu: NCCL is for CUDA devices"), "{error}");
        }
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains("libnccl.so.2") || error.contains("NCCL cannot be opened"), "{error}");
        }
    }
}

#[test]
fn one_rank_through_nccl_learns_what_one_without_does() {
    let Some(device) = gpu() else { return };
    let rank: Arc<dyn Communicator> = Arc::new(connect(&alone(), device).unwrap());
    exercise(rank.as_ref(), &Stream::new(device).unwrap());
    let expected = trace(None, device, Owner::Balanced, 20).unwrap();
    let found = trace(Some(rank.clone()), device, Owner::Balanced, 20).unwrap();
    println!("sent by one rank: {:?}", rank.sent());
    check(&expected, &[found], "one rank through NCCL");
}

/// Two ranks that share a device, which NCCL allows from 2.30.3 on, if `RECIS_NCCL_SHARED` is set.
#[test]
fn two_ranks_share_a_device() {
    if gpu().is_none() || std::env::var_os("RECIS_NCCL_SHARED").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    start_with(2, &AtomicBool::new(false), |_| {
        let mut command = child("nccl", folder.path());
        command.envs([
            ("NCCL_MULTI_RANK_GPU_ENABLE", "1"),
            ("NCCL_NVLS_ENABLE", "0"),
            ("NCCL_MAX_CTAS", "4"),
        ]);
        command.stderr(std::process::Stdio::inherit());
        command
    })
    .unwrap();
}

#[test]
fn two_ranks_have_a_device_each() {
    if gpus() < 2 {
        return println!("fewer than two CUDA devices: not run");
    }
    let folder = tempfile::tempdir().unwrap();
    start_with(2, &AtomicBool::new(false), |_| {
        let mut command = child("nccl", folder.path());
        command.stderr(std::process::Stdio::inherit());
        command
    })
    .unwrap();
}

/// What a child of these tests does: on the device of its number, or on one that the ranks share.
pub fn on_a_device(world: &World) {
    if gpus() == 0 {
        return;
    }
    let device = Device::Cuda(world.local_rank % gpus());
    let rank: Arc<dyn Communicator> = Arc::new(connect(world, device).unwrap());
    exercise(rank.as_ref(), &Stream::new(device).unwrap());
    let expected = trace(None, device, Owner::Balanced, 20).unwrap();
    let found = trace(Some(rank.clone()), device, Owner::Balanced, 20).unwrap();
    for (a, b) in expected.losses.iter().zip(&found.losses) {
        assert!((a - b).abs() <= 1e-5, "{a} and {b}");
    }
    eprintln!("rank {} of {} on {device}: sent {:?}", world.rank, world.world_size, rank.sent());
}
