//! The demo as a user runs it: real processes, real links, real training, small.

#![cfg(feature = "training")]
#![allow(clippy::unwrap_used)]

mod rounds;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cloister_experts::families::{Adapter, PublishedModel};
use cloister_experts::task::Task;
use cloister_experts::{Device, Precision};
use serde_json::Value;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-demo-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

/// Runs a small demo; `None`, with a message, if it cannot.
fn demo(folder: &Path, flags: &[&str]) -> Option<Output> {
    if std::env::var_os("CLOISTER_MINILM").is_none() {
        eprintln!("SKIPPED: CLOISTER_MINILM names no MiniLM weights; `cargo xtask test` installs them");
        return None;
    }
    let small = ["demo", "--members", "5", "--notes-per-member", "24", "--json", "--quiet", "--folder"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    Some(command.args(small).arg(folder).args(flags).output().unwrap())
}

#[test]
fn a_member_killed_in_its_upload_does_not_stop_the_round() {
    let folder = scratch("kill");
    let Some(output) = demo(&folder, &["--rounds", "2", "--kill", "2@1"]) else {
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["rounds"], &summary["members"], &summary["dropped"]),
        (&2.into(), &5.into(), &1.into())
    );
    assert!(summary["accuracy"]["federated"].as_f64().unwrap() > 0.0);
    assert!(summary["bytes_up"].as_u64().unwrap() > 100_000);
    let result: Value = serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap();
    assert_eq!(result["rounds"][0]["announced"], serde_json::json!([1, 2, 3, 4, 5]));
    assert_eq!(result["rounds"][0]["uploaded"], serde_json::json!([1, 3, 4, 5]), "2 was lost in its upload");
    let report = std::fs::read_to_string(summary["report"].as_str().unwrap()).unwrap();
    assert!(report.contains("Riverside Clinic") && !report.contains("http://"));
    for file in ["hospital-01/data/model.safetensors", "coordinator/data/rounds/0001.log.jsonl"] {
        assert!(folder.join(file).exists(), "{file}");
    }
    check_evidence(&folder);
    std::fs::remove_dir_all(folder).unwrap();
}

/// The status and the report of `audit verify` on the demo's coordinator, compared with these parties' folders.
fn audit(folder: &Path, parties: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["audit", "verify", "--json"]).arg(folder.join("coordinator/data"));
    let (code, output) = with_trust(command, folder, parties);
    (code, serde_json::from_slice(&output).unwrap())
}

/// The claims of a report with this verdict.
fn verdicts(report: &Value, verdict: &str) -> Vec<String> {
    let claims = report["claims"].as_array().unwrap().iter().filter(|claim| claim["verdict"] == verdict);
    claims.map(|claim| claim["claim"].as_str().unwrap().to_owned()).collect()
}

/// `audit verify` of the coordinator's folder refutes nothing, and finds a shorter log, a shorter ledger, and another model.
fn check_evidence(folder: &Path) {
    // Hospital 2 was killed before it knew any ending.
    let parties = ["hospital-01", "hospital-03"];
    let (code, report) = audit(folder, &parties);
    assert_eq!((code, verdicts(&report, "refuted").len()), (Some(4), 0), "{report}");
    assert_eq!(verdicts(&report, "not-checked"), ["masked-blocks", "cosignatures"], "{report}");
    assert_eq!(report["rounds"].as_array().unwrap().len(), 2);
    check_bundle(folder, &parties);
    let data = folder.join("coordinator/data");
    let refuted_without = |file: &str, change: fn(Vec<u8>) -> Vec<u8>| {
        let sound = std::fs::read(data.join(file)).unwrap();
        std::fs::write(data.join(file), change(sound.clone())).unwrap();
        let (code, report) = audit(folder, &parties);
        assert_eq!(code, Some(3), "{file}: {report}");
        std::fs::write(data.join(file), sound).unwrap();
        verdicts(&report, "refuted")
    };
    let changed = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let without_last_line = |bytes: Vec<u8>| {
        let end = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        bytes[..=end].to_vec()
    };
    assert_eq!(refuted_without("model.parameters", changed), ["model"]);
    assert_eq!(refuted_without("rounds/0002.sums", changed), ["opened-sums"]);
    for ledger in ["privacy-ledger-record", "privacy-ledger-member"] {
        assert_eq!(refuted_without(ledger, changed), ["ledgers"]);
        assert_eq!(refuted_without(ledger, without_last_line), ["ledgers"]);
    }
    // What the log leaves off, another party still knows.
    for file in ["0002.log.jsonl", "0002.ending", "0002.sums"] {
        std::fs::remove_file(data.join("rounds").join(file)).unwrap();
    }
    let (_, report) = audit(folder, &parties);
    assert!(verdicts(&report, "refuted").contains(&"other-parties".to_owned()), "{report}");
    let (_, report) = audit(folder, &[]);
    assert!(verdicts(&report, "not-checked").contains(&"other-parties".to_owned()), "{report}");
}

