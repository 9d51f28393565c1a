//! Ranks on GPUs. Without one, only what NCCL says without one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use recis::device::{Buffer, Device, Stream};
use recis::dist::launch::{World, start_with};
use recis::dist::nccl::Nccl;
use recis::dist::{Communicator, process};
use recis::nn::PlanOptions;
use recis::ops::partition_ids::Owner;

use crate::collectives::exercise;
use crate::deepctr;
use crate::equal::{check, furthest, model_distance};
use crate::harness::{STEPS, part, trace};
use crate::processes::{Place, at, child, connect, gpus};

fn gpu() -> Option<Device> {
    let found = (gpus() > 0).then_some(Device::Cuda(0));
    if found.is_none() {
        println!("no CUDA device: not run");
    }
    found
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
            let timeout = Duration::from_secs(60);
            let processes = process::connect(&alone(), timeout).unwrap();
            let error = Nccl::connect(processes, &Stream::default(), timeout).unwrap_err().to_string();
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
    let rank = connect(&alone(), device).unwrap();
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
        let mut command = at(Place::Gpus, child("learn", folder.path()));
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
fn two_processes_learn_what_one_does() {
    Place::of_two().into_iter().for_each(|place| place.run("learn"));
}

/// The document's model; on CPUs only if `RECIS_RANKS_DEEPCTR` is set: there it takes minutes.
#[test]
fn two_gpus_learn_deepctr_as_one_does() {
    let on_cpus = std::env::var_os("RECIS_RANKS_DEEPCTR").is_some();
    let places = Place::of_two().into_iter().filter(|place| *place == Place::Gpus || on_cpus);
    places.for_each(|place| place.run("deepctr"));
}

/// What a rank of the small model does there.
pub fn learn(rank: &Arc<dyn Communicator>, device: Device) {
    exercise(rank.as_ref(), &Stream::new(device).unwrap());
    let alone = trace(None, device, Owner::Balanced, STEPS).unwrap();
    for owner in [Owner::Balanced, Owner::Slices] {
        let found = trace(Some(rank.clone()), device, owner, STEPS).unwrap();
        let losses = difference(&alone.losses, &found.losses);
        assert!(losses <= 1e-5, "{owner:?}: a loss is {losses} off");
        // The whole model is on rank 0.
        if rank.rank() == 0 {
            let model = model_distance(&alone.model, &found.model, &format!("{owner:?}"));
            assert!(model <= 1e-4, "{owner:?}: a parameter or embedding is {model} off");
            eprintln!("{owner:?} on {device}: losses at most {losses:e} off, the model {model:e}");
        }
        let sizes: Vec<_> = found.sizes.iter().map(|(_, size)| *size).collect();
        for (table, sizes) in sizes_of_all(rank, device, &sizes).into_iter().enumerate() {
            assert_eq!(
                sizes.iter().sum::<usize>(),
                alone.sizes[table].1,
                "{owner:?}: {}",
                found.sizes[table].0
            );
        }
    }
    eprintln!("rank {} on {device}: sent {:?}", rank.rank(), rank.sent());
}

/// What a rank of the document's model does there: as [`learn`], on batches of 1024 rows.
pub fn learn_deepctr(rank: &Arc<dyn Communicator>, device: Device) {
    const STEPS: usize = 20;
    let batches = deepctr::batches((0, 1), 4, 1024, &Stream::default()).unwrap();
    let train = |rank: Option<&Arc<dyn Communicator>>, owner| {
        let (me, ranks) = rank.map_or((0, 1), |rank| (rank.rank(), rank.world_size()));
        let options = PlanOptions { device, communicator: rank.cloned(), owner, ..PlanOptions::default() };
        let mut plan = deepctr::plan(&options).unwrap();
        plan.update_every(1);
        let losses = batches.iter().cycle().take(STEPS).map(|batch| {
            let output = plan.train_batch(&part(batch, me, ranks)).unwrap().wait().unwrap();
            plan.apply_gradients().unwrap();
            output.loss
        });
        let losses: Vec<f32> = losses.collect();
        let sizes = plan.table_sizes().unwrap().into_iter().map(|(name, size)| (name.to_string(), size));
        (losses, sizes.collect::<Vec<_>>())
    };
    let (alone, all) = train(None, Owner::Balanced);
    for owner in [Owner::Balanced, Owner::Slices] {
        let (losses, sizes) = train(Some(rank), owner);
        let worst = difference(&alone, &losses);
        if rank.rank() == 0 {
            eprintln!("DeepCTR of two ranks, {owner:?}: the losses of {STEPS} steps at most {worst:e} off");
            eprintln!("  {losses:?}");
        }
        assert!(worst <= 1e-5, "{owner:?}: a loss is {worst} off: {losses:?}, of one rank {alone:?}");
        let own: Vec<_> = sizes.iter().map(|(_, size)| *size).collect();
        for (table, sizes) in sizes_of_all(rank, device, &own).into_iter().enumerate() {
            let (name, all) = &all[table];
            if rank.rank() == 0 {
                eprintln!("  table {name}: rows of each rank {sizes:?}");
            }
            assert_eq!(sizes.iter().sum::<usize>(), *all, "{owner:?}: {name}");
            let most = *sizes.iter().max().unwrap() as f64 / (*all as f64 / sizes.len() as f64);
            assert!(owner == Owner::Slices || most <= 1.1, "{name}: a rank has {most} times its share");
        }
    }
}

fn difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    furthest(a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b))))
}

/// The sizes of tables on all ranks, `[table][rank]`.
fn sizes_of_all(rank: &Arc<dyn Communicator>, device: Device, own: &[usize]) -> Vec<Vec<usize>> {
    let stream = Stream::new(device).unwrap();
    let own = Buffer::from_vec(own.iter().map(|&size| size as u64).collect(), &stream).unwrap();
    let mut all = Buffer::<u64>::default();
    rank.all_gather((&own).into(), (&mut all).into(), &stream).unwrap();
    let all = all.to_vec(&stream).unwrap();
    (0..own.len())
        .map(|i| all.iter().skip(i).step_by(own.len()).map(|&size| size as usize).collect())
        .collect()
}
