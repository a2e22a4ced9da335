//! `cloister privacy`: from targets to settings and back, ledgers, statements, and the documented exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cloister_cluster::plan::template;
use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_params::plan::RoundSettings;
use cloister_privacy::ledger::{Charge, Ledger, Opening};
use cloister_privacy::release::releases;
use serde_json::Value;

fn privacy(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.arg("privacy").args(arguments).output().expect("the program starts")
}

fn succeeded(arguments: &[&str]) -> String {
    let output = privacy(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeded(arguments)).expect("JSON on stdout")
}

/// What a refusal says, with its exit code checked.
fn refused(arguments: &[&str], code: i32) -> String {
    let output = privacy(arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout.is_empty(), "stdout is data");
    String::from_utf8(output.stderr).expect("text")
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder of the tests can be written to");
    folder
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("writable");
    path.display().to_string()
}

/// Settings with noise on everything, or on nothing.
fn settings(noisy: bool) -> RoundSettings {
    let mut settings = template(4, 5, 1);
    for block in &mut settings.blocks {
        block.noise_steps = if noisy { 20 * block.scale.clip_steps } else { 0 };
    }
    settings.sketch.noise_steps = if noisy { 65_535 } else { 0 };
    settings.sketch.count_noise = if noisy { 65_535 } else { 0 };
    settings
}

fn policy(limits: &str) -> String {
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    format!("governance_key = \"{key}\"\n{limits}")
}

#[test]
fn a_target_becomes_settings_that_keep_to_it() {
    let target = ["plan", "--target-epsilon", "4", "--delta", "1e-6", "--rounds", "25", "--members", "10"];
    let member = json(&[&target[..], &["--json"]].concat());
    let plan = &member["member_settings"];
    let counted = plan["epsilon_by_filter"].as_f64().expect("a number");
    assert!(counted <= 4.0 && counted > 3.9, "{member}");
    assert!(plan["bits_used"].as_u64() <= plan["bits_of_ring"].as_u64(), "{member}");
    assert!(succeeded(&target).contains("The noise is larger than any mean of updates can be."));
    assert!(
        plan["sensitivity"] == plan["clip_steps"].as_f64().expect("a number"),
        "rounding keeps to the clip"
    );
    assert_eq!(member["accuracy_cost"]["status"], "not_measured");
    let coarse = [&target[..], &["--ring", "16"]].concat();
    assert!(succeeded(&coarse).contains("rounding loses much of them"), "a quarter of a step a coordinate");
    assert!(!succeeded(&target).contains("rounding loses much"), "control: 262 steps a coordinate");
    let many = ["plan", "--target-epsilon", "20", "--delta", "1e-6", "--rounds", "5", "--members", "300"];
    assert!(!succeeded(&[&many[..], &["--coordinates", "16"]].concat()).contains("The noise is larger"));
    let record = [&target[..], &["--unit", "record", "--records", "2000"]].concat();
    let record_json = json(&[&record[..], &["--json"]].concat());
    assert!(record_json["record_settings"]["noise_multiplier_milli"].as_u64() > Some(500), "{record_json}");
    assert_eq!(record_json["record_settings"]["sampling_probability_micro"], 32_000);
    let given =
        [&target[..], &["--unit", "record", "--sampling-probability-micro", "32000", "--json"]].concat();
    assert_eq!(json(&given), record_json);
    assert!(refused(&[&target[..], &["--unit", "record"]].concat(), 2).contains("needs --records"));
    let table = succeeded(&record);
    assert!(table.contains("noise multiplier of DP-SGD") && table.contains("Not covered"), "{table}");
}

#[test]
fn targets_that_make_no_sense_are_refused_with_what_to_do() {
    let with = |epsilon, delta, ring| {
        let flags = ["--rounds", "25", "--members", "10", "--ring", ring];
        refused(&[&["plan", "--target-epsilon", epsilon, "--delta", delta][..], &flags].concat(), 2)
    };
    assert!(with("4", "2", "32").contains("δ = 2 is not between 0 and 1"));
    assert!(with("0", "1e-6", "32").contains("ε must be a positive number"));
    assert!(with("4", "1e-6", "20").contains("16, 24 or 32"));
    assert!(with("0.0001", "1e-6", "16").contains("take a wider ring, fewer rounds or a larger ε"));
}

