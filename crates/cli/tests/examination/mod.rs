//! Runs `cloister doctor`, and compares what it found.

#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The checks of every party that has a link, in their order.
pub(crate) const LINKED_CHECKS: [&str; 12] = [
    "configuration",
    "keys",
    "certificate",
    "policy",
    "consortium_file",
    "host_name",
    "quic",
    "tcp",
    "clock",
    "coordinator",
    "data_folder",
    "journal",
];

/// What one run found.
pub(crate) struct Examined {
    pub(crate) code: Option<i32>,
    /// The checks' names, as they come.
    pub(crate) order: Vec<String>,
    pub(crate) checks: BTreeMap<String, Value>,
}

pub(crate) fn cloister(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(arguments);
    command
}

pub(crate) fn doctor(arguments: &[&str]) -> Examined {
    let output = cloister(&[&["doctor"], arguments, &["--json"]].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text:?}: {}", String::from_utf8_lossy(&output.stderr)));
    let checks = answer["checks"].as_array().unwrap();
    let order = checks.iter().map(|check| check["check"].as_str().unwrap().to_owned()).collect();
    let checks = checks.iter().map(|check| (check["check"].as_str().unwrap().to_owned(), check.clone()));
    Examined { code: output.status.code(), order, checks: checks.collect() }
}

impl Examined {
    /// The checks in this state.
    pub(crate) fn in_state(&self, state: &str) -> Vec<&str> {
        self.order.iter().map(String::as_str).filter(|name| self.checks[*name]["state"] == state).collect()
    }

    /// Expects these faults and no others, and words of the first.
    pub(crate) fn expect_faults(&self, faults: &[&str], code: i32, words: &[&str]) {
        assert_eq!(self.in_state("fault"), faults, "{:#?}", self.checks);
        assert_eq!(self.code, Some(code));
        let first = &self.checks[faults[0]];
        let said = format!("{} → {}", first["found"], first["advice"]);
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }

    pub(crate) fn expect_sound(&self) {
        assert_eq!((self.in_state("fault"), self.code), (vec![], Some(0)), "{:#?}", self.checks);
    }
}

/// Every file and folder below a path with its bytes: what an examination must leave as it is.
pub(crate) fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.insert(path.display().to_string(), Vec::new());
            found.extend(contents(&path));
        } else if path.is_file() {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}
