//! Bad files and addresses: each gets a sentence that says what is wrong and the documented exit code, and nothing
//! is lost.

#![allow(clippy::unwrap_used)]

mod site;

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use site::Site;

#[test]
fn the_honest_site_gets_as_far_as_waiting_for_members() {
    let site = Site::new("honest");
    site.write_consortium();
    site.fails("127.0.0.1:0", 69, &["0 of 5 members are connected"]);
}

#[test]
fn two_members_with_one_name() {
    let mut site = Site::new("names");
    site.file.parties[1].name = "hospital 1".into();
    site.write_consortium();
    site.fails("127.0.0.1:0", 78, &["consortium.toml", "same name", "hospital 1"]);
}

#[test]
fn a_consortium_file_that_was_changed_after_signing() {
    let site = Site::new("changed");
    site.write_consortium();
    let path = Path::new(&site.path("consortium.toml")).to_path_buf();
    let text = std::fs::read_to_string(&path).unwrap().replace("weight = 1", "weight = 2");
    std::fs::write(&path, text).unwrap();
    site.fails("127.0.0.1:0", 78, &["not signed by the governance key"]);
}

#[test]
fn keys_that_are_not_the_listed_coordinators() {
    let mut site = Site::new("other-coordinator");
    site.file.coordinator.certificate.0 = [9; 32];
    site.write_consortium();
    site.fails(
        "127.0.0.1:0",
        78,
        &["lists the coordinator with certificate 0909", "the folder that was enrolled"],
    );
    let mut site = Site::new("other-coordinators-key");
    site.file.coordinator.signing_key = site.file.parties[0].signing_key;
    site.file.parties.remove(0);
    site.write_consortium();
    site.fails("127.0.0.1:0", 78, &["lists the coordinator with another signing key"]);
}

#[test]
fn a_plan_below_the_floors() {
    let site = Site::new("floors");
    site.write_consortium();
    site.write_settings(3);
    site.fails("127.0.0.1:0", 78, &["settings.toml", "cohorts of 3 organisations", "floor is 4"]);
}

#[test]
fn a_port_in_use() {
    let site = Site::new("port");
    site.write_consortium();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    site.fails(&address.to_string(), 69, &[&address.port().to_string(), "already in use"]);
}

#[test]
fn a_tcp_port_in_use_and_the_way_around_it() {
    let site = Site::new("tcp-port");
    site.write_consortium();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, port) = (taken.local_addr().unwrap().to_string(), taken.local_addr().unwrap().port());
    let named = format!("TCP port {port} is already in use");
    site.fails(&address, 69, &[&named, "listen on QUIC alone (--carrier quic)"]);

    let output = site.server(&address, 0).args(["--carrier", "quic"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("0 of 5 members are connected"), "{errors}");
}

#[test]
fn keys_that_others_can_read() {
    for key in ["key.pem", "signing.key"] {
        let site = Site::new(key);
        site.write_consortium();
        std::fs::set_permissions(site.path(key), std::fs::Permissions::from_mode(0o644)).unwrap();
        site.fails("127.0.0.1:0", 78, &[key, "chmod 600"]);
    }
}

#[cfg(feature = "training")]
mod hospital {
    use std::path::PathBuf;
    use std::process::{Command, Output};

    use cloister_params::consortium::{PublicBytes, Role};

    use super::*;

    fn join(site: &Site, identity: &Path, notes: &str) -> Output {
        join_with(site, identity, (notes.as_bytes(), notes.as_bytes()), &[])
    }

