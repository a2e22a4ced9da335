//! Types as the sources declare them.

use std::fs;
use std::path::{Path, PathBuf};

/// A declared structure or enumeration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    /// What it derives.
    pub(crate) derives: Vec<String>,
}

/// Every type that the crates declare outside of their tests.
pub(crate) fn declarations() -> Vec<Declaration> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut paths = Vec::new();
    for entry in fs::read_dir(crates).expect("the crates are there").flatten() {
        files(&entry.path().join("src"), &mut paths);
    }
    let texts = paths.iter().map(|path| fs::read_to_string(path).expect("a source can be read"));
    texts.flat_map(|text| declared(&text)).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The types that a source declares in front of its module of tests, which ends it. Another item for tests alone may be
/// anywhere, and other types follow it.
pub(crate) fn declared(text: &str) -> Vec<Declaration> {
    let (mut found, mut derives) = (Vec::new(), Vec::new());
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    for line in before_tests.lines().map(str::trim) {
        if let Some(list) = line.strip_prefix("#[derive(") {
            derives.extend(list.split([',', ')']).map(|name| name.trim().to_owned()));
        } else if let Some(name) = declared_name(line) {
            found.push(Declaration { name, derives: std::mem::take(&mut derives) });
        } else if !line.starts_with("#[") && !line.starts_with("///") {
            derives.clear();
        }
    }
    found
}

fn declared_name(line: &str) -> Option<String> {
    let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub(super) ")).unwrap_or(line);
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let rest = line.strip_prefix("struct ").or(line.strip_prefix("enum "))?;
    Some(rest.chars().take_while(|letter| letter.is_alphanumeric()).collect())
}
