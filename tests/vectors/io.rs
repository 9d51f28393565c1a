//! What is read from ORC files that are written for each case.

use std::collections::BTreeMap;
use std::path::Path;

use recis::io::{Dataset, Dtype, OrcDataset, OrcDatasetOptions, Varlen};
use recis::{Batch, Error, Tensor, Values};
use serde::Deserialize;
use serde_json::{Value, json};

use super::case::{Elements, Outcome, Tolerance, parse, same, same_all};
use super::write::Orc;

/// Reads the one column `c` of a file with these rows as one batch; no rows give none.
pub fn read(
    ty: &str,
    rows: &Value,
    dtype: Dtype,
    select: impl FnOnce(&mut OrcDataset) -> recis::Result<()>,
) -> Outcome<Option<Batch>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("c.orc");
    Orc::new(&[("c", ty, rows.clone())]).write(&file);
    let count = rows.as_array().map_or(0, Vec::len);
    let mut dataset = OrcDataset::new(OrcDatasetOptions { dtype, ..options(count.max(1)) })?;
    dataset.add_path(&file)?;
    select(&mut dataset)?;
    let batches = dataset.iterate(None)?.collect::<recis::Result<Vec<_>>>()?;
    same("the number of batches", count.min(1), batches.len())?;
    Ok(batches.into_iter().next())
}

/// One file after the other, nothing in advance.
fn options(batch_size: usize) -> OrcDatasetOptions {
    OrcDatasetOptions {
        batch_size,
        read_threads_num: 1,
        pack_threads_num: Some(1),
        prefetch: 0,
        ..Default::default()
    }
}

