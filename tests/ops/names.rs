//! One operation, one name, everywhere.

use std::collections::BTreeSet;
use std::path::Path;

/// The modules of a folder. What several operations share has no name of its own elsewhere.
fn modules(folder: &str, shared: &[&str]) -> BTreeSet<String> {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let names =
        files.filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".rs").map(String::from));
    names.filter(|name| !shared.contains(&name.as_str())).collect()
}

#[test]
fn every_operation_has_its_cpu_form_and_its_test() {
    let operations = modules("src/ops", &["mod", "lookup", "launch", "unfit"]);
    assert_eq!(operations, modules("src/ops/cpu", &["mod", "lookup", "gemm", "philox"]));
    // relu and sigmoid are tested with the loss that they lead to.
    let beside = ["main", "common", "names", "buffers", "features", "outside", "refused", "threads"];
    let mut tested = modules("tests/ops", &beside);
    tested.extend(["relu".into(), "sigmoid".into()]);
    assert_eq!(operations, tested);
}
