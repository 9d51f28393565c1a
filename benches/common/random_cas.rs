//! Compare-and-swap at random slots: what an insertion does at least, and is held against.

use cudarc::driver::{CudaSlice, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use rand::Rng;
use recis::device::Stream;
use recis::{Error, Result};

use crate::common::{Baseline, Bench, data};

/// Thread i claims the slot of 16 bytes at the i-th place, by the first 8 of them.
const KERNEL: &str = "
.version 7.0
.target sm_70
.address_size 64
.visible .entry random_cas(.param .u64 slots, .param .u64 places, .param .u32 count) {
    .reg .pred %p;
    .reg .b32 %block, %size, %thread, %i, %count, %place;
    .reg .b64 %from, %to, %offset, %empty, %claimed, %before;
    mov.u32 %block, %ctaid.x;
    mov.u32 %size, %ntid.x;
    mov.u32 %thread, %tid.x;
    mad.lo.u32 %i, %block, %size, %thread;
    ld.param.u32 %count, [count];
    setp.ge.u32 %p, %i, %count;
    @%p bra done;
    ld.param.u64 %from, [places];
    mul.wide.u32 %offset, %i, 4;
    add.u64 %from, %from, %offset;
    ld.global.nc.u32 %place, [%from];
    ld.param.u64 %to, [slots];
    mul.wide.u32 %offset, %place, 16;
    add.u64 %to, %to, %offset;
    mov.u64 %empty, 0;
    mov.u64 %claimed, 1;
    atom.global.cas.b64 %before, [%to], %empty, %claimed;
done:
    ret;
}";
const SLOT: usize = 16;
const THREADS: u32 = 256;

/// How long `count` claims among so many empty slots take, a batch of them a launch; none on the CPU.
pub fn baseline(bench: &mut Bench<'_>, slots: usize, count: usize, batch: usize) -> Result<Option<Baseline>> {
    let Some(stream) = bench.stream().cuda_stream().cloned() else { return Ok(None) };
    let module = stream.context().load_module(Ptx::from_src(KERNEL)).map_err(failed)?;
    let kernel = module.load_function("random_cas").map_err(failed)?;
    let mut random = data::random(1);
    let places: Vec<_> = (0..count).map(|_| random.random_range(0..slots as u32)).collect();
    let places = stream.clone_htod(&places).map_err(failed)?;
    let empty = |_: &Stream| stream.alloc_zeros::<u8>(SLOT * slots).map_err(failed);
    let claim = |slots: &mut CudaSlice<u8>, _: &Stream| {
        (0..count).step_by(batch).try_for_each(|first| {
            let some = places.slice(first..count.min(first + batch));
            let claims = some.len() as u32;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&mut *slots).arg(&some).arg(&claims);
            let grid = (claims.div_ceil(THREADS), 1, 1);
            let config = LaunchConfig { grid_dim: grid, block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
            // SAFETY: the places are those of slots, and as many as the kernel is told.
            unsafe { launch.launch(config) }.map(drop).map_err(failed)
        })
    };
    bench.baseline_fresh("random 8-byte CAS", empty, claim).map(Some)
}

fn failed(error: DriverError) -> Error {
    Error::Cuda(error.to_string())
}
