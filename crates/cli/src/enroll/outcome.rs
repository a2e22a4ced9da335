//! What came of an enrolment, for people and for programs.

use std::io::Write;
use std::path::{Path, PathBuf};

use cloister_crypto::consortium::Epoch;
use cloister_identity::enrolment::Enrolment;
use cloister_identity::online::SignedEdition;
use cloister_params::consortium::PublicBytes;
use cloister_transport::printable;
use serde_json::json;

use crate::consortium::{governance_fingerprint, read_edition};
use crate::failure::Failure;
use crate::folder::POLICY;
use crate::identity::Enrolled;
use crate::output;

/// The file that a party gets.
const CONSORTIUM: &str = "consortium.toml";

/// How an enrolment stands.
pub(super) enum Outcome<'a> {
    /// The coordinator keeps the file, and no edition lists the party.
    Kept { target: String, consortium: String, enrolment: &'a Enrolment },
    /// An edition lists the party, and no person has given this party a governance key to check it by.
    Listed { name: &'a str, consortium: String, edition: u32, governance_key: PublicBytes },
    /// The consortium file was checked and written.
    Fetched { path: PathBuf, consortium: String, edition: u32, governance_key: PublicBytes },
}

/// Checks the edition that the coordinator sent. It is written if a governance key is pinned (`CONS-14`).
pub(super) fn take_edition<'a>(
    folder: &Path,
    enrolled: &'a Enrolled,
    sent: &SignedEdition,
    pinned: Option<PublicBytes>,
) -> Result<Outcome<'a>, Failure> {
    let named = PublicBytes(sent.governance_key);
    // CONS-14: what the coordinator names is only shown.
    let governance_key = pinned.unwrap_or(named);
    let epoch = accept(sent, governance_key)?;
    let enrolment = &enrolled.enrolment;
    let listed = epoch.consortium().parties().find(|party| {
        party.certificate.0 == enrolment.certificate().0 && party.signing_key == enrolment.signing_key()
    });
    if listed.is_none() {
        return Err(Failure::error(
            "the coordinator sent a consortium file that does not list this party's keys; tell its operator",
        ));
    }
    let edition = epoch.consortium().epoch_number();
    let consortium = printable(epoch.consortium().name().as_bytes());
    if pinned.is_none() {
        return Ok(Outcome::Listed {
            name: &enrolment.applicant().name,
            consortium,
            edition,
            governance_key,
        });
    }
    let path = folder.join(CONSORTIUM);
    write_edition(&path, &epoch, governance_key)?;
    Ok(Outcome::Fetched { path, consortium, edition, governance_key })
}

fn accept(sent: &SignedEdition, key: PublicBytes) -> Result<Epoch, Failure> {
    let signature = sent.signature().ok_or_else(|| {
        Failure::error("the coordinator sent a consortium file without a signature; tell its operator")
    })?;
    Epoch::accept(&sent.file, &signature, key).map_err(|error| {
        Failure::config(format!(
            "the consortium file that the coordinator sent is not accepted: {}; compare the fingerprint {} with the holder \
             of the governance key",
            printable(error.to_string().as_bytes()),
            governance_fingerprint(key)
        ))
    })
}

/// Writes the file and its signature, unless a later edition is there.
fn write_edition(path: &Path, epoch: &Epoch, key: PublicBytes) -> Result<(), Failure> {
    let number = epoch.consortium().epoch_number();
    if path.exists()
        && let Ok(present) = read_edition(path, key)
        && present.consortium().epoch_number() > number
    {
        return Err(Failure::config(format!(
            "{} is edition {}, and the coordinator runs edition {number}; the file stays as it is",
            path.display(),
            present.consortium().epoch_number()
        )));
    }
    let signature = hex::encode(epoch.signature());
    // The signature first: a program that reads between the two writes rejects the old file.
    for (path, text) in
        [(path.with_added_extension("sig"), signature.as_str()), (path.to_owned(), epoch.text())]
    {
        cloister_storage::replace(&path, |file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::error(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}

impl Outcome<'_> {
    /// Prints how the enrolment stands, and what comes next.
    pub(super) fn print(&self, as_json: bool) -> Result<(), Failure> {
        if as_json {
            return output::line(self.to_json());
        }
        output::print(self.to_text())
    }

    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Kept { consortium, enrolment, .. } => json!({
                "state": "kept",
                "consortium": consortium,
                "fingerprint": enrolment.fingerprint().to_string(),
            }),
            Self::Listed { consortium, edition, governance_key, .. } => json!({
                "state": "listed",
                "consortium": consortium,
                "edition": edition,
                "governance_key": governance_key.to_string(),
                "governance_fingerprint": governance_fingerprint(*governance_key).to_string(),
            }),
            Self::Fetched { path, consortium, edition, governance_key } => json!({
                "state": "fetched",
                "consortium": consortium,
                "edition": edition,
                "governance_key": governance_key.to_string(),
                "file": path,
            }),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Kept { target, consortium, enrolment } => format!(
                "{target} keeps the enrolment of {} for the consortium {consortium:?}; it is not a party yet\n\
                 fingerprint  {}\n\
                 Next: the holder of the governance key calls you, and you read it this fingerprint. Then run this command \
                 again, or now with --wait, to get the consortium file.\n",
                enrolment.applicant().name,
                enrolment.fingerprint()
            ),
            Self::Listed { name, consortium, edition, governance_key } => format!(
                "edition {edition} of the consortium {consortium:?} lists {name}, the coordinator says\n\
                 governance key  {governance_key}\n\
                 fingerprint     {}\n\
                 Next: call the holder of the governance key under a number that you know, and compare this fingerprint. If it \
                 is the same, run this command again with --governance-key {governance_key}\n",
                governance_fingerprint(*governance_key)
            ),
            Self::Fetched { path, consortium, edition, governance_key } => format!(
                "wrote {}: edition {edition} of the consortium {consortium:?}, signed by the governance key, lists this \
                 party\n{}",
                path.display(),
                next_step(path, *governance_key)
            ),
        }
    }
}

/// What to do with the file.
fn next_step(path: &Path, key: PublicBytes) -> String {
    let policy = path.with_file_name(POLICY);
    match policy.exists() {
        true => "Next: start `cloister client` or `cloister custodian` with this file.\n".to_owned(),
        false => format!(
            "Next: write {} with what this party accepts, and in it the line\ngovernance_key = \"{key}\"\n",
            policy.display()
        ),
    }
}
