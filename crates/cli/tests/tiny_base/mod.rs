//! A folder of a test with a tiny published model.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

/// An empty folder with this name in which `base` is the fixture of Mixtral.
pub(crate) fn folder_with_base(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    copy_base(&folder.join("base"));
    folder
}

/// Copies the fixture of Mixtral into a new folder.
pub(crate) fn copy_base(base: &Path) {
    fs::create_dir_all(base).expect("the folder can be made");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures/mixtral");
    for entry in fs::read_dir(fixture).expect("the fixture is committed") {
        let path = entry.expect("it can be listed").path();
        if path.is_file() {
            fs::copy(&path, base.join(path.file_name().expect("a file"))).expect("it can be copied");
        }
    }
}

/// Writes a tokenizer that has a token for each letter and digit.
pub(crate) fn write_letter_tokenizer(base: &Path) {
    let letters = "abcdefghijklmnopqrstuvwxyz 0123456789".chars().map(|letter| letter.to_string()).zip(3..);
    let vocabulary: BTreeMap<String, i64> = [("?".to_owned(), 0)].into_iter().chain(letters).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "post_processor": null, "decoder": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": vocabulary},
    });
    fs::write(base.join("tokenizer.json"), tokenizer.to_string()).expect("it can be written");
}
