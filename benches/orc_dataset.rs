//! How fast an ORC file is read into batches, with 1 and 2 threads.
//!
//! ```text
//! RECIS_ORC=data_0.orc cargo bench --bench orc_dataset
//! python scripts/compare_pyarrow.py data_0.orc          # the same for pyarrow
//! ```
//!
//! The file is in the page cache after the first pass, which is not counted. A pass reads all
//! columns, strings as bytes, in batches of 1024; the best of several passes is shown, because
//! everything else that runs on the machine only makes a pass longer.

#[path = "../examples/keep_memory/mod.rs"]
mod keep_memory;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use recis::io::{Dataset, OrcDataset, OrcDatasetOptions, OrcSummary, Varlen};
use recis::{Batch, Result, Tensor, Values};

/// As long as passes are counted, and at least this many.
const TIME: Duration = Duration::from_secs(3);
const PASSES: usize = 5;
/// Passes over a small file are over before the threads have begun, so the file is read this often
/// in one pass.
const SMALL: u64 = 64 << 20;

fn main() -> Result<()> {
    keep_memory::keep_memory();
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/orc/stripes.orc");
    let file = std::env::var_os("RECIS_ORC").map_or(small, PathBuf::from);
    let filter: Option<String> = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    for threads in [1, 2] {
        let name = format!("orc_dataset/{}/{threads}", file.file_stem().unwrap_or_default().display());
        if filter.as_ref().is_none_or(|filter| name.contains(filter)) {
            measure(&name, &file, threads)?;
        }
    }
    Ok(())
}

fn measure(name: &str, file: &Path, threads: usize) -> Result<()> {
    let stored = std::fs::metadata(file).map_err(recis::Error::io(file))?.len();
    let copies = SMALL.div_ceil(stored.max(1));
    let options =
        OrcDatasetOptions { batch_size: 1024, pack_threads_num: Some(threads), ..Default::default() };
    let mut dataset = OrcDataset::new(options)?;
    for _ in 0..copies {
        dataset.add_path(file)?;
    }
    for column in OrcSummary::read(file)?.columns {
        let trans_int8 = column.ty.contains("string");
        dataset.varlen_feature(column.name, Varlen { trans_int8, ..Varlen::default() })?;
    }

    let mut best = Duration::MAX;
    let (mut rows, mut bytes) = (0, 0);
    let begin = Instant::now();
    let mut passes = 0;
    while passes <= PASSES || begin.elapsed() < TIME {
        let start = Instant::now();
        (rows, bytes) = (0, 0);
        for batch in dataset.iterate(None)? {
            let batch = batch?;
            rows += batch.rows;
            bytes += decoded_bytes(&batch);
        }
        if passes > 0 {
            best = best.min(start.elapsed());
        }
        passes += 1;
    }
    let seconds = best.as_secs_f64();
    println!(
        "{name}: {:.1} ms a file | {:.0} rows/s | {:.0} MB/s decoded | {:.0} MB/s stored",
        1e3 * seconds / copies as f64,
        rows as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        (copies * stored) as f64 / seconds / 1e6,
    );
    Ok(())
}

fn decoded_bytes(batch: &Batch) -> usize {
    let of_values = |values: &Values| match values {
        Values::F32(v) => 4 * v.len(),
        Values::F64(v) => 8 * v.len(),
        Values::I64(v) => 8 * v.len(),
        Values::I8(v) => v.len(),
    };
    let of_tensor = |tensor: &Tensor| match tensor {
        Tensor::Dense(t) => of_values(&t.values),
        Tensor::Ragged(t) => of_values(&t.values) + t.offsets.iter().map(|o| 4 * o.len()).sum::<usize>(),
    };
    batch.columns().map(|(_, tensor)| of_tensor(tensor)).sum()
}
