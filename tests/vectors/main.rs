//! Runs the specification's vectors: every `*.json` of the folder that `RECIS_VECTORS` names, or of
//! `tests/data/vectors`, on every device. Prints a line for each topic, then what differs.

#[path = "../common/devices.rs"]
mod devices;
// By its path, so that its modules are beside it for `tests/planted.rs` too.
#[path = "runner.rs"]
mod runner;

use std::path::PathBuf;
use std::process::ExitCode;

use recis::device::Stream;

fn main() -> ExitCode {
    // Arguments are for libtest, which this is not; they are ignored.
    let folder = std::env::var_os("RECIS_VECTORS").map_or_else(runner::default_folder, PathBuf::from);
    let (mut passed, mut failed) = (0, 0);
    for device in devices::devices() {
        println!("on {device}");
        let stream = Stream::new(device).expect("it is there");
        let report = runner::run(&folder, &stream);
        report.lines.iter().for_each(|line| println!("{line}"));
        report.failures.iter().for_each(|failure| println!("{failure}"));
        (passed, failed) = (passed + report.passed, failed + report.failures.len());
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
