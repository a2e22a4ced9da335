//! Parties that are only custodians: `cloister custodian` needs no notes, no task and no libtorch.

#![allow(clippy::unwrap_used)]

mod site;
#[cfg(all(feature = "training", target_os = "linux"))]
mod world;

use std::path::Path;
use std::process::{Command, Output};

use cloister_params::consortium::Role;
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

/// All custodians of this consortium are custodians alone, so that every seal and every opening is theirs.
#[cfg(all(feature = "training", target_os = "linux"))]
#[test]
fn rounds_have_sums_although_no_custodian_trains() {
    let roles = [["member"; 5].as_slice(), &["custodian"; 3]].concat();
    let Some(mut world) = world::World::new("custodians", &roles, 8) else { return };
    let coordinator = world.coordinator("first.toml");
    let mut custodians: Vec<world::Service> =
        (6..=8).map(|number| world.custodian(number, "first.toml")).collect();
    let hospitals: Vec<world::Service> = (1..=5).map(|number| world.hospital(number, "first.toml")).collect();
    world.wait_for_rounds(1);
    let round = coordinator.wait_for("the round", |event| event["event"] == "round");
    assert_eq!(round["uploaded"], serde_json::json!([1, 2, 3, 4, 5]), "{round}");
    let closed = hospitals[0].wait_for("the closing", |event| event["event"] == "closed");
    assert!(closed["summed"].as_u64() > Some(0), "{closed}");
    for custodian in &mut custodians {
        custodian.wait_for("the link", |event| event["event"] == "connected");
        let id = custodian.process.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert_eq!(custodian.process.wait().unwrap().code(), Some(0));
    }
}
