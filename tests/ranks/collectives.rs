//! Each operation, on its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use recis::Error;
use recis::device::{Buffer, Device, Stream};
use recis::dist::launch::World;
use recis::dist::{Communicator, Reduce, gather_bytes, local, process};

use crate::harness::on_threads;

/// Every operation once, with what can be said of its result on rank `rank`.
pub fn exercise(rank: &dyn Communicator, stream: &Stream) {
    let (me, ranks) = (rank.rank(), rank.world_size());
    let total = (ranks * (ranks - 1) / 2) as i64;

    let mut sum: Buffer<i64> = Buffer::from_vec(vec![me as i64, 1], stream).unwrap();
    rank.all_reduce((&mut sum).into(), Reduce::Sum, stream).unwrap();
    assert_eq!(sum.to_vec(stream).unwrap(), [total, ranks as i64]);
    let mut most: Buffer<u64> = Buffer::from_vec(vec![me as u64, u64::MAX - me as u64], stream).unwrap();
    rank.all_reduce((&mut most).into(), Reduce::Max, stream).unwrap();
    assert_eq!(most.to_vec(stream).unwrap(), [ranks as u64 - 1, u64::MAX]);
    let mut floats: Buffer<f32> = Buffer::from_vec(vec![0.5; 3], stream).unwrap();
    rank.all_reduce((&mut floats).into(), Reduce::Sum, stream).unwrap();
    assert_eq!(floats.to_vec(stream).unwrap(), [0.5 * ranks as f32; 3]);

    let mut all = Buffer::<f32>::default();
    rank.all_gather(
        (&Buffer::from_vec(vec![me as f32, 0.5], stream).unwrap()).into(),
        (&mut all).into(),
        stream,
    )
    .unwrap();
    assert_eq!(all.to_vec(stream).unwrap(), (0..ranks).flat_map(|r| [r as f32, 0.5]).collect::<Vec<_>>());
    for root in 0..ranks {
        let mut value: Buffer<i64> = Buffer::from_vec(vec![me as i64; 2], stream).unwrap();
        rank.broadcast((&mut value).into(), root, stream).unwrap();
        assert_eq!(value.to_vec(stream).unwrap(), [root as i64; 2]);
    }

    // Rank a sends (a + 2 b) % 3 values "a b" to rank b: some get none.
    let count = |from: usize, to: usize| (from + 2 * to) % 3;
    let counts: Vec<u64> = (0..ranks).map(|to| count(me, to) as u64).collect();
    let come = rank.exchange_counts(&counts, stream).unwrap();
    assert_eq!(come, (0..ranks).map(|from| count(from, me) as u64).collect::<Vec<_>>());
    let value = |from: usize, to: usize| vec![(10 * from + to) as i64; count(from, to)];
    let send: Buffer<i64> =
        Buffer::from_vec((0..ranks).flat_map(|to| value(me, to)).collect::<Vec<_>>(), stream).unwrap();
    let sizes = |counts: &[u64]| counts.iter().map(|&count| count as usize).collect::<Vec<_>>();
    let mut found = Buffer::<i64>::default();
    rank.all_to_all((&send).into(), &sizes(&counts), (&mut found).into(), &sizes(&come), stream).unwrap();
    assert_eq!(
        found.to_vec(stream).unwrap(),
        (0..ranks).flat_map(|from| value(from, me)).collect::<Vec<_>>()
    );

    let names = gather_bytes(rank, "x".repeat(me).as_bytes(), stream).unwrap();
    assert_eq!(names.iter().map(Vec::len).collect::<Vec<_>>(), (0..ranks).collect::<Vec<_>>());
    rank.barrier().unwrap();
}

#[test]
fn threads_exchange_everything() {
    for ranks in 1..=4 {
        for device in [Device::Cpu, Device::Simt] {
            on_threads(ranks, |rank| exercise(rank.as_ref(), &Stream::new(device).unwrap()));
        }
    }
}

