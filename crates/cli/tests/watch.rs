//! Programs that follow a running coordinator, and the history of its rounds.

// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod coordinator;
mod json_lines;
mod site;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use coordinator::{Coordinator, comes_true};
use json_lines::JsonLines;
use serde_json::Value;

fn interrupt(process: &Child) {
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_watch_shows_the_status_and_every_change_until_it_is_interrupted() {
    let coordinator = Coordinator::start("watch");
    let (mut watch, output) = coordinator.watch(&["--json"]);
    let mut lines = JsonLines::new(output);
    let status = lines.next().unwrap();
    assert_eq!(
        (&status["event"], &status["round"], &status["paused"]),
        (&"status".into(), &Value::Null, &false.into())
    );
    let (mut shown, output) = coordinator.watch(&[]);
    let mut sentences = BufReader::new(output).lines();
    assert!(sentences.next().unwrap().unwrap().starts_with("edition "));
    let last_of_the_status = sentences.by_ref().map(Result::unwrap).find(|line| line.starts_with("missing"));
    assert!(last_of_the_status.is_some());
    coordinator.says(&["pause"]);
    let paused = lines.next().unwrap();
    assert_eq!(paused["event"], "rounds_paused");
    assert!(paused["time"].as_str().unwrap().ends_with('Z') && paused["level"] == "info", "{paused}");
    assert!(sentences.next().unwrap().unwrap().contains("Z the operator paused the rounds"));
    interrupt(&watch);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    coordinator.says(&["resume"]);
    assert!(sentences.next().unwrap().unwrap().contains("resumed"), "the other one goes on");
    coordinator.says(&["stop"]);
    assert!(sentences.any(|line| line.unwrap().contains("stopping")));
    assert_eq!(shown.wait().unwrap().code(), Some(69), "the coordinator ended");
}

#[test]
fn watchers_that_read_nothing_keep_nobody_waiting_and_are_few() {
    let coordinator = Coordinator::start("watchers");
    let begin = || {
        let mut stream = UnixStream::connect(coordinator.site.path("data/control.sock")).unwrap();
        stream.write_all(b"{\"command\":\"watch\"}\n").unwrap();
        stream
    };
    let first_line = |stream: &UnixStream| {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    };
    let stuck: Vec<UnixStream> = (0..8).map(|_| begin()).collect();
    assert!(stuck.iter().all(|stream| first_line(stream).contains("\"ok\"")));
    assert!(coordinator.says(&["status"]).contains("between rounds"));
    let refused = coordinator.run(&["watch"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8(refused.stderr).unwrap();
    assert!(errors.contains("8 programs watch this coordinator already"), "{errors}");
    drop(stuck);
    // The coordinator hears of it at some time.
    assert!(comes_true(|| first_line(&begin()).contains("\"ok\"")));
}

/// LOG-02
#[test]
fn a_history_needs_a_folder_and_no_coordinator() {
    let coordinator = Coordinator::start("history");
    assert_eq!(coordinator.says(&["history"]), "no round has begun\n");
    coordinator.says(&["stop"]);
    let history: Value = serde_json::from_str(&coordinator.says(&["history", "--json"])).unwrap();
    assert_eq!(history, serde_json::json!({"rounds": []}));
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_cloister"));
    let refused = elsewhere.args(["run", "history", "--data", "no-such-folder"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("no-such-folder is no folder"));
}
