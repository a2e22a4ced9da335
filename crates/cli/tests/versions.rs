//! Files of a later version of the program: whoever reads one is told to install that version, and not that the file is
//! damaged. `protocols/files.md` lists the files.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use cloister_client::Journal;
use cloister_identity::enrolment::Enrolment;
use cloister_identity::online::EnrolmentDesk;
use cloister_params::consortium::{Consortium, EpochStart, PublicBytes};
use cloister_params::limits::PrivacyUnit;
use cloister_privacy::ledger::{History, Ledger, Opening};
use cloister_storage::chain::LineChain;

use scratch::Scratch;

mod scratch;

/// Appends a line to a chained file as a later version of the program may.
fn append(path: &Path, tag: &'static str, text: &str) {
    let chain = LineChain::new(tag);
    let mut bytes = fs::read(path).unwrap();
    let head = chain.read(None, &bytes).unwrap().lines.last().map_or([0; 32], |(digest, _)| *digest);
    bytes.extend(chain.line(&head, text).into_bytes());
    fs::write(path, bytes).unwrap();
}

/// Checks what a reader says of a file, and that the file stays as it is.
fn is_later(path: &Path, said: String) {
    assert!(said.contains("a later version of the program wrote it"), "{}: {said}", path.display());
    assert!(said.contains("nstall that version") && !said.contains("restore"), "{}: {said}", path.display());
}

fn written(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let path = scratch.path(name);
    fs::write(&path, text).unwrap();
    path
}

/// FILE-01, ROUND-04, PRIV-06
#[test]
fn chained_files_of_a_later_version_are_not_taken_for_damaged() {
    let scratch = Scratch::new("versions-chained");
    let path = scratch.path("journal-00");
    drop(Journal::open(&path).unwrap());
    append(&path, "cloister/v1/party-journal", "forbidden 3 closing");
    let before = fs::read(&path).unwrap();
    is_later(&path, Journal::open(&path).unwrap_err().to_string());
    assert_eq!(fs::read(&path).unwrap(), before);
    let path = scratch.path("openings");
    let text = LineChain::new("cloister/v1/party-openings").line(&[0; 32], "begun");
    fs::write(&path, text).unwrap();
    append(&path, "cloister/v1/party-openings", "ff00");
    is_later(&path, cloister_client::verify_openings(&path).unwrap_err().to_string());
    let path = scratch.path("privacy-ledger");
    let opening = Opening { holder: "north".into(), unit: PrivacyUnit::Record, group_by: None };
    drop(Ledger::open(&path, opening.clone()).unwrap());
    assert!(History::read(&path).is_ok(), "control");
    append(&path, "cloister/v1/privacy-ledger", r#"{"forgotten": 3}"#);
    is_later(&path, History::read(&path).unwrap_err().to_string());
    is_later(&path, Ledger::open(&path, opening).unwrap_err().to_string());
}

/// FILE-01, CONS-06, CONS-09, CONS-13
#[test]
fn files_between_parties_of_a_later_version_are_not_taken_for_wrong() {
    let scratch = Scratch::new("versions-files");
    scratch.party("north", "");
    // A later version has other fields, too.
    let text = fs::read_to_string(scratch.path("north/enrolment.toml")).unwrap();
    let text = text.replacen("version = 1", "version = 2\nmore = 1", 1);
    let path = scratch.path("enrolment.toml");
    is_later(&path, Enrolment::read(&text).unwrap_err().to_string());
    let path = written(&scratch, "invitations.toml", "version = 2\nmore = 1\n");
    is_later(&path, EnrolmentDesk::open(&scratch.0, PublicBytes([9; 32])).unwrap_err().to_string());
    let start = format!("epoch = \"{0}\"\nmodel = \"{0}\"\nmore = 1\n", "00".repeat(32));
    is_later(Path::new("epoch-start.toml"), EpochStart::parse(&start).unwrap_err().to_string());
    is_later(Path::new("consortium.toml"), Consortium::parse("more = 1").unwrap_err().to_string());
    let no_toml = Consortium::parse("=").unwrap_err().to_string();
    assert!(!no_toml.contains("later version"), "control: {no_toml}");
}
