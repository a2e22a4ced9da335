//! Founding a consortium with the program's commands alone: keys, enrolment, editions, and what must fail.

#![allow(clippy::unwrap_used)]

mod scratch;

use std::process::Command;

use cloister_cluster::Cluster;
use cloister_cluster::consortium::consortium;
use cloister_cluster::plan::template;
use cloister_protocol::model::Model;
use cloister_wire::codec;
use scratch::{Scratch, mode};
use serde_json::Value;

#[test]
fn a_consortium_is_founded_by_commands_alone() {
    let scratch = Scratch::new("alone");
    let key = scratch.found();
    let shown = scratch.shown(&key);
    assert_eq!((&shown["epoch"], &shown["cohort_floor"]), (&1.into(), &4.into()));
    let names: Vec<&str> =
        shown["parties"].as_array().unwrap().iter().map(|party| party["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["h1", "h2", "h3", "h4", "h5"]);
    for secret in ["governance/governance.key", "h1/key.pem", "h1/signing.key"] {
        assert_eq!(mode(&scratch.path(secret)), 0o600, "{secret}");
        let text = std::fs::read_to_string(scratch.path(secret)).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"), "{secret}");
    }
    assert_eq!(mode(&scratch.path("h1")), 0o700);
    // A coordinator starts with what the commands wrote, and waits for the hospitals.
    let enrolment = std::fs::read_to_string(scratch.path("h1/enrolment.toml")).unwrap();
    assert!(!enrolment.contains("PRIVATE"), "{enrolment}");
}

/// The keys are those that other programs read: OpenSSL prints the same public key.
#[test]
fn openssl_reads_the_keys_and_the_certificate() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("SKIPPED: openssl is not installed");
        return;
    }
    let scratch = Scratch::new("openssl");
    scratch.party("north", "");
    let shown: Value = serde_json::from_str(&scratch.succeeds("identity show north --json")).unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(&scratch.0).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let public = openssl(&["pkey", "-in", "north/signing.key", "-pubout", "-outform", "DER"]);
    assert_eq!(hex::encode(&public[public.len() - 32..]), shown["signing_key"].as_str().unwrap());
    openssl(&["pkey", "-in", "north/key.pem", "-noout", "-check"]);
    let printed = openssl(&["x509", "-in", "north/certificate.pem", "-noout", "-fingerprint", "-sha256"]);
    let printed = String::from_utf8(printed).unwrap().replace(':', "").to_lowercase();
    assert!(printed.contains(shown["certificate"].as_str().unwrap()), "{printed}");
}

/// CONS-09
#[test]
fn another_file_than_the_one_whose_fingerprint_was_read_is_refused() {
    let scratch = Scratch::new("swapped");
    scratch.found();
    let expected = scratch.party("h6", "");
    // Somebody between the hospital and the governance key's holder swaps the file for one with other keys.
    scratch.succeeds("identity new thief --name h6 --organisation Hospital_h6");
    scratch.fails(
        &format!("consortium add governance thief/enrolment.toml --fingerprint {expected}"),
        "another file than the party's",
    );
    scratch.succeeds(&format!("consortium add governance h6/enrolment.toml --fingerprint {expected}"));
    scratch.fails(
        &format!("consortium add governance h6/enrolment.toml --fingerprint {expected}"),
        "the draft stays as it was: \"h6\" and \"h6\" have the same name",
    );
    scratch.fails("consortium sign governance", "epoch-start.toml");
}

/// FLOOR-05: two spellings of one organisation would count as two.
#[test]
fn a_party_whose_name_or_organisation_looks_like_a_listed_one_is_not_added() {
    let scratch = Scratch::new("similar");
    scratch.found();
    for (folder, name, organisation) in [("case", "H1", "Other"), ("width", "h7", "Hospital_ｈ1")] {
        scratch.succeeds(&format!("identity new {folder} --name {name} --organisation {organisation}"));
        let fingerprint = scratch.fingerprint(folder);
        scratch.fails(
            &format!("consortium add governance {folder}/enrolment.toml --fingerprint {fingerprint}"),
            "looks like",
        );
    }
    // A file's words do not command the terminal of whoever adds it.
    std::fs::write(scratch.path("escape.toml"), "\"\\u001b[2Jforged\" = 1\n").unwrap();
    let output =
        scratch.run("consortium add governance escape.toml --fingerprint 00000-00000-00000-00000-00000");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("forged") && !errors.contains('\u{1b}'), "{errors}");
}

