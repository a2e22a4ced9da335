//! `cloister canaries`: numbers are planted in a copy of the notes, and a trained model is tested for them.

#![cfg(feature = "training")]
#![allow(clippy::unwrap_used)]

mod scratch;
mod tiny_base;

use std::fs;
use std::process::Command;

use cloister_experts::families::finetune::{FineTuner, FineTuning, Reader};
use cloister_experts::families::{Adapter, Layout, PublishedModel};
use cloister_experts::task::{AdapterTask, Task};
use cloister_experts::{Device, Long, Precision};
use serde_json::{Value, json};

use scratch::{Scratch, mode};

const PLANT: &str = "canaries plant --task task/task.json --notes notes.jsonl";
const TEST: &str = "canaries test --task task/task.json --base-model base --model adapter";

/// A folder with a tiny language model, a task for it, an adapter before any training, and notes.
fn hospital(name: &str) -> Scratch {
    let scratch = Scratch::new(&format!("canaries-{name}"));
    let base = scratch.path("base");
    tiny_base::copy_base(&base);
    tiny_base::write_letter_tokenizer(&base);
    // Not by `Scratch::run`, which takes the underscores of the modules' names for blanks.
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["experts", "task", "base", "task", "--objective", "language-model", "--members", "5"]);
    command.args(["--max-tokens", "64", "--modules", "q_proj,k_proj,v_proj,o_proj"]);
    assert!(command.current_dir(&scratch.0).output().unwrap().status.success());
    let rows: String =
        (0..20).map(|n| json!({"text": format!("note {n} says fever")}).to_string() + "\n").collect();
    fs::write(scratch.path("notes.jsonl"), rows).unwrap();
    let task = Task::Adapter(task(&scratch));
    let initial = task.initial(&base).unwrap();
    task.write(&base, &initial, &scratch.0).unwrap();
    scratch
}

fn task(scratch: &Scratch) -> AdapterTask {
    let text = fs::read_to_string(scratch.path("task/task.json")).unwrap();
    match Task::parse(&text).unwrap() {
        Task::Adapter(task) => task,
        Task::Classifier(_) => panic!("the task of a published model"),
    }
}

/// Trains the adapter on a file.
fn train(scratch: &Scratch, notes: &str) {
    let (base, task) = (scratch.path("base"), task(scratch));
    let reader = Reader::open(&base, task.end_token, task.max_tokens, Long::Cut).unwrap();
    let examples = reader.read(scratch.path(notes)).unwrap();
    let mut model = PublishedModel::open(&base, Precision::Float32, Device::Cpu).unwrap();
    let adapter = Adapter::new(&mut model, &task.adapter, 5).unwrap();
    let mut tuner = FineTuner::new(model, adapter).unwrap();
    let settings = FineTuning { epochs: 60, learning_rate: 2e-2, ..FineTuning::default() };
    tuner.train(&examples, &settings, &mut |_| {}).unwrap();
    tuner.adapter().write(&scratch.path("adapter"), tuner.model().family(), Layout::PeftFused).unwrap();
}

