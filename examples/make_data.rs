//! Writes ORC files like those of RecIS's DeepCTR document.
//!
//! ```sh
//! cargo run --release --example make_data -- --help
//! ```

mod fake_data;

use std::process::ExitCode;

use clap::Parser;

/// Writes ORC files like those of RecIS's DeepCTR document.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    data: fake_data::FakeData,
}

fn main() -> ExitCode {
    let Args { data } = Args::parse();
    match fake_data::generate(&data) {
        Ok(paths) => {
            println!("{} files of {} rows in {}", paths.len(), data.rows, data.output.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("make_data: {error}");
            ExitCode::FAILURE
        }
    }
}
