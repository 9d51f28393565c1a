//! Shows what is in an ORC file:
//!
//! ```text
//! cargo run --example inspect -- tests/data/orc/zstd.orc --json 1
//! ```

mod json_rows;

use std::path::{Path, PathBuf};

use clap::Parser;
use recis::Result;
use recis::io::{Dataset, Dtype, OrcDataset, OrcDatasetOptions, OrcSummary, Varlen};
use serde_json::{Map, Value};

/// Schema, stripes and rows of an ORC file.
#[derive(Parser)]
struct Arguments {
    /// The file.
    file: PathBuf,
    /// Print the first N rows instead, one JSON object a line, as OrcDataset reads them.
    #[arg(long, value_name = "N")]
    json: Option<usize>,
}

fn main() {
    let arguments = Arguments::parse();
    let done = match arguments.json {
        None => describe(&arguments.file),
        Some(rows) => print_rows(&arguments.file, rows),
    };
    if let Err(e) = done {
        eprintln!("error: {e}");
        std::process::exit(1);
    }
}

fn describe(file: &Path) -> Result<()> {
    let summary = OrcSummary::read(file)?;
    println!("{} rows, compression {}", summary.rows, summary.codec);
    println!("columns");
    for column in &summary.columns {
        println!("  {:<12} {}", column.name, column.ty);
    }
    for (i, stripe) in summary.stripes.iter().enumerate() {
        println!("stripe {i}: {} rows, {} bytes at {}", stripe.rows, stripe.bytes, stripe.offset);
        for (column, encodings) in summary.columns.iter().zip(&stripe.encodings) {
            println!("  {:<12} {}", column.name, encodings.join(" "));
        }
    }
    Ok(())
}

fn print_rows(file: &Path, rows: usize) -> Result<()> {
    let options = OrcDatasetOptions { batch_size: 1024, dtype: Dtype::F64, ..Default::default() };
    let mut dataset = OrcDataset::new(options)?;
    dataset.add_path(file)?;
    for column in OrcSummary::read(file)?.columns {
        let strings = ["string", "varchar", "char"].iter().any(|ty| column.ty.contains(ty));
        dataset.varlen_feature(column.name, Varlen { trans_int8: strings, ..Varlen::default() })?;
    }
    let mut missing = rows;
    for batch in dataset.iterate(None)? {
        let batch = batch?;
        let columns: Vec<_> =
            batch.columns().map(|(name, column)| (name, json_rows::json_rows(column))).collect();
        for row in 0..batch.rows.min(missing) {
            let fields = columns.iter().map(|(name, rows)| (name.to_string(), rows[row].clone()));
            println!("{}", Value::Object(Map::from_iter(fields)));
        }
        missing = missing.saturating_sub(batch.rows);
        if missing == 0 {
            break;
        }
    }
    Ok(())
}
