//! A consortium that is founded with the program's commands alone, in a folder of its own.

#![allow(clippy::unwrap_used, dead_code)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A folder that is removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cloister-founding-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Runs `cloister` in the folder. Arguments are separated by blanks; `_` stands for a blank.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        let arguments = arguments.split_whitespace().map(|word| word.replace('_', " "));
        Command::new(env!("CARGO_BIN_EXE_cloister")).args(arguments).current_dir(&self.0).output().unwrap()
    }

    pub(crate) fn succeeds(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn fails(&self, arguments: &str, says: &str) {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{arguments}: {errors}");
        assert!(errors.contains(says), "{says:?} is not in: {errors}");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a party's keys. The result is its fingerprint without blanks, as `--fingerprint` takes it.
    pub(crate) fn party(&self, name: &str, role: &str) -> String {
        self.succeeds(&format!("identity new {name} --name {name} --organisation Hospital_{name} {role}"));
        self.fingerprint(name)
    }

    pub(crate) fn fingerprint(&self, name: &str) -> String {
        let shown: Value =
            serde_json::from_str(&self.succeeds(&format!("identity show {name} --json"))).unwrap();
        shown["fingerprint"].as_str().unwrap().replace(' ', "-")
    }

    /// The edition that the governance folder has.
    pub(crate) fn shown(&self, governance_key: &str) -> Value {
        let command = "consortium show governance/consortium.toml --json --governance-key";
        serde_json::from_str(&self.succeeds(&format!("{command} {governance_key}"))).unwrap()
    }

    /// Founds a consortium with five hospitals, and signs its first edition. The result is the governance key.
    pub(crate) fn found(&self) -> String {
        let coordinator = self.party("coordinator", "--role coordinator");
        let said = self.succeeds(&format!(
            "consortium init governance --name Test --coordinator coordinator/enrolment.toml --fingerprint {coordinator}"
        ));
        for number in 1..=5 {
            let name = format!("h{number}");
            let fingerprint = self.party(&name, "");
            self.succeeds(&format!(
                "consortium add governance {name}/enrolment.toml --fingerprint {fingerprint}"
            ));
        }
        self.succeeds("consortium sign governance");
        said.lines().next().unwrap().split_whitespace().last().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file's permissions.
pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
