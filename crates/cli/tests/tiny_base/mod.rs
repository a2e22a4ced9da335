//! A folder of a test with a tiny published model.

use std::fs;
use std::path::{Path, PathBuf};

/// An empty folder with this name in which `base` is the fixture of Mixtral.
pub(crate) fn folder_with_base(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    let base = folder.join("base");
    fs::create_dir_all(&base).expect("the folder can be made");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures/mixtral");
    for entry in fs::read_dir(fixture).expect("the fixture is committed") {
        let path = entry.expect("it can be listed").path();
        if path.is_file() {
            fs::copy(&path, base.join(path.file_name().expect("a file"))).expect("it can be copied");
        }
    }
    folder
}