/// PRIV-03
#[test]
fn settings_have_a_cost_and_without_noise_none_is_named() {
    let folder = folder("privacy-cost");
    let cost = |noisy| {
        let path = written(&folder, "settings.toml", &settings(noisy).to_toml().expect("TOML"));
        json(&["cost", "--settings", &path, "--rounds", "2", "--unit", "member", "--json"])
    };
    let noisy = cost(true);
    assert!(noisy["spent"]["epsilon"].as_f64().is_some_and(|epsilon| epsilon < 20.0), "{noisy}");
    let quiet = cost(false);
    assert_eq!(
        (&quiet["spent"]["epsilon"], quiet["spent"]["method"].as_str()),
        (&Value::Null, Some("unbounded"))
    );
}

/// What `plan` prints, put into settings, costs what it said.
#[test]
fn a_records_plan_can_be_put_into_settings() {
    let folder = folder("privacy-record");
    let target = ["plan", "--target-epsilon", "3", "--delta", "1e-6", "--rounds", "4", "--members", "8"];
    let printed = succeeded(&[&target[..], &["--unit", "record", "--records", "1000"]].concat());
    let section = printed.find("[training.private]").expect("printed");
    let end = printed[section..].find("\n\n").expect("more follows") + section;
    let text = settings(true).to_toml().expect("TOML");
    let at = text.find("[deadlines]").expect("after the training");
    let whole = format!("{}{}\n\n{}", &text[..at], &printed[section..end], &text[at..]);
    let path = written(&folder, "settings.toml", &whole);
    let cost = json(&["cost", "--settings", &path, "--rounds", "4", "--unit", "record", "--json"]);
    let kinds = cost["kinds_of_one_round"].as_array().expect("a list");
    let names: Vec<&str> = kinds.iter().filter_map(|kind| kind["released"].as_str()).collect();
    assert_eq!(names, ["routing_histogram", "region_sketch", "token_count", "private_step"], "{cost}");
    assert!(succeeded(&["cost", "--settings", &path, "--rounds", "4"]).contains("steps of private training"));
}

