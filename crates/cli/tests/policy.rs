//! `cloister policy`: what a policy means, and what it says of settings.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn policy(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cloister"))
        .arg("policy")
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn succeeded(arguments: &[&str]) -> String {
    let output = policy(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeded(&[arguments, &["--json"]].concat())).expect("JSON on stdout")
}

fn refused(arguments: &[&str], code: i32) -> String {
    let output = policy(arguments);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {said}");
    said
}

fn shipped(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config").join(name).display().to_string()
}

fn written(name: &str, text: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("policy");
    std::fs::create_dir_all(&folder).expect("the folder of the tests can be written to");
    let path = folder.join(name);
    std::fs::write(&path, format!("governance_key = \"{KEY}\"\n{text}")).expect("writable");
    path.display().to_string()
}

/// The names of the settings that are defaults.
fn defaults(explained: &Value) -> Vec<&str> {
    let settings = explained["settings"].as_array().expect("a list");
    let defaults = settings.iter().filter(|setting| setting["is_default"] == true);
    defaults.filter_map(|setting| setting["setting"].as_str()).collect()
}

#[test]
fn each_setting_is_explained_and_defaults_are_named() {
    let sample = shipped("policy.toml");
    assert_eq!(defaults(&json(&["explain", &sample])), ["allowed_models"], "it is commented out");
    let bare = written("bare.toml", "");
    let explained = json(&["explain", &bare]);
    assert_eq!(explained["settings"].as_array().map_or(0, Vec::len) - 1, defaults(&explained).len());
    assert_eq!(explained["rounds"], Value::Null);
    let text = succeeded(&["explain", &bare]);
    assert!(
        text.contains("maximum_weight = 15 (default)\n    A hospital may count up to 15 times"),
        "{text}"
    );
    assert!(text.contains("privacy = none (default)\n    There is no privacy budget."), "{text}");
    let text = succeeded(&["explain", &sample]);
    assert!(
        text.contains("minimum_cohort = 5\n    An update of this party is summed over at least 5"),
        "{text}"
    );
    assert!(text.contains("may cost ε = 4 for each record."), "{text}");
    let loose =
        written("loose.toml", "[privacy]\nunit = \"record\"\nmaximum_epsilon = 25.0\nmaximum_delta = 1e-6\n");
    assert!(succeeded(&["explain", &loose]).contains("no meaningful promise"));
}

/// PRIV-05, PRIV-08: all rules that refuse are named, and the cost with them.
#[test]
fn settings_are_judged_by_each_rule() {
    let (settings, fitting) = (shipped("private/settings.toml"), shipped("private/policy.toml"));
    let rounds = |policy: &str, count: &str| {
        json(&["explain", policy, "--settings", &settings, "--rounds", count])["rounds"].clone()
    };
    let five = rounds(&fitting, "5");
    assert_eq!((&five["admitted"], five["refusals"].as_array().map(Vec::len)), (&Value::Bool(true), Some(0)));
    assert!(five["counted"].as_f64().is_some_and(|counted| (7.6..8.0).contains(&counted)), "{five}");
    assert!(five["cost"]["spent"]["epsilon"].as_f64() <= five["counted"].as_f64(), "{five}");
    let six = rounds(&fitting, "6");
    assert!(six["refusals"][0].as_str().is_some_and(|why| why.contains("there would be 48 steps")), "{six}");
    let strict = written(
        "strict.toml",
        "minimum_cohort = 9\nmaximum_weight = 1\nallow_fallback_to_everyone = false\nexpires = \"2020-01-01\"\n\
         minimum_noise_multiplier_milli = 5000\nallowed_models = []\nallowed_scoring_rules = [\"MedianDeviation\"]\n",
    );
    let refusals = rounds(&strict, "5")["refusals"].clone();
    let named: Vec<&str> = refusals
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|refusal| refusal.as_str()?.split('`').nth(1))
        .collect();
    let expected = [
        "expires",
        "minimum_cohort",
        "allow_fallback_to_everyone",
        "minimum_noise_multiplier_milli",
        "allowed_scoring_rules",
        "allowed_models",
    ];
    assert_eq!(named, expected);
    let text = succeeded(&["explain", &strict, "--settings", &settings, "--rounds", "5"]);
    assert!(text.contains("the policy refuses these rounds:\n- policy `expires`"), "{text}");
}

#[test]
fn a_check_ends_with_the_documented_status() {
    let (settings, fitting) = (shipped("private/settings.toml"), shipped("private/policy.toml"));
    let check = |rounds: &'static str| ["check", &fitting, "--settings", &settings, "--rounds", rounds];
    assert!(succeeded(&check("5")).contains("the policy admits 5 rounds"));
    assert_eq!(json(&check("5"))["admitted"], true);
    assert!(refused(&check("6"), 5).contains("there would be 48 steps of private training"));
    assert!(succeeded(&["check", &fitting]).contains("admits plans today"));
    let expired = written("expired.toml", "expires = \"2020-01-01\"\n");
    assert!(refused(&["check", &expired], 5).contains("have it renewed"));
    let typo = written("typo.toml", "minimum_cohrt = 5\n");
    assert!(refused(&["check", &typo], 78).contains("typo.toml"));
    let budget = "[privacy]\nunit = \"record\"\nmaximum_epsilon = 0.0\nmaximum_delta = 1e-6\n";
    assert!(refused(&["check", &written("zero.toml", budget)], 78).contains("ε must be a positive number"));
    assert!(refused(&["check", &fitting, "--settings", &settings], 2).contains("--rounds"));
}