pub fn values_i64(tensor: &Tensor) -> Outcome<Vec<i64>> {
    match tensor.values() {
        Values::I64(values) => Ok(values.elements()),
        _ => Err(format!("ids are expected, got {}", tensor.describe()).into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixedlen {
    rows: Value,
    default: Vec<Value>,
    dtype: Option<String>,
    out: Option<Vec<Vec<Value>>>,
    error: Option<String>,
}

pub fn fixedlen_default(case: &Value, _: &Tolerance) -> Outcome {
    let case: Fixedlen = parse(case)?;
    let dtype = match case.dtype.as_deref() {
        None | Some("float32") => Dtype::F32,
        Some("float64") => Dtype::F64,
        Some(other) => return Err(format!("dtype: no '{other}'").into()),
    };
    // Rows of whole numbers are a column of integers; where there are none, the default says it.
    let rows = case.rows.as_array().ok_or("rows: not a list")?;
    let mut numbers: Vec<_> = rows.iter().filter_map(Value::as_array).flatten().collect();
    if numbers.is_empty() {
        numbers.extend(&case.default);
    }
    let ty = if numbers.iter().all(|n| n.is_i64()) { "list<bigint>" } else { "list<double>" };
    let default: Option<Vec<f64>> = case.default.iter().map(Value::as_f64).collect();
    let default = default.ok_or("default: not numbers")?;

    let found = read(ty, &case.rows, dtype, |dataset| dataset.fixedlen_feature("c", &default).map(drop));
    match (case.out, case.error) {
        (Some(out), None) => {
            let Some(batch) = found? else { return same_all("out", &out, &[]) };
            let Tensor::Dense(column) = batch.get("c")?.as_ref() else {
                return Err("the column is not dense".into());
            };
            same("the shape of out", (out.len(), default.len()), (column.rows, column.width))?;
            same_numbers("out", &out.concat(), &column.values)
        }
        (None, Some(expected)) => match found.map_err(|e| e.downcast::<Error>()) {
            Err(Ok(error)) if matches!(*error, Error::Data { .. }) => Ok(()),
            Err(Ok(other)) => Err(format!("error: expected '{expected}', got '{other}'").into()),
            Err(Err(other)) => Err(other),
            Ok(_) => Err(format!("error: expected '{expected}', got a batch").into()),
        },
        _ => Err("either out or error is expected".into()),
    }
}

/// Compares in the type of the column; floats are what the expected ones become in it.
fn same_numbers(field: &str, expected: &[Value], got: &Values) -> Outcome {
    let expected = Value::Array(expected.to_vec());
    match got {
        Values::F32(got) => same_all(field, &parse::<Vec<f32>>(&expected)?, got.host()),
        Values::F64(got) => same_all(field, &parse::<Vec<f64>>(&expected)?, got.host()),
        Values::I64(got) => same_all(field, &parse::<Vec<i64>>(&expected)?, got.host()),
        Values::I8(_) => Err(format!("{field}: expected numbers, got bytes").into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batches {
    n_files: u64,
    rows_per_file: u64,
    batch_size: usize,
    worker_num: usize,
    drop_remainder: bool,
    workers: Vec<Worker>,
    steps_per_epoch_all_ranks: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Worker {
    worker: usize,
    files: Vec<u64>,
    rows: u64,
    n_batches: usize,
    first_batches: Vec<Vec<Run>>,
    last_batch: Option<Vec<Run>>,
}

/// File, first row, number of rows.
type Run = [u64; 3];

pub fn dataset_batches(case: &Value, _: &Tolerance) -> Outcome {
    let case: Batches = parse(case)?;
    let directory = tempfile::tempdir()?;
    for file in 0..case.n_files {
        let first = file * case.rows_per_file;
        let rows: Vec<_> = (first..first + case.rows_per_file).map(|row| json!([row])).collect();
        // Numbers of equal length: names sort like numbers.
        let path = directory.path().join(format!("data_{file:06}.orc"));
        Orc::new(&[("c", "list<bigint>", Value::Array(rows))]).write(path);
    }
    same("the number of workers", case.worker_num, case.workers.len())?;
    let mut steps = usize::MAX;
    for worker in &case.workers {
        let batches = worker_batches(directory.path(), &case, worker.worker, case.drop_remainder)?;
        let named = |field: &str| format!("workers[{}].{field}", worker.worker);
        let all = worker_batches(directory.path(), &case, worker.worker, false)?;
        let mut rows_of = BTreeMap::<u64, u64>::new();
        all.iter().flatten().for_each(|[file, _, rows]| *rows_of.entry(*file).or_default() += rows);
        same_all(&named("files"), &worker.files, &rows_of.keys().copied().collect::<Vec<_>>())?;
        same(&named("rows"), worker.rows, rows_of.values().sum())?;
        same(&named("n_batches"), worker.n_batches, batches.len())?;
        let first = batches.len().min(worker.first_batches.len());
        same_all(&named("first_batches"), &worker.first_batches, &batches[..first])?;
        same(&named("last_batch"), worker.last_batch.as_ref(), batches.last())?;
        steps = steps.min(batches.len());
    }
    same("steps_per_epoch_all_ranks", case.steps_per_epoch_all_ranks, steps)
}

/// The rows of every batch, by the values that were written into them.
fn worker_batches(
    folder: &Path,
    case: &Batches,
    worker: usize,
    drop_remainder: bool,
) -> Outcome<Vec<Vec<Run>>> {
    let mut dataset = OrcDataset::new(OrcDatasetOptions {
        worker_idx: worker,
        worker_num: case.worker_num,
        drop_remainder,
        ..options(case.batch_size)
    })?;
    dataset.add_path(folder)?;
    dataset.varlen_feature("c", Varlen::default())?;
    let mut batches = Vec::new();
    for batch in dataset.iterate(None)? {
        let mut runs: Vec<Run> = Vec::new();
        for value in values_i64(batch?.get("c")?)? {
            let (file, row) = (value as u64 / case.rows_per_file, value as u64 % case.rows_per_file);
            match runs.last_mut() {
                Some([last, first, rows]) if *last == file && *first + *rows == row => *rows += 1,
                _ => runs.push([file, row, 1]),
            }
        }
        batches.push(runs);
    }
    Ok(batches)
}
