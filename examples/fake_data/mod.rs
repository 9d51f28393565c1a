//! Files like those of RecIS's DeepCTR document: eight list columns, every row with its index, two
//! long sequences of random ids and strings, and a label.

pub mod orc_writer;
mod random;
mod table;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use orc_writer::{Column, Compression, Options, Writer};
use recis::{Error, Result};
use serde_json::json;
use table::{COLUMNS, Labels, Population, Table};

/// What to write. The default is what the document's script writes, made from a seed.
#[derive(clap::Args)]
pub struct FakeData {
    /// Directory for the files data_0.orc, data_1.orc and so on; made if it is not there.
    #[arg(long, default_value = "./fake_data")]
    pub output: PathBuf,
    /// How many files.
    #[arg(long, default_value_t = FakeData::default().files)]
    pub files: usize,
    /// Number of the first file.
    #[arg(long, default_value_t = FakeData::default().first_file)]
    pub first_file: usize,
    /// Rows a file.
    #[arg(long, default_value_t = FakeData::default().rows)]
    pub rows: usize,
    /// Sequences are shorter than this.
    #[arg(long, default_value_t = FakeData::default().max_len)]
    pub max_len: usize,
    /// Decides every value.
    #[arg(long, default_value_t = FakeData::default().seed)]
    pub seed: u64,
    /// Codec of the files.
    #[arg(long, value_enum, default_value_t = FakeData::default().compression)]
    pub compression: Compression,
    /// Store strings as indices into a dictionary.
    #[arg(long)]
    pub dictionary: bool,
    /// Rows a stripe [default: all rows of a file].
    #[arg(long)]
    pub stripe_rows: Option<usize>,
    /// Give every file rows of its own; without it all files are the same, as the document's are.
    #[arg(long)]
    pub distinct: bool,
    /// Let the label follow a rule that a model can learn, instead of coin flips. Every file has
    /// rows of its own; all files of one seed share the rule.
    #[arg(long)]
    pub learnable: bool,
    /// Write every file's rows as JSON lines too, beside it, to check what a reader makes of it.
    #[arg(long)]
    pub json: bool,
}

impl Default for FakeData {
    fn default() -> Self {
        Self {
            output: "./fake_data".into(),
            files: 10,
            first_file: 0,
            rows: 2047,
            max_len: 2000,
            seed: 42,
            compression: Compression::None,
            dictionary: false,
            stripe_rows: None,
            distinct: false,
            learnable: false,
            json: false,
        }
    }
}

/// Writes the ORC files and returns their paths.
///
/// Fails with [`Error::Option`] when a number is too small to mean anything and with [`Error::Io`]
/// when the directory or a file cannot be written.
pub fn generate(data: &FakeData) -> Result<Vec<PathBuf>> {
    at_least(1, "--files", data.files)?;
    at_least(1, "--rows", data.rows)?;
    at_least(2, "--max-len", data.max_len)?;
    at_least(1, "--stripe-rows", data.stripe_rows.unwrap_or(data.rows))?;
    fs::create_dir_all(&data.output).map_err(Error::io(&data.output))?;

    let population = Population::new(data.seed);
    let labels = if data.learnable { Labels::Rule } else { Labels::CoinFlips };
    let table_of = |file| population.table(file, data.rows, data.max_len, labels);
    let own_rows = data.distinct || data.learnable;
    let mut table = table_of(if own_rows { data.first_file } else { 0 });
    let mut paths = vec![];
    for file in (data.first_file..).take(data.files) {
        if own_rows && file > data.first_file {
            table = table_of(file);
        }
        let path = data.output.join(format!("data_{file}.orc"));
        write_orc(&table, &path, data).map_err(Error::io(&path))?;
        if data.json {
            let path = path.with_extension("jsonl");
            write_json(&table, &path).map_err(Error::io(&path))?;
        }
        paths.push(path);
    }
    Ok(paths)
}

fn at_least(least: usize, option: &str, value: usize) -> Result<()> {
    if value >= least {
        return Ok(());
    }
    Err(Error::Option { option: option.into(), what: format!("{value} is too small: give at least {least}") })
}

fn write_orc(table: &Table<'_>, path: &Path, data: &FakeData) -> io::Result<()> {
    let options =
        Options { compression: data.compression, dictionary: data.dictionary, ..Options::default() };
    let mut writer = Writer::create(path, &COLUMNS, options)?;
    let stripe_rows = data.stripe_rows.unwrap_or(data.rows).min(data.rows);
    for start in (0..data.rows).step_by(stripe_rows) {
        writer.write_stripe(&table.columns(start..data.rows.min(start + stripe_rows)))?;
    }
    writer.finish()
}

fn write_json(table: &Table<'_>, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for row in 0..table.rows() {
        let values = table.columns(row..row + 1).map(|column| match column {
            Column::F64 { values, .. } => json!(values),
            Column::I64 { values, .. } => json!(values),
            Column::Str { values, .. } => json!(values),
        });
        let names = COLUMNS.map(|(name, _)| name.to_owned());
        let row: serde_json::Map<_, _> = names.into_iter().zip(values).collect();
        serde_json::to_writer(&mut file, &row)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
