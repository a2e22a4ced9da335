//! Parties that are only custodians: `cloister custodian` needs no notes, no task and no libtorch.

#![allow(clippy::unwrap_used)]

#[cfg(all(feature = "training", target_os = "linux"))]
mod hosts;
mod json_lines;
mod site;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cloister_params::consortium::Role;
use json_lines::JsonLines;
use serde_json::Value;
use site::Site;

/// Starts a custodian of a site whose coordinator nobody reaches.
fn start(site: &Site, identity: &Path, more: &[&str]) -> Output {
    let config = format!(
        "consortium = 'consortium.toml'\nidentity = '{}'\ncoordinator = '127.0.0.1:1'\ndata = 'data'\n",
        identity.display()
    );
    let file = site.folder.join("custodian.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args(["custodian", "--config"]).arg(file).args(more);
    command.output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_member_is_sent_to_the_other_command() {
    let mut site = Site::new("member");
    let identity = site.enrol(&[Role::Member, Role::Custodian]);
    site.write_consortium();
    let (code, text) = said(&start(&site, &identity, &["--check", "--model", &site.path("model")]));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("as a member") && text.contains("`cloister client`"), "{text}");
    // Control: the same party without that role.
    site.file.parties[0].roles = vec![Role::Custodian];
    site.write_consortium();
    let (code, text) = said(&start(&site, &identity, &["--check", "--model", &site.path("model")]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("are sound"), "{text}");
}

/// CONS-06
#[test]
fn in_the_first_edition_a_custodian_needs_the_initial_parameters() {
    let mut site = Site::new("initial");
    let identity = site.enrol(&[Role::Custodian]);
    site.write_consortium();
    let (code, text) = said(&start(&site, &identity, &["--check"]));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("initial parameters with --model"), "{text}");
}

#[test]
fn its_configuration_is_checked_without_starting_anything() {
    let mut site = Site::new("custodian-check");
    let identity = site.enrol(&[Role::Custodian]);
    site.write_consortium();
    drop(start(&site, &identity, &["--check"]));
    let path = site.path("custodian.toml");
    let check = |more: &str| {
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text + more).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        said(&command.args(["config", "check", "custodian", &path]).output().unwrap())
    };
    let (code, text) = check("model = 'model'\n");
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check("notes = 'notes.csv'\n");
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("unknown setting notes; the settings of `cloister custodian` are"), "{text}");
}

fn line_with(lines: &mut JsonLines<impl Read>, words: &str) -> Value {
    lines.find(|line| line["message"].as_str().unwrap().contains(words)).unwrap()
}

/// PLAN-20
#[test]
fn a_hangup_has_its_policy_read_again_and_one_that_cannot_be_taken_over_changes_nothing() {
    let mut site = Site::new("custodian-hangup");
    let identity = site.enrol(&[Role::Custodian]);
    site.write_consortium();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
    command.args([
        "custodian",
        "--coordinator",
        "127.0.0.1:1",
        "--log-format",
        "json",
        "--model",
        &site.path("model"),
    ]);
    command.arg("--identity").arg(&identity).args(["--consortium", &site.path("consortium.toml")]);
    command.args(["--data", &site.path("custodian-data")]).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut lines = JsonLines::new(process.stderr.take().unwrap());
    line_with(&mut lines, "ready; this party is a custodian alone");
    let path = identity.join("policy.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    let hang_up = |policy: &str| {
        std::fs::write(&path, policy).unwrap();
        assert!(Command::new("kill").args(["-HUP", &process.id().to_string()]).status().unwrap().success());
    };
    hang_up(&format!("{before}\nminimum_cohort = 5\n"));
    assert_eq!(line_with(&mut lines, "decides about plans from the next one on")["event"], "policy_replaced");
    hang_up(&format!("{before}\nminimum_cohrt = 5\n"));
    let refused = line_with(&mut lines, "the one that was read before stays in force");
    assert!(
        refused["level"] == "error" && refused["message"].as_str().unwrap().contains("minimum_cohrt"),
        "{refused}"
    );
    hang_up(&format!(
        "{before}\n[privacy]\nunit = \"record\"\nmaximum_epsilon = 4.0\nmaximum_delta = 1e-6\n"
    ));
    let refused = line_with(&mut lines, "another `privacy`");
    assert!(
        refused["level"] == "warn" && refused["message"].as_str().unwrap().contains("restart"),
        "{refused}"
    );
    process.kill().unwrap();
    process.wait().unwrap();
}

/// All custodians of this consortium are custodians alone, so that every seal and every opening is theirs.
#[cfg(all(feature = "training", target_os = "linux"))]
#[test]
fn rounds_have_sums_although_no_custodian_trains() {
    let members = ["h1", "h2", "h3", "h4", "h5"].map(|host| (host, "--role member"));
    let custodians = ["c1", "c2", "c3"].map(|host| (host, "--role custodian"));
    let parties = [members.as_slice(), &custodians].concat();
    let Some(world) = hosts::consortium::World::new("custodians", &parties, parties.len()) else { return };
    let coordinator = world.start_coordinator(world.network.listen_address());
    let listening = coordinator.wait_for("listening", |_| true)["address"].as_str().unwrap().parse().unwrap();
    let address = |host: &str| world.network.coordinator_address(host, listening);
    let custodians = custodians.map(|(host, _)| world.start_custodian(host, &address(host)));
    let hospitals = members.map(|(host, _)| world.start_hospital(host, &address(host)));
    world.wait_for_rounds(1);
    let round = coordinator.wait_for("round", |_| true);
    assert_eq!(
        round["opened"].as_array().unwrap().len(),
        round["cohorts"].as_array().unwrap().len(),
        "{round}"
    );
    let closed = hospitals[0].wait_for("closed", |_| true);
    assert!(closed["summed"].as_u64() > Some(0), "{closed}");
    for custodian in custodians {
        custodian.wait_for("connected", |_| true);
        custodian.stop();
    }
}