#[test]
fn a_later_edition_continues_from_the_coordinator_s_file_and_tells_what_changed() {
    let scratch = Scratch::new("later");
    let key = scratch.found();
    let shown = scratch.shown(&key);
    std::fs::copy(scratch.path("governance/consortium.toml"), scratch.path("first.toml")).unwrap();
    std::fs::copy(scratch.path("governance/consortium.toml.sig"), scratch.path("first.toml.sig")).unwrap();
    scratch.succeeds("consortium remove governance h2");
    let joining = scratch.party("h6", "");
    scratch.succeeds(&format!("consortium add governance h6/enrolment.toml --fingerprint {joining}"));
    scratch.succeeds("identity new h1-renewed --name h1 --organisation Hospital_h1");
    let renewed = scratch.fingerprint("h1-renewed");
    scratch.fails(
        &format!("consortium rotate governance h3 h1-renewed/enrolment.toml --fingerprint {renewed}"),
        "party 3 is another party",
    );
    scratch.succeeds(&format!(
        "consortium rotate governance h1 h1-renewed/enrolment.toml --fingerprint {renewed}"
    ));
    let start = |epoch: &str| format!("epoch = \"{epoch}\"\nmodel = \"{}\"\n", "11".repeat(32));
    std::fs::write(scratch.path("start.toml"), start(&"22".repeat(32))).unwrap();
    scratch.fails("consortium sign governance --start start.toml", "continues from epoch 2222");
    let digest = shown["digest"].as_str().unwrap();
    // The coordinator proposes an ending and is not trusted for it: its certificate is checked.
    let ending = format!("[ending]\nround = 3\ndigest = \"{}\"\n", "33".repeat(32));
    std::fs::write(scratch.path("start.toml"), start(digest) + &ending).unwrap();
    scratch.fails("consortium sign governance --start start.toml", "cannot read start.ending");
    std::fs::write(scratch.path("start.ending"), "no certificate").unwrap();
    scratch.fails("consortium sign governance --start start.toml", "ask custodians which ending they know");
    std::fs::write(scratch.path("start.toml"), start(digest)).unwrap();
    scratch.succeeds("consortium sign governance --start start.toml");
    let checked = scratch.succeeds(&format!(
        "consortium check governance/consortium.toml --governance-key {key} --since first.toml --json"
    ));
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(
        checked["changes"].as_array().unwrap(),
        &["party 1 (h1) has new keys", "party 2 (h2) leaves", "party 6 (h6, Hospital h6) joins"]
    );
    assert_eq!(checked["retired"], serde_json::json!([2]));
    // An edition that changes nothing prolongs the one before.
    std::fs::write(scratch.path("start.toml"), start(checked["digest"].as_str().unwrap())).unwrap();
    let said = scratch.succeeds("consortium sign governance --start start.toml");
    assert!(said.starts_with("signed edition 3 of Test"), "{said}");
}

/// CONS-06: the edition starts from the model whose file is given, and says that it was replaced.
#[test]
fn an_edition_goes_back_to_a_model_that_is_given_as_a_file() {
    let scratch = Scratch::new("back");
    let key = scratch.found();
    let shown = scratch.shown(&key);
    let start =
        format!("epoch = \"{}\"\nmodel = \"{}\"\n", shown["digest"].as_str().unwrap(), "11".repeat(32));
    std::fs::write(scratch.path("start.toml"), start).unwrap();
    let model = Model::new(vec![vec![1.0, 2.0]]);
    std::fs::write(scratch.path("earlier.parameters"), model.to_bytes()).unwrap();
    std::fs::write(scratch.path("none.parameters"), "no model").unwrap();
    let sign = "consortium sign governance --start start.toml";
    scratch.fails(&format!("{sign} --replace-model none.parameters"), "not a file of model parameters");
    // CONS-16
    scratch.fails(&format!("{sign} --back-to none.parameters"), "is no certificate of a closing");
    let other = Cluster::new(consortium(&[1; 5]), template(2, 4, 1), 3).run_round().unwrap();
    std::fs::write(scratch.path("other.ending"), codec::encode(&other.ending)).unwrap();
    scratch.fails(&format!("{sign} --back-to other.ending"), "give a closing of this consortium");
    scratch.succeeds(&format!("{sign} --replace-model earlier.parameters"));
    let signed = std::fs::read_to_string(scratch.path("governance/consortium.toml")).unwrap();
    let start = signed.split("[start]").nth(1).unwrap();
    assert!(start.contains(&format!("model = \"{}\"", model.digest())), "{signed}");
    assert!(start.contains("replaced = true"), "{signed}");
}

#[test]
fn a_file_that_another_key_signed_is_refused() {
    let scratch = Scratch::new("forged");
    let key = scratch.found();
    let other = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    scratch.fails(
        &format!("consortium check governance/consortium.toml --governance-key {other}"),
        "not signed by the governance key",
    );
    scratch.succeeds(&format!("consortium check governance/consortium.toml --governance-key {key}"));
    scratch.fails(
        "consortium init governance --name Again --coordinator coordinator/enrolment.toml --fingerprint \
         00000-00000-00000-00000-00000",
        "has the fingerprint",
    );
}

#[test]
fn a_full_disk_leaves_no_half_of_a_key() {
    let scratch = Scratch::new("full");
    let new =
        format!("{} identity new north --name north --organisation North", env!("CARGO_BIN_EXE_cloister"));
    // No file may have a byte; the signal that the system sends with it is ignored, as the error says all.
    let limited = format!("trap '' XFSZ; ulimit -f 0; exec {new}");
    let output = Command::new("bash").args(["-c", &limited]).current_dir(&scratch.0).output().unwrap();
    assert!(!output.status.success(), "no key can be written");
    assert!(!scratch.path("north/key.pem").exists(), "nothing is left of it");
    scratch.succeeds("identity new north --name north --organisation North");
}
