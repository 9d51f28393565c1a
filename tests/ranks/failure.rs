//! One rank dies: the others end, say why, and training goes on from the last checkpoint.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recis::dist::launch::{World, start_with};
use recis::framework::checkpoint;

use crate::processes::{Place, at, child, killing};

/// The limit.
const LIMIT: Duration = Duration::from_secs(10);

/// Starts ranks without a launcher that would end them; what each said, and the time from the death of
/// `victim` to the end of the last.
fn die(place: Place, ranks: usize, victim: usize, step: u64, folder: &Path) -> (Vec<String>, Duration) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut children: Vec<_> = (0..ranks)
        .map(|rank| {
            let world =
                World { rank, local_rank: rank, world_size: ranks, address: "127.0.0.1".into(), port };
            at(place, killing(victim, step, folder)).envs(world.variables()).spawn().unwrap()
        })
        .collect();
    let status = children[victim].wait().unwrap();
    assert!(!status.success(), "rank {victim} was to die in step {step}");
    let died = Instant::now();
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        if died.elapsed() > LIMIT {
            children.iter_mut().for_each(|child| _ = child.kill());
            panic!("rank {victim} of {ranks} died in step {step}; others are still there after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let elapsed = died.elapsed();
    let said = children.iter_mut().map(|child| {
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    });
    (said.collect(), elapsed)
}

#[test]
fn when_a_rank_dies_the_others_end_and_training_can_go_on() {
    let tries = std::env::var("RECIS_KILL_TRIES").map_or(3, |tries| tries.parse().unwrap());
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..tries {
        let ranks = rng.random_range(2..=4);
        die_and_go_on(Place::Cpus, ranks, rng.random_range(0..ranks), rng.random_range(0..11));
    }
    if Place::of_two().contains(&Place::Gpus) {
        for (victim, step) in [(0, 4), (1, 8)] {
            die_and_go_on(Place::Gpus, 2, victim, step);
        }
    }
}

fn die_and_go_on(place: Place, ranks: usize, victim: usize, step: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let (said, elapsed) = die(place, ranks, victim, step, &broken);
    println!("rank {victim} of {ranks} {place:?} died in step {step}: the last ended {elapsed:?} later");
    for (rank, said) in said.iter().enumerate().filter(|(rank, _)| *rank != victim) {
        let named = said.contains(&format!("rank {victim} is gone"));
        assert!(named, "rank {rank}, when {victim} of {ranks} died in step {step}, said: {said}");
        if place == Place::Gpus {
            println!("rank {rank} said: {}", said.trim());
        }
    }
    let go = |folder: &Path| {
        start_with(ranks, &AtomicBool::new(false), |_| at(place, child("train", folder))).unwrap();
    };
    go(&broken);
    go(&whole);
    let load = |folder: &Path| checkpoint::load(folder.join("ckpt_12")).unwrap();
    assert!(load(&whole) == load(&broken), "{ranks} {place:?} after {victim} died in step {step}");
}

#[test]
fn a_launcher_ends_all_ranks_and_says_which_failed() {
    let folder = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let error = start_with(3, &AtomicBool::new(false), |_| killing(2, 4, folder.path())).unwrap_err();
    let said = error.to_string();
    // The first whose end is seen: the one that died, or one that noticed.
    assert!(said.starts_with("rank ") && said.contains("ended with"), "{said}");
    assert!(begin.elapsed() < LIMIT + Duration::from_secs(10));
}