    /// Starts a hospital on rows to train on and rows that are held out.
    fn join_with(site: &Site, identity: &Path, (notes, held_out): (&[u8], &[u8]), more: &[&str]) -> Output {
        let config = cloister_experts::ModelConfig::new(vec!["a".into(), "b".into()]);
        std::fs::write(site.folder.join("task.json"), serde_json::to_string(&config).unwrap()).unwrap();
        std::fs::write(site.folder.join("notes.jsonl"), notes).unwrap();
        std::fs::write(site.folder.join("held-out.jsonl"), held_out).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command
            .args([
                "client",
                "--until-finished",
                "--coordinator",
                "127.0.0.1:1",
                "--base-model",
                "nowhere",
                "--identity",
            ])
            .arg(identity);
        let flags = [
            ("--consortium", "consortium.toml"),
            ("--task", "task.json"),
            ("--model", "model"),
            ("--notes", "notes.jsonl"),
            ("--held-out", "held-out.jsonl"),
            ("--data", "data"),
        ];
        for (flag, name) in flags {
            command.arg(flag).arg(site.path(name));
        }
        command.args(more).output().unwrap()
    }

    fn fails(output: &Output, words: &[&str]) {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{errors}");
        for word in words {
            assert!(errors.contains(word), "{word:?} is not in: {errors}");
        }
    }

    const NOTE: &str = "{\"text\": \"a note\", \"label\": \"a\"}\n";

    fn enrol(site: &mut Site) -> PathBuf {
        site.enrol(&[Role::Member, Role::Custodian])
    }

    #[test]
    fn a_certificate_that_is_not_in_the_consortium_file() {
        let mut site = Site::new("stranger");
        let hospital = enrol(&mut site);
        site.file.parties[0].certificate = PublicBytes([101; 32]);
        site.write_consortium();
        fails(&join(&site, &hospital, NOTE), &["is not in the consortium file"]);
    }

    #[test]
    fn a_hospital_without_notes_and_one_with_an_unknown_label() {
        let mut site = Site::new("empty");
        let hospital = enrol(&mut site);
        site.write_consortium();
        fails(&join(&site, &hospital, ""), &["notes.jsonl"]);
        fails(
            &join(&site, &hospital, &NOTE.replace("\"a\"", "\"c\"")),
            &["notes.jsonl, line 1: its label is not one of the task's classes: a, b"],
        );
        fails(&join(&site, &hospital, &format!("{NOTE}{{")), &["line 2"]);
    }

    #[test]
    fn held_out_notes_are_checked_before_anything_is_loaded_or_reached() {
        let mut site = Site::new("held-out");
        let hospital = enrol(&mut site);
        site.write_consortium();
        let measured_on =
            |held_out: &str| join_with(&site, &hospital, (NOTE.as_bytes(), held_out.as_bytes()), &[]);
        let beyond = format!("{NOTE}{}", NOTE.replace("\"a\"", "\"c\""));
        fails(
            &measured_on(&beyond),
            &["held-out.jsonl, line 2: its label is not one of the task's classes: a, b"],
        );
        fails(&measured_on(&NOTE.replace("a note", " ")), &["held-out.jsonl, line 1: “text” is empty"]);
        fails(&measured_on("\n"), &["held-out.jsonl holds no notes"]);
    }

    #[test]
    fn tables_in_an_encoding_are_read_where_it_is_said_and_no_note_is_printed() {
        let mut site = Site::new("tables");
        let hospital = enrol(&mut site);
        site.write_consortium();
        let table = b"text;label\nFr\xfchgeborenes;a\nReif geboren;b\n".as_slice();
        let unsaid = join_with(&site, &hospital, (table, table), &[]);
        fails(&unsaid, &["notes.jsonl, row 1 (line 2): its text is not UTF-8", "--encoding"]);
        let printed = String::from_utf8_lossy(&unsaid.stderr).into_owned();
        assert!(!printed.contains("geboren"), "{printed}");
        // Both are read, and what is missing next is the base model.
        let said = join_with(&site, &hospital, (table, table), &["--encoding", "windows-1252"]);
        fails(&said, &["nowhere"]);
    }

    #[test]
    fn a_model_for_which_there_is_no_memory_is_not_loaded() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures/olmoe");
        let check = |batch_size: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
            command.args(["experts", "check", "--rank", "2", "--batch-size", batch_size]).arg(&model);
            command.output().unwrap()
        };
        let output = check("1000000000");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{words}");
        assert!(words.contains("GiB are free; take smaller batches"), "{words}");
        assert!(!words.contains("loading"), "{words}");
        assert!(check("8").status.success());
    }
}
