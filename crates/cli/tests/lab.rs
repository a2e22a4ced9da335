//! `cloister lab` as a researcher meets it when something is wrong.
#![cfg(feature = "training")]

use std::path::PathBuf;
use std::process::{Command, Output};

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cloister"))
        .arg("lab")
        .args(arguments)
        .args(["--minilm", "no-such-folder", "--data", "no-such-folder"])
        .output()
        .expect("the program starts")
}

fn written(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the folder of the tests can be written to");
    path.display().to_string()
}

fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert!(output.stdout.is_empty(), "stdout is data");
}

const LEAST: &str = "dataset = \"x\"\n[data]\ntrain = [\"a.jsonl\"]\n";

#[test]
fn settings_that_are_none_are_named() {
    refused(&lab(&["run", "no-such-file.toml"]), &["no-such-file.toml", "cannot read"]);
    let typo = written("typo.toml", &format!("{LEAST}[strategy]\nrounds = 3\n"));
    refused(&lab(&["run", &typo]), &["typo.toml", "rounds"]);
    let least = written("least.toml", LEAST);
    refused(&lab(&["run", &least, "--set", "strategy"]), &["--set strategy", "KEY=VALUE"]);
    let masked = ["run", &least, "--set", "secure=true", "--set", "strategy.name=FedMoE"];
    refused(&lab(&masked), &["FedMoE", "secure = false"]);
}

#[test]
fn a_missing_file_of_texts_is_named() {
    let least = written("missing.toml", LEAST);
    refused(&lab(&["run", &least]), &["a.jsonl", "check the path"]);
    refused(&lab(&["sketches", &least]), &["a.jsonl", "check the path"]);
}
