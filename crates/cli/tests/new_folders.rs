//! Commands that write the folder of a model, an adapter or a task overwrite no file: neither those that they read
//! nor others.

#![cfg(feature = "training")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CLOISTER: &str = env!("CARGO_BIN_EXE_cloister");

/// A new folder with a copy of a fixture in `model`.
fn scratch(fixture: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("new-{}", fixture.replace('/', "-")));
    let _ = fs::remove_dir_all(&folder);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures").join(fixture);
    copy(&fixture, &folder.join("model"));
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("the fixture is committed") {
        let path = entry.expect("it can be listed").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, target).expect("it can be copied")),
        }
    }
}

/// The bytes of all files in a folder and below it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        match path.is_dir() {
            true => files.extend(contents(&path)),
            false => drop(files.insert(path.clone(), fs::read(&path).expect("it can be read"))),
        }
    }
    files
}

/// Runs a command in a scratch folder; each argument `TARGET` is replaced.
fn run(folder: &Path, arguments: &[&str], target: &str) -> Output {
    let arguments = arguments.iter().map(|argument| if *argument == "TARGET" { target } else { argument });
    Command::new(CLOISTER).current_dir(folder).arg("experts").args(arguments).output().expect("it starts")
}

/// Expects a command to refuse each target and to leave all files as they are, and to write a new folder and an
/// empty one.
fn overwrites_nothing(fixture: &str, arguments: &[&str], inside: bool) {
    let folder = scratch(fixture);
    fs::create_dir_all(folder.join("full")).expect("it can be made");
    fs::create_dir_all(folder.join("empty")).expect("it can be made");
    fs::write(folder.join("full/thesis.txt"), "ten years").expect("it can be written");
    symlink("model", folder.join("alias")).expect("it can be linked");
    symlink("full", folder.join("alias-of-full")).expect("it can be linked");
    let before = contents(&folder);
    let mut targets =
        vec!["model", "model/", "alias", "full/../model", "full", "alias-of-full", "full/thesis.txt"];
    if inside {
        targets.extend(["model/inner", "alias/inner", "model/inner/deeper"]);
    }
    for target in targets {
        let output = run(&folder, arguments, target);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{arguments:?} {target}: {words}");
        assert!(words.contains("name a "), "{arguments:?} {target}: {words}");
        assert!(contents(&folder) == before, "{arguments:?} {target}: no file is changed or added");
        assert!(!folder.join("model/inner").exists(), "{arguments:?} {target}: no folder is made");
    }
    for target in ["new", "empty"] {
        let output = run(&folder, arguments, target);
        assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!contents(&folder.join(target)).is_empty());
    }
    assert!(before.iter().all(|(path, bytes)| fs::read(path).is_ok_and(|now| now == *bytes)));
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn an_exported_adapter_overwrites_nothing() {
    overwrites_nothing("mixtral", &["export", "model", "model/adapter", "TARGET"], false);
}

#[test]
fn a_merged_model_overwrites_nothing() {
    overwrites_nothing("olmoe", &["export", "model", "model/adapter", "TARGET", "--merge"], true);
}

#[test]
fn an_upcycled_model_overwrites_nothing() {
    overwrites_nothing("llama", &["upcycle", "model", "TARGET", "--experts", "2"], true);
}

#[test]
fn a_converted_pickle_overwrites_nothing() {
    overwrites_nothing("variants/pickled", &["convert", "model", "TARGET"], true);
}

#[test]
fn a_task_overwrites_nothing() {
    let flags = ["--objective", "language-model", "--members", "5", "--max-tokens", "8"];
    let arguments = [["task", "model", "TARGET"].as_slice(), &flags].concat();
    overwrites_nothing("qwen3_moe", &arguments, false);
}

/// A GGUF file is refused before it is read, so any file is one here.
#[test]
fn a_converted_gguf_file_overwrites_nothing() {
    let folder = scratch("deepseek_v2");
    fs::write(folder.join("model/model.gguf"), "GGUF").expect("it can be written");
    let before = contents(&folder);
    for target in ["model", "model/model.gguf"] {
        let output = run(&folder, &["convert", "model/model.gguf", "TARGET"], target);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(78) && words.contains("name a new folder"), "{target}: {words}");
        assert!(contents(&folder) == before, "{target}");
    }
    let output = run(&folder, &["convert", "model/model.gguf", "TARGET"], "new");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("cannot be read as a GGUF file"), "the control: {words}");
    fs::remove_dir_all(folder).expect("it was made above");
}
