//! The queue of runs, as the operator of a coordinator sees it. Members never come, so that no round begins.

// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod coordinator;
mod json_lines;
mod site;

use cloister_cluster::plan::template;
use coordinator::{Coordinator, comes_true};
use json_lines::JsonLines;
use serde_json::json;

/// The states of all runs, with their numbers.
fn states(coordinator: &Coordinator) -> Vec<(u64, String)> {
    let queue = coordinator.json(&["queue"]);
    let runs = queue["runs"].as_array().unwrap().iter();
    runs.map(|run| (run["number"].as_u64().unwrap(), run["state"].as_str().unwrap().to_owned())).collect()
}

/// RUN-01, RUN-02
#[test]
fn runs_are_queued_shown_and_cancelled_and_survive_the_death_of_the_coordinator() {
    let mut coordinator = Coordinator::start("runs");
    let path = coordinator.site.path("strict.toml");
    let text = template(2, 5, 1).to_toml().unwrap();
    std::fs::write(&path, &text).unwrap();
    let (mut watch, output) = coordinator.watch(&["--json"]);
    let mut lines = JsonLines::new(output);
    assert_eq!(lines.next().unwrap()["run"]["number"], 1, "the configuration's");
    let queued = coordinator.says(&["start", &path, "--rounds", "3", "--name", "night"]);
    let output = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
    let digest = String::from_utf8(output.stdout).unwrap()[..64].to_owned();
    assert_eq!(
        queued,
        format!("run 2 (night) is queued: 3 rounds, with its own settings, with the SHA-256 {digest}\n")
    );
    let event = lines.next().unwrap();
    assert_eq!(
        (&event["event"], &event["run"], &event["settings"]),
        (&json!("run_queued"), &json!(2), &json!(digest))
    );
    coordinator.says(&["start", "--rounds", "1", "--not-before", "2100-01-01T00:00:00Z"]);
    let status = coordinator.json(&["status"]);
    assert_eq!((&status["num_rounds"], &status["waiting_runs"]), (&json!(5), &json!(2)));
    assert!(coordinator.says(&["status"]).contains("run        1: 0 of 1 rounds; 2 runs wait"));

    coordinator.restart(&[]);
    assert!(watch.wait().unwrap().code() == Some(69), "the coordinator was killed");
    let before = [(1, "in_progress"), (2, "waiting"), (3, "waiting")];
    assert_eq!(states(&coordinator), before.map(|(number, state)| (number, state.to_owned())));
    let queue = coordinator.says(&["queue"]);
    let rows: Vec<&str> = queue.lines().skip(1).collect();
    assert!(rows[0].contains("0 of 1") && rows[0].contains("in progress since 2"), "{queue}");
    assert!(rows[1].contains(&digest[..16]) && rows[1].ends_with("waits: night"), "{queue}");
    assert!(rows[2].ends_with("waits until 2100-01-01T00:00:00Z"), "{queue}");

    assert_eq!(coordinator.says(&["cancel", "1"]), "run 1 is cancelled\n", "no round is in progress");
    assert!(comes_true(|| states(&coordinator)[1].1 == "in_progress"), "the next one begins");
    coordinator.says(&["cancel", "2"]);
    let queue = coordinator.says(&["queue"]);
    assert!(queue.lines().nth(2).unwrap().contains("cancelled at 2"), "{queue}");
    assert!(coordinator.says(&["status"]).contains("none in progress; 1 run waits"));
    coordinator.says(&["pause"]);
    let output = coordinator.run(&["start", "--rounds", "1"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("cloister run resume"), "it stays paused");
    assert_eq!(coordinator.json(&["status"])["paused"], true);
}

/// RUN-02
#[test]
fn a_run_that_cannot_be_is_refused_with_what_to_do() {
    let coordinator = Coordinator::start("runs-refused");
    let path = coordinator.site.path("wrong.toml");
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        coordinator.refuses(&["start", &path, "--rounds", "1"], 1)
    };
    assert!(refused("floor = 3").contains("unknown field"));
    let lax = template(2, 3, 1).to_toml().unwrap();
    assert!(refused(&lax).contains("do not fit the consortium in force"));
    // Control: with the floor of the consortium it is queued.
    std::fs::write(&path, template(2, 4, 1).to_toml().unwrap()).unwrap();
    coordinator.says(&["start", &path, "--rounds", "1"]);
    for (arguments, code, says) in [
        (vec!["start", "--rounds", "0"], 2, "--rounds"),
        (vec!["start", "--rounds", "1", "--not-before", "tomorrow"], 2, "2027-06-30T05:58:12Z"),
        (vec!["start", "--rounds", "1", "--rehearsal", "--patience", "2"], 2, "cannot be used with"),
        (vec!["start", "--rounds", "1", "--patience", "2"], 1, "do not evaluate the model"),
        (vec!["start", "--rounds", "1", "--patience", "2", "--least-gain", "101"], 2, "from 0 to 100"),
        (vec!["start", "no-such-file", "--rounds", "1"], 78, "cannot read no-such-file"),
        (vec!["cancel", "9"], 1, "there is no run 9; `cloister run queue` lists them"),
    ] {
        let errors = coordinator.refuses(&arguments, code);
        assert!(errors.contains(says), "{arguments:?}: {errors}");
    }
}

/// RUN-04
#[test]
fn a_coordinator_that_runs_until_finished_ends_when_no_run_is_left() {
    let coordinator = Coordinator::start("runs-finished");
    coordinator.says(&["start", "--rounds", "1", "--not-before", "2100-01-01T00:00:00Z"]);
    coordinator.says(&["cancel", "1"]);
    assert_eq!(coordinator.json(&["status"])["waiting_runs"], 1, "one is left");
    coordinator.says(&["cancel", "2"]);
    assert!(comes_true(|| !coordinator.run(&["status"]).output().unwrap().status.success()), "it ends");
}
