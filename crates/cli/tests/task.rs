//! `cloister experts task`: what a consortium agrees on before it trains a published model.

#![cfg(feature = "training")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cloister_experts::task::{Objective, Task};
use serde_json::Value;

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures/mixtral")
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("task-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn new_task(target: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["experts", "task"]).arg(base()).arg(target);
    command.args(["--members", "5", "--max-tokens", "16"]).args(flags).output().expect("the program starts")
}

fn refused(flags: &[&str]) -> String {
    let target = scratch("refused").join("task");
    let output = new_task(&target, flags);
    assert!(!output.status.success() && output.stdout.is_empty() && !target.exists(), "{flags:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_task_that_sorts_texts_takes_its_classes_from_a_file_and_may_train_experts_whole() {
    let folder = scratch("classes");
    let rows = folder.join("rows.jsonl");
    let labels = ["lung", "heart", "lung"].map(|label| format!(r#"{{"text": "a", "label": "{label}"}}"#));
    fs::write(&rows, labels.join("\n")).expect("the file can be written");
    let rows_path = rows.to_str().expect("text");
    let flags = ["--objective", "classification", "--classes-of", rows_path, "--experts", "whole", "--json"];
    let target = folder.join("task");
    let output = new_task(&target, &flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(target.join("task.json")).expect("the file was written");
    let parsed = Task::parse(&text).expect("a sound task");
    let Task::Adapter(task) = &parsed else { panic!("an adapter's task") };
    assert_eq!(
        (task.objective, task.adapter.classes.as_slice()),
        (Objective::Classification, &["heart".to_owned(), "lung".to_owned()][..])
    );
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    // Regions included, which no trainer knows.
    let initial = parsed.initial(&base()).expect("the base's");
    assert_eq!(said["blocks"], initial.table().len());
    let uploaded: u64 = initial.table().iter().map(|shape| shape.length).sum();
    assert_eq!(said["numbers"], uploaded);
    let regions = initial.table().len() - initial.for_trainers().table().len();
    assert_eq!(regions, 2, "one for each layer");
    fs::remove_dir_all(folder).expect("it was made above");
}

/// What the file `task.json` says of the day that templates print.
fn date(model: &Path, flags: &[&str]) -> Option<String> {
    let target = scratch("dated").join("task");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["experts", "task"]).arg(model).arg(&target);
    command.args(["--objective", "language-model", "--members", "5", "--max-tokens", "32"]).args(flags);
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(target.join("task.json")).expect("the file was written");
    let Task::Adapter(task) = Task::parse(&text).expect("a sound task") else { panic!("an adapter's task") };
    task.date.map(|day| day.to_string())
}

#[test]
fn a_task_has_a_date_where_its_template_prints_one() {
    let folder = scratch("template");
    let fixtures = base().join("..");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixtures.join("qwen3_moe").join(name), folder.join(name)).expect("a file");
    }
    let dated = ["--date", "2026-11-29"];
    assert_eq!(date(&folder, &dated), None, "ChatML prints none");
    fs::copy(fixtures.join("templates/llama.jinja"), folder.join("chat_template.jinja")).expect("a file");
    assert_eq!(date(&folder, &dated), Some("2026-11-29".to_owned()));
    assert!(date(&folder, &[]).is_some(), "today, if no day is given");
    let wrong = refused(&["--objective", "language-model", "--date", "29 November"]);
    assert!(wrong.contains("write it like 2027-06-30"), "{wrong}");
}

/// Near twins are reported before the list of classes is agreed on, because all members sign it.
#[test]
fn labels_of_a_table_become_classes_and_near_twins_are_reported() {
    let folder = scratch("twins");
    let rows = folder.join("rows.csv");
    fs::write(&rows, b"text;label\na;Nieren\xe4rzte\nb;Heart \nc;heart\nd;Heart\n")
        .expect("it can be written");
    let rows_path = rows.to_str().expect("text");
    let flags =
        ["--objective", "classification", "--classes-of", rows_path, "--encoding", "windows-1252", "--json"];
    let target = folder.join("task");
    let output = new_task(&target, &flags);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("warning: the classes “Heart”, “heart” differ only in case, blanks"), "{stderr}");
    let text = fs::read_to_string(target.join("task.json")).expect("the file was written");
    let Task::Adapter(task) = Task::parse(&text).expect("a sound task") else { panic!("an adapter's task") };
    assert_eq!(task.adapter.classes, ["Heart", "Nierenärzte", "heart"]);
    fs::remove_dir_all(folder).expect("it was made above");
    let unknown =
        refused(&["--objective", "classification", "--classes-of", "rows", "--encoding", "latin-9000"]);
    assert!(unknown.contains("unknown encoding; common ones are utf-8, windows-1252"), "{unknown}");
}

#[test]
fn tasks_that_make_no_sense_are_refused_with_what_to_do() {
    let without = refused(&["--objective", "classification"]);
    assert!(without.contains("classes"), "{without}");
    let idle = refused(&["--objective", "language-model", "--classes", "a,b"]);
    assert!(idle.contains("classes"), "{idle}");
    let twice = refused(&["--objective", "classification", "--classes", "a,b,a"]);
    assert!(twice.contains("the class “a” is named twice"), "{twice}");
    let nothing = refused(&["--objective", "language-model", "--experts", "frozen"]);
    assert!(nothing.contains("the adapter trains nothing"), "{nothing}");
}

/// What the program prints to stderr when no file may become longer than one block.
fn stderr_with_a_full_disk(arguments: &[&str], target: &Path) -> String {
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_cloister"), "experts"]).args(arguments).arg(target);
    let output = command.output().expect("there is a shell");
    assert!(!output.status.success());
    String::from_utf8(output.stderr).expect("text")
}

/// A limit on file sizes stands for a full disk: writing fails in the same way, only with another error
/// number.
#[test]
fn a_disk_that_is_full_is_reported_with_the_file_and_what_to_do() {
    let folder = scratch("full");
    let base = base();
    let model = base.to_str().expect("text");
    let adapter = base.join("adapter");
    let said = stderr_with_a_full_disk(
        &["export", model, adapter.to_str().expect("text")],
        &folder.join("exported"),
    );
    assert!(
        said.contains("exported/adapter_model.safetensors") && said.contains("make room for it"),
        "{said}"
    );
    let flags = ["task", "--objective", "language-model", "--members", "5", "--max-tokens", "16", model];
    let said = stderr_with_a_full_disk(&flags, &folder.join("task"));
    assert!(said.contains("cannot write ") && said.contains("/task/"), "{said}");
    fs::remove_dir_all(folder).expect("it was made above");
}
