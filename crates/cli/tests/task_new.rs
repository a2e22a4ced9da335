//! `cloister task new`: task, settings and policy that fit one another.

#![cfg(feature = "training")]

mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cloister_experts::task::Task;
use cloister_params::plan::{RoundSettings, SketchForm};
use cloister_params::policy::Policy;
use serde_json::Value;
use site::Site;

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn cloister(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cloister")).args(arguments).output().expect("the program starts")
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("task-new-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn new_task(target: &Path, flags: &[&str]) -> Output {
    cloister(&[&["task", "new", &target.display().to_string()], flags].concat())
}

/// Three classes at five hospitals, with a key for the policy.
fn classifier(target: &Path, flags: &[&str]) -> Output {
    let usual = ["--classes", "a,b,c", "--members", "5", "--governance-key", KEY];
    new_task(target, &[&usual, flags].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a refusal says. It has written nothing.
fn refused(output: &Output, target: &Path, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    assert!(output.stdout.is_empty() && !target.exists(), "{}", said(output));
    said(output)
}

fn check(folder: &Path, rounds: &str) -> Output {
    let (settings, policy) = (path(folder, "settings.toml"), path(folder, "policy.toml"));
    cloister(&["privacy", "check", "--settings", &settings, "--policy", &policy, "--rounds", rounds])
}

/// PRIV-03, PRIV-05: everything that the planned rounds release fits the budget, hardly anything of it is left, and one
/// more round is rejected.
#[test]
fn a_budget_covers_the_planned_rounds_and_no_more() {
    let folder = scratch("budget");
    let base = path(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures"), "mixtral");
    let published = ["--base-model", &base, "--objective", "classification", "--max-tokens", "16"];
    let cases: [(&str, &[&str]); 4] = [
        ("record", &["--records", "220"]),
        ("many-records", &["--records", "700000", "--local-epochs", "1"]),
        ("published", &[&published[..], &["--records", "1000"]].concat()),
        ("member", &["--unit", "member"]),
    ];
    for (name, flags) in cases {
        let target = folder.join(name);
        let budget = ["--epsilon", "8", "--delta", "1e-7", "--rounds", "4", "--json"];
        let output = classifier(&target, &[&budget, flags].concat());
        assert!(output.status.success(), "{name}: {}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
        let counted = report["privacy"]["epsilon_by_filter"].as_f64().expect("a number");
        assert!((7.9..=8.0).contains(&counted), "{name}: {report}");
        let admitted = check(&target, "4");
        assert!(admitted.status.success(), "{name}: {}", said(&admitted));
        let text = String::from_utf8_lossy(&admitted.stdout).into_owned();
        assert!(text.contains(&format!("admits 4 rounds: ε would be {counted:.3} of 8")), "{name}: {text}");
        assert_eq!(check(&target, "5").status.code(), Some(5), "{name}: a round that was not planned");
    }
}

/// PRIV-08: the policy admits this task with these settings and nothing looser.
#[test]
fn the_policy_is_as_strict_as_the_settings() {
    let folder = scratch("policy").join("agreement");
    let flags = ["--epsilon", "8", "--delta", "1e-5", "--rounds", "5", "--records", "220"];
    let output = classifier(&folder, &[&flags[..], &["--expires", "2031-12-31"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("the file was written");
    let policy = Policy::parse(&read("policy.toml")).expect("a policy");
    let settings = RoundSettings::parse(&read("settings.toml")).expect("settings");
    let private = settings.training.private.expect("private training");
    assert_eq!(policy.admit_settings(&settings), Ok(()));
    assert_eq!(policy.governance_key.to_string(), KEY);
    assert_eq!(policy.minimum_cohort, settings.cohort_floor);
    assert_eq!(policy.expires.map(|day| day.to_string()).as_deref(), Some("2031-12-31"));
    let training = policy.privacy.and_then(|limits| limits.training).expect("the training is reserved");
    assert_eq!(training.noise_multiplier_milli, private.noise_multiplier_milli);
    assert_eq!(training.steps, 5 * private.steps(settings.training.local_epochs));
    let mut other = settings.clone();
    other.task.0[0] ^= 1;
    assert!(policy.admit_settings(&other).is_err(), "another task");
    let mut other = settings.clone();
    other.training.private = None;
    assert!(policy.admit_settings(&other).is_err(), "training without noise");
    let mut other = settings;
    other.scoring.groups += 1;
    assert!(policy.admit_settings(&other).is_err(), "another score");
}

#[test]
fn training_without_a_budget_must_be_asked_for() {
    let folder = scratch("without");
    let target = folder.join("agreement");
    let error = refused(&classifier(&target, &[]), &target, 2);
    assert!(error.contains("--epsilon") && error.contains("--no-privacy-budget"), "{error}");
    let both = ["--no-privacy-budget", "--epsilon", "8", "--delta", "1e-5", "--rounds", "5"];
    refused(&classifier(&target, &both), &target, 2);
    let output = classifier(&target, &["--no-privacy-budget"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no budget: nothing is promised"));
    let policy = Policy::parse(&fs::read_to_string(target.join("policy.toml")).expect("written"));
    assert_eq!(policy.expect("a policy").privacy, None);
    let again = classifier(&target, &["--no-privacy-budget"]);
    assert_eq!(again.status.code(), Some(78), "no file is overwritten");
}

/// What a refusal calls possible is possible, and nothing beyond it.
#[test]
fn an_impossible_budget_is_refused_with_what_would_be_possible() {
    let folder = scratch("impossible");
    let with_rounds = |target: &Path, rounds: u32| {
        // Pairs, because sketches cost more than anything else that private training does not cover.
        let usual = ["--epsilon", "0.5", "--delta", "1e-5", "--records", "220", "--sketches", "pairs"];
        classifier(target, &[&usual[..], &["--rounds", &rounds.to_string()]].concat())
    };
    let target = folder.join("many");
    let error = refused(&with_rounds(&target, 400), &target, 2);
    assert!(error.contains("(sketches, token counts, routing distributions) costs ε = 1."), "{error}");
    let possible = error.split_once("plan at most ").and_then(|(_, rest)| rest.split_once(" rounds"));
    let possible: u32 = possible.and_then(|(number, _)| number.parse().ok()).expect("a number of rounds");
    assert!(with_rounds(&folder.join("fits"), possible).status.success());
    let target = folder.join("one-more");
    refused(&with_rounds(&target, possible + 1), &target, 2);
    let without_records = ["--epsilon", "8", "--delta", "1e-5", "--rounds", "5"];
    let error = refused(&classifier(&target, &without_records), &target, 2);
    assert!(error.contains("unit `record` needs --records"), "{error}");
    let wrong = ["--epsilon", "8", "--delta", "2", "--rounds", "5", "--records", "220"];
    assert!(refused(&classifier(&target, &wrong), &target, 2).contains("δ = 2 is not between 0 and 1"));
}

/// FLOOR-03, PLAN-04: cohorts are those of the signed roster, and an unsigned one says nothing.
#[test]
fn floors_are_those_of_the_signed_consortium_file() {
    let site = Site::new("task-new");
    site.write_consortium();
    let (consortium, policy) = (site.path("consortium.toml"), site.path("policy.toml"));
    let target = scratch("consortium").join("agreement");
    let flags = ["--classes", "a,b", "--no-privacy-budget", "--consortium", &consortium, "--policy", &policy];
    let output = new_task(&target, &flags);
    assert!(output.status.success(), "{}", said(&output));
    let text = fs::read_to_string(target.join("settings.toml")).expect("written");
    let settings = RoundSettings::parse(&text).expect("settings");
    assert_eq!(settings.cohort_floor, 4, "of five hospitals");
    let target = target.with_file_name("other-key");
    let flags =
        ["--classes", "a,b", "--no-privacy-budget", "--consortium", &consortium, "--governance-key", KEY];
    let error = refused(&new_task(&target, &flags), &target, 78);
    assert!(error.contains("not signed by the governance key"), "{error}");
}

#[test]
fn classes_come_from_a_file_and_flags_of_published_models_are_refused() {
    let folder = scratch("classes");
    let rows = path(&folder, "rows.csv");
    fs::write(&rows, "text,label\na,lung\nb,heart\nc,lung\n").expect("writable");
    let usual = ["--members", "5", "--governance-key", KEY, "--no-privacy-budget"];
    let target = folder.join("agreement");
    let output = new_task(&target, &[&usual[..], &["--classes-of", &rows, "--seed", "7"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let text = fs::read_to_string(target.join("task.json")).expect("written");
    let Task::Classifier(config) = Task::parse(&text).expect("a task") else { panic!("a classifier") };
    assert_eq!((config.classes, config.seed), (vec!["heart".to_owned(), "lung".to_owned()], 7));
    let target = folder.join("refused");
    let error = refused(&new_task(&target, &usual), &target, 2);
    assert!(error.contains("a classifier needs classes"), "{error}");
    let router = new_task(&target, &[&usual[..], &["--classes", "a,b", "--router"]].concat());
    let error = refused(&router, &target, 2);
    assert!(
        error.contains("--router is for a published model; name its folder with --base-model"),
        "{error}"
    );
    let one = new_task(&target, &[&usual[..], &["--classes", "a"]].concat());
    assert!(refused(&one, &target, 78).contains("the number of classes must lie between 2 and"));
}

/// The older command makes the same files.
#[test]
fn experts_task_is_the_same_request_without_a_budget() {
    let folder = scratch("alias");
    let base = path(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures"), "mixtral");
    let (old, new) = (folder.join("old"), folder.join("new"));
    let usual = ["--objective", "language-model", "--members", "5", "--max-tokens", "16"];
    let output = cloister(&[&["experts", "task", &base, &path(&folder, "old")], &usual[..]].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("these settings have no privacy budget"), "{}", said(&output));
    let more = ["--base-model", &base, "--governance-key", KEY, "--no-privacy-budget"];
    let output = new_task(&new, &[&usual[..], &more].concat());
    assert!(output.status.success(), "{}", said(&output));
    for name in ["task.json", "initial.parameters", "settings.toml"] {
        assert_eq!(
            fs::read(old.join(name)).expect("a file"),
            fs::read(new.join(name)).expect("a file"),
            "{name}"
        );
    }
    assert!(new.join("policy.toml").exists() && !old.join("policy.toml").exists());
}

/// The settings are those of the task: a hospital's machine trains a round with them, by DP-SGD.
#[test]
fn a_round_can_be_trained_with_the_settings() {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM") else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return;
    };
    let minilm = PathBuf::from(minilm).display().to_string();
    let folder = scratch("round");
    let notes: String =
        (0..60).map(|row| format!("note number {row},{}\n", ["a", "b", "c"][row % 3])).collect();
    fs::write(folder.join("notes.csv"), format!("text,label\n{notes}")).expect("writable");
    let target = folder.join("agreement");
    let flags =
        ["--epsilon", "8", "--delta", "1e-5", "--rounds", "3", "--records", "60", "--batch-size", "20"];
    assert!(classifier(&target, &flags).status.success());
    let (task, settings) = (path(&target, "task.json"), path(&target, "settings.toml"));
    let check = ["data", "check", &path(&folder, "notes.csv"), "--task", &task, "--settings", &settings];
    let output = cloister(&[&check[..], &["--base-model", &minilm, "--json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    assert!(answer["round"]["share_of_gradients_clipped"].as_f64().is_some(), "{answer}");
}

#[test]
fn hospitals_announce_what_the_flag_says() {
    let folder = scratch("sketches");
    let forms = [
        ("pairs", SketchForm::Pairs, 64),
        ("signs", SketchForm::Signs, 256),
        ("withheld", SketchForm::Withheld, 64),
    ];
    for (form, expected, size) in forms {
        let target = folder.join(form);
        let output = classifier(&target, &["--no-privacy-budget", "--sketches", form]);
        assert!(output.status.success(), "{}", said(&output));
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(stdout.contains(&format!("sketches   {form}: ")), "{stdout}");
        let text = fs::read_to_string(target.join("settings.toml")).expect("it was written");
        let settings = RoundSettings::parse(&text).expect("sound settings");
        assert_eq!((settings.scoring.sketches, settings.sketch.coordinates), (expected, size));
    }
}
