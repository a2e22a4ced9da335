//! What came of an enrolment, for people and for programs.

use std::io::Write;
use std::path::{Path, PathBuf};

use cloister_crypto::consortium::Epoch;
use cloister_identity::ShortFingerprint;
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
    /// An edition lists the party, and no person has said by which governance key it is to be checked.
    Listed { name: &'a str, consortium: String, edition: u32 },
    /// The consortium file was checked and written.
    Fetched { path: PathBuf, consortium: String, edition: u32, governance_key: PublicBytes },
}

/// How a person has said which governance key is the right one.
#[derive(Clone, Copy)]
pub(super) enum GovernanceTrust {
    /// Not at all.
    Unknown,
    /// By the key.
    Key(PublicBytes),
    /// By the fingerprint that its holder read out.
    Fingerprint(ShortFingerprint),
}

impl GovernanceTrust {
    /// The key that a person trusts, if the coordinator's can be compared.
    fn key(self, named: PublicBytes) -> Result<Option<PublicBytes>, Failure> {
        match self {
            Self::Unknown => Ok(None),
            Self::Key(key) => Ok(Some(key)),
            Self::Fingerprint(read) if read == governance_fingerprint(named) => Ok(Some(named)),
            Self::Fingerprint(_) => Err(Failure::config(
                "the coordinator names another governance key than the one whose fingerprint was given; check the digits in a \
                 call with the key's holder, and if they are right, trust neither the coordinator nor the invitation",
            )),
        }
    }
}

/// Checks the edition that the coordinator sent. It is written if a governance key is pinned (`CONS-14`).
pub(super) fn take_edition<'a>(
    folder: &Path,
    enrolled: &'a Enrolled,
    sent: &SignedEdition,
    trust: GovernanceTrust,
) -> Result<Outcome<'a>, Failure> {
    let named = PublicBytes(sent.governance_key);
    let pinned = trust.key(named)?;
    // CONS-14: what the coordinator names is not shown either, so that it cannot be copied instead of compared.
    let governance_key = pinned.unwrap_or(named);
    let epoch = accept(sent, governance_key)?;
    let enrolment = &enrolled.enrolment;
    let applicant = enrolment.applicant();
    let listed = epoch.consortium().parties().find(|party| {
        party.certificate.0 == enrolment.certificate().0
            && party.signing_key == enrolment.signing_key()
            && party.name == applicant.name
            && party.organisation == applicant.organisation
    });
    if listed.is_none() {
        return Err(Failure::error(
            "the coordinator sent a consortium file that does not list this party with its names and keys; tell its operator",
        ));
    }
    let edition = epoch.consortium().epoch_number();
    let consortium = printable(epoch.consortium().name().as_bytes());
    if pinned.is_none() {
        return Ok(Outcome::Listed { name: &applicant.name, consortium, edition });
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
    if path.exists() {
        let shown = path.display();
        // It may be a later version's, or that of another consortium.
        let present = read_edition(path, key).map_err(|failure| {
            Failure::config(format!(
                "{shown} stays as it is, because it is no edition under this governance key ({failure}); move it away to get \
                 the coordinator's"
            ))
        })?;
        let (there, came) = (present.consortium(), epoch.consortium());
        let is_newer = there.epoch_number() < number || present.digest() == epoch.digest();
        if there.name() != came.name() || !is_newer {
            return Err(Failure::config(format!(
                "{shown} is edition {} of {:?}, and the coordinator runs edition {number} of {:?}; the file stays as it is",
                there.epoch_number(),
                there.name(),
                came.name()
            )));
        }
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
            Self::Listed { consortium, edition, .. } => json!({
                "state": "listed",
                "consortium": consortium,
                "edition": edition,
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
                 Next: call the holder of the governance key under a number that you know, and read out this fingerprint. In the \
                 same call the holder reads you that of the governance key. Run this command again with \
                 --governance-fingerprint and those digits, or now with --wait too, to get the consortium file.\n",
                enrolment.applicant().name,
                enrolment.fingerprint()
            ),
            Self::Listed { name, consortium, edition } => format!(
                "edition {edition} of the consortium {consortium:?} lists {name}, the coordinator says\n\
                 Next: call the holder of the governance key under a number that you know. The holder reads you the fingerprint \
                 of the governance key. Run this command again with --governance-fingerprint and those digits.\n"
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
