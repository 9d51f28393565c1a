//! Where the tests' data is: the package's folder, or, for a test binary that has been carried
//! elsewhere, the folder that `CARGO_MANIFEST_DIR` names there.

use std::path::PathBuf;

pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}
