//! Runs the specification's vectors: every `*.json` of the folder that `RECIS_VECTORS` names, or of
//! `tests/data/vectors`. Prints a line for each topic, then what differs.

// By its path, so that its modules are beside it for `tests/planted.rs` too.
#[path = "runner.rs"]
mod runner;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Arguments are for libtest, which this is not; they are ignored.
    let folder = std::env::var_os("RECIS_VECTORS").map_or_else(runner::default_folder, PathBuf::from);
    let report = runner::run(&folder);
    report.lines.iter().for_each(|line| println!("{line}"));
    report.failures.iter().for_each(|failure| println!("{failure}"));
    let (verdict, failed) = (if report.failures.is_empty() { "ok" } else { "FAILED" }, report.failures.len());
    let passed = report.passed;
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