/// Tests the adapter: status and printed text.
fn tested(scratch: &Scratch, flags: &str) -> (Option<i32>, String) {
    let output = scratch.run(&format!("{TEST} --candidates 99 {flags}"));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn planting_writes_a_copy_and_its_secrets_for_their_owner_alone() {
    let scratch = hospital("plant");
    let said = scratch.succeeds(&format!("{PLANT} --out planted.jsonl --secrets secrets.json"));
    assert!(said.contains("has 20 notes and 84 rows of 12 canaries"), "{said}");
    assert_eq!([mode(&scratch.path("planted.jsonl")), mode(&scratch.path("secrets.json"))], [0o600; 2]);
    let planted = fs::read_to_string(scratch.path("planted.jsonl")).unwrap();
    assert_eq!(planted.lines().count(), 104);
    let secrets: Value = serde_json::from_slice(&fs::read(scratch.path("secrets.json")).unwrap()).unwrap();
    for canary in secrets["canaries"].as_array().unwrap() {
        let secret = canary["secret"].as_str().unwrap();
        assert_eq!(planted.matches(secret).count() as u64, canary["repeats"].as_u64().unwrap());
        assert!(!said.contains(secret), "no number is printed");
    }
    assert_eq!(secrets["canaries"].as_array().unwrap().len(), 24);
}

#[test]
fn a_model_that_recites_ends_the_test_with_status_3_and_another_with_0() {
    let scratch = hospital("verdict");
    // Numbers come from the system. In one test of a hundred the controls stand out, so it is tried with others.
    let mut verdicts = vec![];
    for attempt in 0..4 {
        let files = format!("--out planted-{attempt}.jsonl --secrets secrets-{attempt}.json");
        scratch.succeeds(&format!("{PLANT} --repeats 16 --of-each 3 {files}"));
        let secrets = format!("--secrets secrets-{attempt}.json");
        train(&scratch, "notes.jsonl");
        let (without, text) = tested(&scratch, &secrets);
        train(&scratch, &format!("planted-{attempt}.jsonl"));
        let (with, json) = tested(&scratch, &format!("{secrets} --json"));
        if (without, with) == (Some(0), Some(3)) {
            assert!(text.contains("No canary is known to be memorised"), "{text}");
            assert!(text.contains("What this does not show:"), "{text}");
            let found: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(found["report"]["verdict"], "memorised");
            assert_eq!(found["report"]["planted"][0]["repeats"], 16);
            assert!(found["says"].as_str().unwrap().contains("planted 16 times"), "{json}");
            return;
        }
        verdicts.push((without, with));
    }
    panic!("{verdicts:?}");
}

#[test]
fn wrong_files_and_flags_are_refused_with_what_to_do() {
    let scratch = hospital("refused");
    let files = "--out planted.jsonl --secrets secrets.json";
    scratch.fails(&format!("{PLANT} --of-each 0 {files}"), "plant at least one canary, at least once");
    scratch.fails(&format!("{PLANT} --repeats 4,4 {files}"), "given twice");
    scratch
        .fails(&format!("{PLANT} --group-by patient {files}"), "notes.jsonl, line 1: “patient” is missing");
    let output = scratch.run(&format!("{PLANT} --out planted.jsonl --secrets none/secrets.json"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was planted"));
    for left in ["planted.jsonl", "planted.jsonl.part", "secrets.json"] {
        assert!(!scratch.path(left).exists(), "{left}");
    }
    scratch.fails(&format!("{PLANT} --out both.jsonl --secrets ./both.jsonl"), "name another file as --out");
    assert!(!scratch.path("both.jsonl").exists(), "the copy does not replace the secrets");
    scratch.succeeds(&format!("{PLANT} {files}"));
    scratch.fails(
        &format!("{PLANT} {files}"),
        "planted.jsonl exists, and no file is overwritten; name another file as --out",
    );
    let other = format!("{PLANT} --out other.jsonl --secrets secrets.json");
    scratch.fails(&other, "name another file as --secrets");

    scratch.fails(&format!("{TEST} --secrets none.json"), "cannot read none.json");
    scratch.fails(&format!("{TEST} --secrets notes.jsonl"), "notes.jsonl: it is not");
    let text = fs::read_to_string(scratch.path("secrets.json")).unwrap();
    fs::write(scratch.path("later.json"), text.replace("canaries/v1", "canaries/v2")).unwrap();
    scratch.fails(&format!("{TEST} --secrets later.json"), "install that version");
    scratch.fails(&format!("{TEST} --secrets secrets.json --candidates 3"), "take 99 candidates");
    let task = fs::read_to_string(scratch.path("task/task.json")).unwrap();
    fs::write(scratch.path("task/task.json"), task.replace("\"seed\": 0", "\"seed\": 1")).unwrap();
    scratch.fails(&format!("{TEST} --secrets secrets.json"), "its canaries were planted for the task");
}