/// Ranks of one process over sockets.
fn on_sockets<T: Send>(
    ranks: usize,
    timeout: Duration,
    rank: impl Fn(Arc<dyn Communicator>) -> T + Sync,
) -> Vec<T> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::thread::scope(|scope| {
        let rank = &rank;
        let threads: Vec<_> = (0..ranks)
            .map(|number| {
                let address = "127.0.0.1".into();
                let world = World { rank: number, local_rank: number, world_size: ranks, address, port };
                scope.spawn(move || rank(Arc::new(process::connect(&world, timeout).unwrap())))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn sockets_exchange_everything() {
    for ranks in 1..=4 {
        on_sockets(ranks, Duration::from_secs(60), |rank| exercise(rank.as_ref(), &Stream::default()));
    }
}

#[test]
fn what_leaves_a_rank_is_counted() {
    for sent in on_threads(2, |rank| {
        let (stream, mut found) = (Stream::default(), Buffer::<f32>::default());
        rank.all_to_all(
            (&Buffer::from(vec![0f32; 5])).into(),
            &[2, 3],
            (&mut found).into(),
            &[[2, 2], [3, 3]][rank.rank()],
            &stream,
        )
        .unwrap();
        (rank.rank(), rank.sent())
    }) {
        assert_eq!(sent.1.all_to_all, [12, 8][sent.0]);
    }
}

/// Every rank but `absent` reduces; what each says.
fn without(absent: usize, stays: bool) -> impl Fn(Arc<dyn Communicator>) -> Option<String> + Sync {
    move |rank| {
        rank.set_step(7);
        if rank.rank() == absent {
            if stays {
                std::thread::sleep(Duration::from_secs(2));
            }
            return None;
        }
        let error = rank.barrier().unwrap_err();
        assert!(matches!(error, Error::Rank { .. }));
        Some(error.to_string())
    }
}

#[test]
fn a_rank_that_leaves_is_named_at_once() {
    let begin = Instant::now();
    for absent in 0..3 {
        let threads = on_threads(3, without(absent, false));
        let sockets = on_sockets(3, Duration::from_secs(60), without(absent, false));
        for (rank, said) in threads.into_iter().enumerate().filter(|(rank, _)| *rank != absent) {
            assert_eq!(said.unwrap(), format!("rank {rank}, barrier of step 7: rank {absent} has left"));
        }
        for (rank, said) in sockets.into_iter().enumerate().filter(|(rank, _)| *rank != absent) {
            let said = said.unwrap();
            assert!(
                said.starts_with(&format!("rank {rank}, barrier of step 7: rank {absent} is gone")),
                "{said}"
            );
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_rank_that_does_not_come_is_named_in_time() {
    let timeout = Duration::from_millis(300);
    let seats = local::ranks(2, timeout);
    let said = seats[0].barrier().unwrap_err().to_string();
    assert_eq!(said, "rank 0, barrier of step 0: rank 1 has not come within 0.3 s");
    let said = on_sockets(2, timeout, without(1, true));
    let expected = "rank 0, barrier of step 7: rank 1 has not come within 0.3 s";
    assert_eq!(said[0].as_deref(), Some(expected));
}

#[test]
fn ranks_that_do_different_things_are_told_so() {
    let said = on_threads(2, |rank| match rank.rank() {
        0 => rank.barrier().unwrap_err().to_string(),
        _ => rank.exchange_counts(&[1, 2], &Stream::default()).unwrap_err().to_string(),
    });
    for said in said {
        assert!(said.ends_with("rank 0 calls Barrier, rank 1 ExchangeCounts"), "{said}");
    }
}

#[test]
fn rank_0_can_be_absent_from_the_beginning() {
    let world =
        World { rank: 1, local_rank: 1, world_size: 2, address: "127.0.0.1".into(), port: free_port() };
    let said = process::connect(&world, Duration::from_millis(100)).unwrap_err().to_string();
    assert!(said.starts_with("rank 1, connect of step 0: rank 0 is not at 127.0.0.1:"), "{said}");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
