//! Files with flipped bytes or a missing end give an error or the right number of rows. They never
//! panic, hang, or take memory by the gigabyte.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use recis::io::{Dataset, OrcDatasetOptions};
use recis::{Error, Tensor};

use crate::memory;
use crate::reading::{data, dataset, plain};

const FILES: [&str; 8] = ["uncompressed", "zlib", "snappy", "lz4", "zstd", "dictionary", "nulls", "stripes"];
const TIME: Duration = Duration::from_secs(20);
const MEMORY: usize = 1 << 30;

/// How many damaged files are tried; RECIS_FUZZ_CASES says otherwise.
fn cases() -> u64 {
    std::env::var("RECIS_FUZZ_CASES")
        .map_or(2000, |cases| cases.parse().expect("RECIS_FUZZ_CASES is a number"))
}

#[test]
fn damage_is_an_error_or_does_no_harm() {
    let originals: Vec<_> = FILES.map(|name| std::fs::read(data(&format!("{name}.orc"))).unwrap()).into();
    let directory = tempfile::tempdir().unwrap();
    let (mut errors, cases) = (0, cases());
    for seed in 0..cases {
        let mut random = StdRng::seed_from_u64(seed);
        // The large file, of which a case takes ten times as long, is tried more seldom.
        let file = if seed % 50 == 0 { 7 } else { random.random_range(0..7) };
        let path = directory.path().join(format!("{seed}.orc"));
        std::fs::write(&path, damage(&originals[file], &mut random)).unwrap();

        memory::reset_peak();
        let (sender, receiver) = channel();
        let in_thread = path.clone();
        let thread = std::thread::spawn(move || sender.send(read(&in_thread)));
        let place = format!("case {seed}, made from {}.orc", FILES[file]);
        match receiver.recv_timeout(TIME) {
            Ok(Ok(rows)) => assert_eq!(rows, if file == 7 { 3000 } else { 97 }, "{place}"),
            Ok(Err(Error::Data { .. })) => errors += 1,
            Ok(Err(other)) => panic!("{place}: {other}"),
            Err(RecvTimeoutError::Timeout) => panic!("{place} takes more than {TIME:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("{place} panics: {:?}", thread.join()),
        }
        assert!(memory::peak() < MEMORY, "{place} takes {} bytes", memory::peak());
        std::fs::remove_file(path).unwrap();
    }
    assert!(errors > cases / 4, "only {errors} of {cases} were errors: is the damage done at all?");
}

/// Flips some bytes, half of the time near the end where the footers are, or cuts the end off.
fn damage(original: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    if random.random_ratio(1, 10) {
        bytes.truncate(random.random_range(0..bytes.len()));
        return bytes;
    }
    let first = if random.random() { bytes.len() - 1500 } else { 0 };
    for _ in 0..random.random_range(1..=6) {
        let at = random.random_range(first..bytes.len());
        bytes[at] = match random.random_range(0..3) {
            0 => bytes[at] ^ 1 << random.random_range(0..8),
            1 => 0xff,
            _ => random.random(),
        };
    }
    bytes
}

/// The number of rows, after a look at whether each tensor is consistent in itself.
fn read(path: &Path) -> recis::Result<usize> {
    let options = OrcDatasetOptions { pack_threads_num: Some(2), ..plain(100) };
    let mut rows = 0;
    for batch in dataset(path, options).iterate(None)? {
        let batch = batch?;
        rows += batch.rows;
        for (name, tensor) in batch.columns() {
            let Tensor::Ragged(tensor) = &**tensor else { panic!("{name} is not ragged") };
            let mut lists = batch.rows;
            for level in &tensor.offsets {
                let level = level.host();
                assert!(level.len() == lists + 1 && level[0] == 0 && level.is_sorted(), "{name}: {level:?}");
                lists = level[lists] as usize;
            }
            assert_eq!(lists, tensor.values.len(), "{name}");
        }
    }
    Ok(rows)
}