/// PRIV-05, PRIV-08
#[test]
fn a_policy_without_room_refuses_with_status_5_and_says_rule_value_and_limit() {
    let folder = folder("privacy-check");
    let path = written(&folder, "settings.toml", &settings(true).to_toml().expect("TOML"));
    let check = |limits: &str| {
        let policy = written(&folder, "policy.toml", &policy(limits));
        privacy(&["check", "--settings", &path, "--policy", &policy, "--rounds", "3"])
    };
    let budget = |epsilon: &str| {
        format!("[privacy]\nunit = \"member\"\nmaximum_epsilon = {epsilon}\nmaximum_delta = 1e-6\n")
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let roomy = check(&budget("100.0"));
    assert!(roomy.status.success(), "{}", said(&roomy));
    assert!(check("").status.success(), "no budget, nothing to exceed");
    let tight = check(&budget("0.25"));
    assert_eq!(tight.status.code(), Some(5));
    assert!(
        said(&tight).contains("`maximum_epsilon`") && said(&tight).contains("allows 0.25"),
        "{}",
        said(&tight)
    );
    let over = check("expires = \"2020-01-01\"");
    assert_eq!(over.status.code(), Some(5));
    assert!(said(&over).contains("`expires`"), "{}", said(&over));
    let scoring = check("allowed_scoring_rules = []");
    assert_eq!(scoring.status.code(), Some(5), "{}", said(&scoring));
}

/// PRIV-06, PRIV-09
#[test]
fn a_ledger_is_explained_and_stated_and_a_changed_one_is_refused() {
    let folder = folder("privacy-ledger");
    let path = folder.join("privacy-ledger");
    let opening = Opening { holder: "Hospital North".into(), unit: PrivacyUnit::Member, group_by: None };
    let mut ledger = Ledger::open(&path, opening).expect("a new ledger");
    let released = releases(&settings(true), PrivacyUnit::Member).expect("charged");
    for round in [1, 2] {
        let (epoch, model) = (Digest([1; 32]), Digest([2; 32]));
        let charge = Charge { epoch, round: Round(round), model, releases: released.clone(), at: None };
        let _ = ledger.charge(charge, None).expect("taken").redeem();
    }
    let file = path.display().to_string();
    let explained = json(&["explain", &file, "--json"]);
    assert_eq!(explained["rounds"].as_array().map(Vec::len), Some(2));
    let epsilon = explained["spent"]["epsilon"].as_f64().expect("everything was noised");
    assert!(succeeded(&["explain", &file]).contains(&format!("ε of everything: {epsilon:.4}")));
    let stated = json(&["statement", &file, "--delta", "1e-6"]);
    assert_eq!(
        (stated["holder"].as_str(), stated["epsilon"].as_f64()),
        (Some("Hospital North"), Some(epsilon))
    );
    let plain = succeeded(&["statement", &file, "--delta", "1e-6", "--plain"]);
    assert_eq!(Some(plain.trim_end()), stated["in_plain_words"].as_str());
    assert!(refused(&["statement", &file], 2).contains("--delta"));
    let run = |name: &str, accuracy: f64, epsilon: Option<f64>| {
        let summary = serde_json::json!({
            "dataset": "AG News", "seeds": [0], "accuracy": { "mean": accuracy, "std": 0.0 },
            "epsilon_of_training": epsilon,
        });
        let manifest = serde_json::json!({ "summary": summary, "settings": { "secure": false }, "data": [] });
        written(&folder, name, &manifest.to_string())
    };
    let (with, without) = (run("with.json", 0.75, Some(3.0)), run("without.json", 0.875, None));
    let runs = ["statement", &file, "--delta", "1e-6", "--with-noise", &with, "--without-noise", &without];
    assert_eq!(json(&runs)["accuracy_cost"]["cost"], 0.125);
    let swapped = ["statement", &file, "--delta", "1e-6", "--with-noise", &without, "--without-noise", &with];
    assert!(
        refused(&swapped, 78).contains("the one with noise has no private training"),
        "the wrong way round"
    );
    assert!(refused(&runs[..6], 2).contains("--without-noise"), "one run alone says nothing");
    let text = std::fs::read_to_string(&path).expect("there").replace("Hospital North", "Hospital South");
    let changed = written(&folder, "changed", &text);
    assert!(refused(&["explain", &changed], 78).contains("line 1: its digest is"));
}

/// PRIV-05: the files that hospitals start from fit one another, and no more rounds than they say.
#[test]
fn the_shipped_private_settings_fit_the_shipped_private_policy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
    let file = |name: &str| folder.join(name).display().to_string();
    let (settings, policy) = (file("private/settings.toml"), file("private/policy.toml"));
    let check =
        |rounds: &'static str| ["check", "--settings", &settings, "--policy", &policy, "--rounds", rounds];
    let said = succeeded(&check("5"));
    assert!(said.contains("admits 5 rounds: ε would be 7.7"), "{said}");
    let said = refused(&check("6"), 5);
    assert!(said.contains("there would be 48 steps of private training"), "{said}");
    let cost = json(&["cost", "--settings", &settings, "--rounds", "5", "--delta", "1e-5", "--json"]);
    assert!(cost["kinds_of_one_round"].as_array().is_some_and(|kinds| {
        kinds
            .iter()
            .all(|kind| kind["released"] == "private_step" || kind["alone"]["epsilon"].as_f64() < Some(0.1))
    }));
    let strict = file("policy.toml");
    let said = refused(&["check", "--settings", &settings, "--policy", &strict, "--rounds", "5"], 5);
    assert!(said.contains("policy `"), "control: a policy with a smaller budget and a larger cohort: {said}");
}