/// `audit export` writes a file that verifies as the folder does, with a report of it.
fn check_bundle(folder: &Path, parties: &[&str]) {
    let bundle = folder.join("evidence.zip");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["audit", "export"]).arg(folder.join("coordinator/data")).arg("--out").arg(&bundle);
    let (code, _) = with_trust(command, folder, parties);
    assert_eq!(code, Some(4), "it is written, and something was not checked");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["audit", "verify", "--json"]).arg(&bundle);
    let (code, output) = with_trust(command, folder, parties);
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(
        (code, report["claims"][0]["claim"].as_str(), report["claims"][0]["verdict"].as_str()),
        (Some(4), Some("bundle"), Some("proved")),
        "{report}"
    );
    assert_eq!(verdicts(&report, "not-checked"), ["masked-blocks", "cosignatures"], "{report}");
    // Stored as it is, so that its text can be found.
    let bytes = std::fs::read(&bundle).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for expected in
        ["Of <strong>17 claims</strong>", "Riverside Clinic", "cloister/dp-statement/v1", "SHA256SUMS"]
    {
        assert!(text.contains(expected), "{expected}");
    }
    std::fs::remove_file(bundle).unwrap();
}

/// The status and the output of a subcommand of `audit`, with the demo's consortium and these parties' folders.
fn with_trust(mut command: Command, folder: &Path, parties: &[&str]) -> (Option<i32>, Vec<u8>) {
    command.arg("--consortium").arg(folder.join("consortium.toml"));
    for party in parties {
        command.arg("--party").arg(folder.join(party).join("data"));
    }
    let output = command.arg("--policy").arg(folder.join("hospital-01/policy.toml")).output().unwrap();
    (output.status.code(), output.stdout)
}

/// ROUND-27
#[test]
fn a_coordinator_killed_among_uploads_goes_on_and_its_rounds_can_be_checked() {
    let folder = scratch("coordinator");
    let Some(output) = demo(&folder, &["--rounds", "2", "--kill-coordinator", "1"]) else {
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["rounds"], &summary["dropped"]), (&2.into(), &0.into()));
    let result: Value = serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap();
    for round in [0, 1] {
        assert_eq!(result["rounds"][round]["uploaded"], serde_json::json!([1, 2, 3, 4, 5]), "{errors}");
    }
    rounds::check(&folder, 1..=2);
    std::fs::remove_dir_all(folder).unwrap();
}

