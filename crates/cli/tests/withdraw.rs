//! `cloister withdraw`: what it says, what it erases, and what it leaves for a data protection officer.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cloister_client::Journal;
use cloister_cluster::plan::template;
use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_privacy::ledger::{Charge, Ledger, Opening};
use cloister_privacy::release::releases;
use serde_json::Value;

use scratch::{Scratch, mode};

mod scratch;

const NOTE: &str = "patient 17 has a fever";
/// `printf model | sha256sum`
const MODEL_SHA256: &str = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";
const WITHDRAW: &str = "withdraw --data data --identity north";

/// A hospital that took part in one round: its keys in `north`, and its data folder.
fn hospital(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.party("north", "");
    let data = scratch.path("data");
    fs::create_dir_all(data.join("training-job")).unwrap();
    fs::write(data.join("training-job/rows.jsonl"), NOTE).unwrap();
    fs::write(data.join("model.safetensors"), "model").unwrap();
    fs::write(data.join("predictions.csv"), "1,fever").unwrap();
    journal(&scratch).keep_announced(Round(1)).unwrap();
    let opening = Opening { holder: "north".into(), unit: PrivacyUnit::Member, group_by: None };
    let mut ledger = Ledger::open(&data.join("privacy-ledger"), opening).unwrap();
    let releases = releases(&template(4, 5, 1), PrivacyUnit::Member).unwrap();
    let (epoch, model) = (Digest([1; 32]), Digest([2; 32]));
    let charge = Charge { epoch, round: Round(1), model, releases, at: None };
    let _ = ledger.charge(charge, None).unwrap().redeem();
    scratch
}

fn journal(scratch: &Scratch) -> Journal {
    Journal::open(&scratch.path("data/journal-00000000000000ff")).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn statement(scratch: &Scratch) -> Value {
    serde_json::from_str(&fs::read_to_string(scratch.path("data/withdrawal.json")).unwrap()).unwrap()
}

/// The erased file of a statement with this name.
fn erased<'a>(statement: &'a Value, name: &str) -> &'a Value {
    let mut erased = statement["erased"].as_array().unwrap().iter();
    erased.find(|file| file["path"].as_str().unwrap().ends_with(name)).unwrap()
}

#[test]
fn without_yes_it_says_what_it_would_do_and_changes_nothing() {
    let scratch = hospital("withdraw-plan");
    let before = names(&scratch.path("data"));
    let said = scratch.succeeds(&format!("{WITHDRAW} --delta 1e-6 --erase-keys --erase-ledger"));
    for part in [
        "data/journal-00000000000000ff: what this party signed",
        "data/training-job/rows.jsonl: a training program's job",
        "data/predictions.csv: no program of a party wrote it; look at it yourself",
        "north/signing.key: this party's signing key",
        "What this hospital added to a model cannot be taken out again",
        "flash memory",
        "cloister consortium remove GOVERNANCE north",
        "Nothing was erased",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert_eq!(names(&scratch.path("data")), before);
    // A statement's δ is somebody's decision.
    let output = scratch.run(WITHDRAW);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("give --delta"));
}

/// PRIV-09
#[test]
fn a_hospital_that_leaves_keeps_what_its_data_protection_officer_needs() {
    let scratch = hospital("withdraw-kept");
    scratch.succeeds(&format!("{WITHDRAW} --delta 1e-6 --yes"));
    let data = scratch.path("data");
    assert_eq!(names(&data), ["openings", "predictions.csv", "privacy-ledger", "withdrawal.json"]);
    assert!(scratch.path("north/signing.key").exists() && scratch.path("north/key.pem").exists());
    let said = statement(&scratch);
    assert_eq!((&said["finished"], mode(&data.join("withdrawal.json"))), (&Value::Bool(true), 0o600));
    assert_eq!(erased(&said, "model.safetensors")["sha256"], MODEL_SHA256);
    let job = erased(&said, "rows.jsonl");
    assert_eq!((job["bytes"].as_u64(), &job["sha256"]), (Some(NOTE.len() as u64), &Value::Null));
    assert!(!said.to_string().contains(NOTE));
    // What was released is what the ledger's own command says.
    let stated = scratch.succeeds("privacy statement data/privacy-ledger --delta 1e-6");
    assert_eq!(said["released"], serde_json::from_str::<Value>(&stated).unwrap());
    assert_eq!(said["released"]["holder"], "north");
}

#[test]
fn who_must_erase_all_erases_all_in_a_later_run_and_the_statement_keeps_the_first() {
    let scratch = hospital("withdraw-all");
    scratch.succeeds(&format!("{WITHDRAW} --delta 1e-6 --yes"));
    let first = statement(&scratch);
    scratch.succeeds(&format!("{WITHDRAW} --delta 1e-6 --erase-keys --erase-ledger --yes"));
    assert_eq!(names(&scratch.path("data")), ["openings", "predictions.csv", "withdrawal.json"]);
    assert_eq!(names(&scratch.path("north")), ["certificate.pem", "enrolment.toml"]);
    // Without a ledger no δ is needed, and what it said stays.
    scratch.succeeds(&format!("{WITHDRAW} --yes"));
    let said = statement(&scratch);
    assert_eq!(said["released"], first["released"]);
    assert_eq!(erased(&said, "model.safetensors")["sha256"], MODEL_SHA256);
    for name in ["privacy-ledger", "signing.key", "key.pem"] {
        assert!(erased(&said, name)["bytes"].as_u64() > Some(0), "{name}");
    }
    assert_eq!(erased(&said, "signing.key")["sha256"], Value::Null);
}

