//! A coordinator as a service: configuration file, log, waiting, and a stop that loses nothing.

// A window of the day is tested at the time of the test.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod json_lines;
mod site;

use std::process::{Child, Command, Stdio};

use json_lines::JsonLines;
use serde_json::{Value, json};
use site::Site;

/// A site whose coordinator is started by a configuration file.
fn service(site: &Site, more: &str) -> Command {
    let config = format!(
        "consortium = 'consortium.toml'\nidentity = '.'\nsettings = 'settings.toml'\nmodel = 'model'\ndata = 'data'\n\
         listen = '127.0.0.1:0'\nlog_format = 'json'\n{more}"
    );
    std::fs::write(site.folder.join("server.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["server", "--config", &site.path("server.toml")]);
    command
}

/// Reads the log until a line has this event.
fn wait_for(lines: &mut impl Iterator<Item = Value>, event: &str) -> Value {
    lines.find(|line| line["event"] == event).unwrap_or_else(|| panic!("the log ended before {event}"))
}

fn terminate(child: &Child) {
    let status = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_coordinator_waits_without_a_limit_says_for_whom_and_stops_when_told() {
    let site = Site::new("service");
    site.write_consortium();
    let mut child = service(&site, "").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = JsonLines::new(child.stderr.take().unwrap());
    let listening = wait_for(&mut lines, "listening");
    let time = listening["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "RFC 3339 in UTC: {time}");
    let waiting = wait_for(&mut lines, "waiting");
    assert_eq!(waiting["missing"], serde_json::json!([1, 2, 3, 4, 5]));
    // Control: a coordinator that ends by itself gives up at once.
    let mut impatient = service(&site, "until_finished = true\nstart_within_s = 0\ndata = 'other'\n");
    assert_eq!(impatient.output().unwrap().status.code(), Some(78), "one setting is given twice");
    terminate(&child);
    wait_for(&mut lines, "stopping");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // Nothing is lost: the next start continues from the same folder.
    let mut child = service(&site, "").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = JsonLines::new(child.stderr.take().unwrap());
    wait_for(&mut lines, "resumed");
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn rounds_start_in_their_part_of_the_day_alone() {
    let site = Site::new("window");
    site.write_consortium();
    let events = |from: u64, until: u64, data: &str| {
        let hour = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600;
        let window = format!("{:02}:00-{:02}:00", (hour + from) % 24, (hour + until) % 24);
        let mut command = service(&site, &format!("rounds_between = '{window}'\n"));
        let mut child = command.args(["--data", data]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = JsonLines::new(child.stderr.take().unwrap());
        wait_for(&mut lines, "listening");
        let first = lines.next().unwrap()["event"].clone();
        let second = match first == "run_begun" {
            true => lines.next().unwrap()["event"].clone(),
            false => Value::Null,
        };
        terminate(&child);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        [first, second]
    };
    assert_eq!(events(2, 4, &site.path("closed")), [json!("outside_window"), Value::Null]);
    // Control: it waits for its members alone.
    assert_eq!(events(0, 2, &site.path("open")), [json!("run_begun"), json!("waiting")]);
}

#[test]
fn a_hangup_changes_the_log_level_and_names_what_needs_a_restart() {
    let site = Site::new("hangup");
    site.write_consortium();
    let mut child = service(&site, "").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = JsonLines::new(child.stderr.take().unwrap());
    let hang_up =
        || assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    wait_for(&mut lines, "waiting");
    drop(service(&site, "log_level = 'warn'\nnum_rounds = 7\n"));
    hang_up();
    let restart = lines.next().unwrap();
    assert_eq!(restart["level"], "warn", "the line of level info is left out: {restart}");
    assert_eq!(restart["message"], "these settings have changed and need a restart: num_rounds");
    drop(service(&site, "log_level = 'debug'\nnum_round = 7\n"));
    hang_up();
    let refused = lines.next().unwrap();
    assert!(refused["message"].as_str().unwrap().contains("unknown setting num_round"), "{refused}");
    drop(service(&site, "log_level = 'debug'\n"));
    hang_up();
    let reloaded = lines.next().unwrap();
    assert!(reloaded["message"].as_str().unwrap().contains("the log level is debug"), "{reloaded}");
    terminate(&child);
    wait_for(&mut lines, "stopping");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn flags_override_the_file_and_the_environment_overrides_it_too() {
    let site = Site::new("override");
    site.write_consortium();
    let ends = |command: &mut Command| {
        let output = command.args(["--until-finished", "--start-within-s", "0"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, log) = ends(&mut service(&site, "log_level = 'error'\n"));
    assert_eq!(code, Some(69), "{log}");
    assert!(!log.contains("\"listening\""), "the file's level: {log}");
    let (_, log) = ends(service(&site, "log_level = 'error'\n").args(["--log-level", "info"]));
    assert!(log.contains("\"listening\""), "the flag's level: {log}");
    let (_, log) = ends(service(&site, "log_level = 'error'\n").env("CLOISTER_LOG_LEVEL", "info"));
    assert!(log.contains("\"listening\""), "the environment's level: {log}");
    let (code, log) = ends(&mut service(&site, "num_round = 3\n"));
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("server.toml: unknown setting num_round"), "{log}");
}

#[test]
fn a_configuration_is_checked_without_starting_anything() {
    let site = Site::new("check");
    site.write_consortium();
    drop(service(&site, ""));
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        let output = command.args(["config", "check", "server", &site.path("server.toml")]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, printed) = check();
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("are sound") && !site.folder.join("data/journal").exists(), "{printed}");
    std::fs::remove_file(site.path("model")).unwrap();
    let (code, printed) = check();
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("cannot read") && printed.contains("model"), "{printed}");
}

#[test]
fn each_command_has_a_man_page_that_man_takes_and_shells_have_completions() {
    let site = Site::new("man");
    let cloister = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    cloister(&["generate", "man", &site.path("man1")]);
    for page in ["cloister.1", "cloister-server.1", "cloister-consortium-sign.1"] {
        let text = std::fs::read_to_string(site.folder.join("man1").join(page)).unwrap();
        assert!(text.contains(".TH ") && text.contains(page.trim_end_matches(".1")), "{page}: {text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(cloister(&["generate", "completions", shell]).contains("consortium"), "{shell}");
    }
}