/// PRIV-10
#[test]
fn private_training_is_charged_step_by_step() {
    let folder = scratch("private");
    let Some(output) = demo(&folder, &["--rounds", "1", "--noise-multiplier", "1.5"]) else {
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["rounds"], &summary["dropped"]), (&1.into(), &0.into()));
    let ledger = folder.join("hospital-01/data/privacy-ledger");
    let statement = Command::new(env!("CARGO_BIN_EXE_cloister"))
        .args(["privacy", "statement", "--delta", "1e-6"])
        .arg(&ledger)
        .output()
        .unwrap();
    let statement: Value = serde_json::from_slice(&statement.stdout).unwrap();
    let releases = statement["rounds"][0]["releases"].as_array().unwrap();
    let released: Vec<&str> = releases.iter().filter_map(|release| release["released"].as_str()).collect();
    // Scores follow from trained parameters, and no sketch leaves.
    assert_eq!(released, ["private_step", "routing_histogram"]);
    assert_eq!(releases[0]["count"], 3, "8 of 24 notes in a step, in expectation");
    assert_eq!(releases[0]["mechanism"]["gaussian"]["noise_multiplier"], 1.5);
    assert!(statement["epsilon"].is_number(), "everything carries noise: {statement}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// The Python that this variable names; `None`, with a message, if there is none.
fn python(variable: &str, what: &str) -> Option<String> {
    let python = std::env::var_os(variable).and_then(|python| python.into_string().ok());
    if python.is_none() {
        eprintln!("SKIPPED: {variable} names no Python with {what}");
    }
    python
}

/// A round in which hospital 2 trains with one of the project's programs. All hospitals compute the same
/// model.
fn a_round_with_a_program(name: &str, python: &str) {
    let folder = scratch(name);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/trainers").join(name);
    let trainer = format!("2={python} {}", program.display());
    let Some(output) = demo(&folder, &["--rounds", "1", "--trainer", &trainer]) else { return };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let result: Value = serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap();
    assert_eq!(result["rounds"][0]["uploaded"], serde_json::json!([1, 2, 3, 4, 5]));
    // Each evaluates the federated model on the same held-out notes, one in Python and one here.
    let federated = |party: usize| result["members"][party - 1]["federated_accuracy"].as_f64().unwrap();
    assert!((federated(2) - federated(1)).abs() < 0.01, "{} and {}", federated(2), federated(1));
    assert!(!folder.join("hospital-02/data/training-job").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

/// TRAIN-02
#[test]
fn a_hospital_that_trains_with_its_own_program_takes_part_like_any_other() {
    let needed = "numpy; `cargo xtask test` installs it";
    let Some(python) = python("CLOISTER_TRAINER_PYTHON", needed) else { return };
    a_round_with_a_program("numpy_head.py", &python);
}

#[test]
fn the_program_in_pytorch_takes_part_too() {
    let needed = "torch and transformers; `cargo xtask fixtures --check` installs them";
    let Some(python) = python("CLOISTER_TORCH_PYTHON", needed) else { return };
    a_round_with_a_program("torch_lora.py", &python);
}

/// TRAIN-03
#[test]
fn a_hospital_whose_program_fails_sits_out_and_says_no_more_than_that() {
    let folder = scratch("failing");
    let words = "the name of a patient";
    let trainer = format!("2=sh -c 'echo \"{words}\" >&2; exit 3'");
    let Some(output) = demo(&folder, &["--rounds", "1", "--trainer", &trainer]) else { return };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("hospital 2 ended with status 1"), "{errors}");
    assert!(errors.contains("exit status: 3") && errors.contains(words), "its operator is told: {errors}");
    let log = std::fs::read_to_string(folder.join("coordinator/data/rounds/0001.log.jsonl")).unwrap();
    assert!(!log.is_empty() && !log.contains(words), "the round closed without it, and nobody else is told");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let folder = scratch("foreign");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("thesis.txt"), "years of work").unwrap();
    let Some(output) = demo(&folder, &["--rounds", "1"]) else {
        return;
    };
    assert_eq!(output.status.code(), Some(78));
    assert!(folder.join("thesis.txt").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn bad_notes_are_named_with_their_line() {
    let folder = scratch("notes");
    std::fs::create_dir_all(&folder).unwrap();
    let good = "{\"text\": \"a note\", \"label\": \"a\"}\n".repeat(2);
    let cases = [
        ("broken.jsonl", format!("{good}{{\"text\": \"torn"), "line 3"),
        ("label.jsonl", format!("{good}{{\"text\": \"a\", \"label\": [1]}}\n"), "line 3"),
        ("empty.jsonl", String::new(), "empty.jsonl"),
        ("one-class.jsonl", good.repeat(200), "the same label"),
        ("too-few.jsonl", format!("{good}{}", good.replace("\"a\"", "\"b\"")), "notes"),
    ];
    for (name, content, expected) in cases {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        let Some(output) = demo(&folder.join("run"), &["--notes", path.to_str().unwrap()]) else {
            return;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{name}: {errors}");
        assert!(errors.contains(expected), "{name}: {errors}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// The tiny OLMoE of the fixtures with a tokenizer that has a token for each letter.
fn tiny_olmoe(folder: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures/olmoe");
    std::fs::create_dir_all(folder).unwrap();
    for entry in
        std::fs::read_dir(fixture).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file())
    {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789 ".chars();
    let vocabulary =
        [("?".to_owned(), 0)].into_iter().chain(letters.map(|letter| letter.to_string()).zip(3..));
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null, "decoder": null,
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": vocabulary.collect::<std::collections::BTreeMap<_, _>>()},
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// TASK-01, TASK-02
#[test]
fn a_consortium_trains_an_adapter_of_a_published_model() {
    let (folder, base) = (scratch("adapter"), scratch("adapter-base"));
    tiny_olmoe(&base);
    let flags = ["--rounds", "2", "--base-model", base.to_str().unwrap()];
    let Some(output) = demo(&folder, &flags) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["rounds"], &summary["dropped"]), (&2.into(), &0.into()));
    assert!(summary["accuracy"]["federated"].as_f64().unwrap() > 0.0);
    adapters_are_the_coordinator_s_model(&folder, &base);
    another_base_is_refused(&folder, &base);
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::remove_dir_all(base).unwrap();
}

/// The adapters that hospitals export for PEFT have the coordinator's parameters after the last round, and
/// these changed.
fn adapters_are_the_coordinator_s_model(folder: &Path, base: &Path) {
    let parameters = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        cloister_protocol::model::Model::from_bytes(&bytes).unwrap().blocks().values().to_vec()
    };
    let (initial, federated) =
        (parameters("initial.parameters"), parameters("coordinator/data/model.parameters"));
    let text = std::fs::read_to_string(folder.join("task.json")).unwrap();
    let Task::Adapter(task) = Task::parse(&text).unwrap() else { panic!("it is an adapter's") };
    let blocks = task.blocks(base).unwrap();
    for hospital in ["hospital-01", "hospital-05"] {
        let mut model = PublishedModel::open(base, Precision::Float32, Device::Cpu).unwrap();
        let adapter = Adapter::read(&folder.join(hospital).join("data/adapter"), &mut model).unwrap();
        let written = blocks.vectors(&adapter).unwrap();
        for (block, (federated, written)) in blocks.blocks().iter().zip(federated.iter().zip(&written)) {
            let trained =
                block.pieces.iter().map(|piece| piece.shape.iter().product::<usize>()).sum::<usize>();
            assert_eq!(federated[..trained], written[..trained], "{hospital}: {}", block.shape.kind);
        }
    }
    assert!(initial.iter().zip(&federated).any(|(before, after)| before != after), "something was learnt");
}

/// A hospital with another base model stops, and names the file, before it connects to anything.
fn another_base_is_refused(folder: &Path, base: &Path) {
    let shard = base.join("model-00001-of-00003.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let hospital = folder.join("hospital-01");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["client", "--until-finished", "--coordinator", "127.0.0.1:1", "--base-model"]).arg(base);
    command.arg("--identity").arg(&hospital).arg("--notes").arg(hospital.join("notes.jsonl"));
    for (flag, name) in [
        ("--consortium", "consortium.toml"),
        ("--task", "task.json"),
        ("--model", "initial.parameters"),
        ("--held-out", "held-out.jsonl"),
        ("--data", "other"),
    ] {
        command.arg(flag).arg(folder.join(name));
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{errors}");
    assert!(errors.contains("model-00001-of-00003.safetensors has the SHA-256"), "{errors}");
}