/// The entry of a statement's list whose path ends in this name.
fn kept<'a>(statement: &'a Value, name: &str) -> &'a Value {
    let mut kept = statement["kept"].as_array().unwrap().iter();
    kept.find(|file| file["path"].as_str().unwrap().ends_with(name)).unwrap()
}

#[test]
fn what_is_behind_a_link_is_not_said_to_be_erased() {
    let scratch = hospital("withdraw-links");
    let elsewhere = scratch.path("elsewhere");
    fs::create_dir_all(elsewhere.join("merged")).unwrap();
    fs::create_dir_all(scratch.path("data/adapter")).unwrap();
    fs::rename(scratch.path("north/signing.key"), elsewhere.join("signing.key")).unwrap();
    for file in ["weights", "merged/weights", "rows"] {
        fs::write(elsewhere.join(file), "model").unwrap();
    }
    fs::write(scratch.path("data/adapter/config.json"), "{}").unwrap();
    let links = [
        ("north/signing.key", "../elsewhere/signing.key"),
        ("data/adapter/adapter_model.safetensors", "../../elsewhere/weights"),
        ("data/merged", "../elsewhere/merged"),
        ("data/training-job/rows", "../../elsewhere/rows"),
    ];
    for (link, target) in links {
        symlink(target, scratch.path(link)).unwrap();
    }
    scratch.succeeds(&format!("{WITHDRAW} --delta 1e-6 --erase-keys --yes"));
    let said = statement(&scratch);
    for (link, target) in links {
        assert!(scratch.path(link).is_symlink() && scratch.path(link).exists(), "{link}");
        let paths = said["erased"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
        assert!(paths.into_iter().all(|path| !path.ends_with(link)), "{link}");
        let why = kept(&said, link)["why"].as_str().unwrap();
        assert!(why.contains("a symbolic link to ") && why.contains(target), "{why}");
    }
    // Control: what is beside the links is erased.
    for name in ["north/key.pem", "data/adapter/config.json", "data/training-job/rows.jsonl"] {
        assert!(!scratch.path(name).exists(), "{name}");
        assert!(erased(&said, name)["bytes"].as_u64() > Some(0));
    }
}

#[test]
fn a_link_that_names_nothing_is_kept_too() {
    let scratch = hospital("withdraw-dangling");
    fs::remove_file(scratch.path("north/key.pem")).unwrap();
    symlink("/nowhere/key.pem", scratch.path("north/key.pem")).unwrap();
    scratch.succeeds(&format!("{WITHDRAW} --delta 1e-6 --erase-keys --yes"));
    assert!(
        kept(&statement(&scratch), "north/key.pem")["why"].as_str().unwrap().contains("/nowhere/key.pem")
    );
}

#[test]
fn the_command_that_removes_the_party_can_be_given_to_a_shell() {
    let scratch = hospital("withdraw-shell");
    for (name, argument) in [("a$(id)_b", "'a$(id) b'"), ("it's", "'it'\\''s'"), ("north", "north")] {
        scratch.succeeds(&format!("identity new odd --name {name} --organisation North"));
        let said = scratch.succeeds("withdraw --data data --identity odd --delta 1e-6");
        assert!(said.contains(&format!("remove GOVERNANCE {argument}`")), "{said}");
        fs::remove_dir_all(scratch.path("odd")).unwrap();
    }
    // The edition lists the party's number.
    scratch.found();
    fs::copy(scratch.path("governance/consortium.toml"), scratch.path("data/edition.toml")).unwrap();
    let said = scratch.succeeds("withdraw --data data --identity h3 --delta 1e-6");
    assert!(said.contains("remove GOVERNANCE 3`"), "{said}");
}

/// ROUND-04
#[test]
fn it_refuses_a_folder_that_a_program_uses_and_one_of_somebody_else() {
    let scratch = hospital("withdraw-in-use");
    let running = journal(&scratch);
    let output = scratch.run(&format!("{WITHDRAW} --delta 1e-6 --yes"));
    assert_eq!(output.status.code(), Some(69));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("stop `cloister client`"), "{errors}");
    assert!(scratch.path("data/model.safetensors").exists());
    drop(running);
    scratch.succeeds(&format!("{WITHDRAW} --delta 1e-6"));
    scratch.fails("withdraw --data north --identity north", "give the folder that was --data");
    fs::write(scratch.path("data/withdrawal.json"), r#"{"format": "cloister/withdrawal/v2"}"#).unwrap();
    scratch.fails(&format!("{WITHDRAW} --delta 1e-6 --yes"), "a later version of the program wrote the file");
}
