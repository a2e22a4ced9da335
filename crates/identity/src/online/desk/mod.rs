//! What a coordinator keeps of invitations and enrolment files, in its data folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::{Consortium, PublicBytes};
use cloister_params::id::Digest;
use thiserror::Error;

use super::book::{Book, Entry, InvitationState, MAX_INVITATIONS, Use};
use super::exchange::{
    EnrolmentAnswer, EnrolmentRefusal, EnrolmentRequest, Receipt, RequestError, SignedEdition,
};
use super::invitation::{InvitationToken, roles_text, seconds};
use crate::enrolment::{Enrolment, EnrolmentRole};
use crate::fingerprint::Fingerprint;
use crate::list_file::{ListFile, ListFileError};
use crate::short_fingerprint::ShortFingerprint;

/// The file of invitations in a coordinator's data folder.
pub const INVITATIONS: &str = "invitations.toml";
/// The folder of enrolment files in a coordinator's data folder.
pub const ENROLMENTS: &str = "enrolments";
/// The longest part of a party's name in a file's name, in bytes.
const MAX_FILE_NAME: usize = 40;

/// How many requests of one invitation are refused before it is cancelled.
const MOST_REFUSALS: u32 = 10;

/// Invitations and enrolment files of one coordinator.
#[derive(Debug)]
pub struct EnrolmentDesk {
    folder: PathBuf,
    governance_key: PublicBytes,
    book: ListFile<Book>,
}

/// Why the list of invitations was not read or changed.
#[derive(Debug, Error)]
pub enum DeskError {
    /// A file was not read or written.
    #[error(transparent)]
    File(#[from] ListFileError),
    /// There are too many invitations.
    #[error(
        "there are {MAX_INVITATIONS} invitations, and no more are kept; cancel some with `cloister run uninvite`"
    )]
    TooMany,
    /// No invitation has the number.
    #[error("there is no invitation {number}; `cloister run invitations` lists all")]
    NoSuch {
        /// The number that was given.
        number: u32,
    },
}

/// An enrolment file that was kept just now, for the coordinator's operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptEnrolment {
    /// The party's name.
    pub name: String,
    /// The fingerprint that the holder of the governance key compares with the party.
    pub fingerprint: ShortFingerprint,
    /// The file.
    pub path: PathBuf,
}

/// What came of a request.
#[derive(Debug)]
pub struct DeskOutcome {
    /// For the party.
    pub answer: EnrolmentAnswer,
    /// The file, if it was kept just now.
    pub kept: Option<KeptEnrolment>,
    /// Why this machine could not keep it, if that is the reason of the refusal.
    pub fault: Option<DeskError>,
}

/// Who hands in a request, and when.
#[derive(Clone, Copy, Debug)]
struct Visit {
    presented: Fingerprint,
    now: SystemTime,
}

/// Why nothing was kept.
#[derive(Debug)]
enum Rejection {
    Refused(EnrolmentRefusal),
    /// This machine could not keep it.
    Fault(DeskError),
}

impl From<EnrolmentRefusal> for Rejection {
    fn from(why: EnrolmentRefusal) -> Self {
        Self::Refused(why)
    }
}

impl From<DeskError> for Rejection {
    fn from(fault: DeskError) -> Self {
        Self::Fault(fault)
    }
}

impl EnrolmentDesk {
    /// Opens the desk in a coordinator's data folder. `governance_key` is the one that the coordinator's policy pins.
    ///
    /// # Errors
    /// [`DeskError::File`].
    pub fn open(folder: &Path, governance_key: PublicBytes) -> Result<Self, DeskError> {
        let book = ListFile::open(folder.join(INVITATIONS))?;
        Ok(Self { folder: folder.to_owned(), governance_key, book })
    }

    /// Adds an invitation, and returns its number.
    ///
    /// # Errors
    /// [`DeskError::TooMany`], or [`DeskError::File`], after which there is no new invitation.
    pub fn invite(
        &self,
        token: &InvitationToken,
        roles: Vec<EnrolmentRole>,
        expires: SystemTime,
        now: SystemTime,
    ) -> Result<u32, DeskError> {
        self.book.change(|book| book.add(token.digest(), roles, expires, now).ok_or(DeskError::TooMany))
    }

    /// All invitations.
    pub fn invitations(&self) -> Vec<InvitationState> {
        self.book.lock().states()
    }

    /// Cancels an invitation. An enrolment file that was handed in with it stays.
    ///
    /// # Errors
    /// [`DeskError::NoSuch`] or [`DeskError::File`].
    pub fn cancel(&self, number: u32) -> Result<(), DeskError> {
        self.book.change(|book| book.remove(number).then_some(()).ok_or(DeskError::NoSuch { number }))
    }

    /// Answers a request. `presented` is the certificate with which the party connected, and `epoch` the edition in
    /// force.
    ///
    /// # Errors
    /// [`RequestError`] for bytes that are not a request. They have no answer.
    pub fn answer(
        &self,
        request: &[u8],
        presented: Fingerprint,
        epoch: &Epoch,
        now: SystemTime,
    ) -> Result<DeskOutcome, RequestError> {
        let request = EnrolmentRequest::decode(request)?;
        let taken = self.take(&request, Visit { presented, now }, epoch);
        Ok(taken.unwrap_or_else(|rejection| {
            let (why, fault) = match rejection {
                Rejection::Refused(why) => {
                    let fault = self.count_refusal(request.token.digest()).err();
                    (why, fault)
                }
                Rejection::Fault(fault) => (EnrolmentRefusal::Unavailable, Some(fault)),
            };
            DeskOutcome { answer: EnrolmentAnswer::Refused(why), kept: None, fault }
        }))
    }

    /// Counts a refusal of a request with a token that is not used. After a few, the invitation is cancelled: each refusal says
    /// whether a party has a certain name.
    fn count_refusal(&self, token: Digest) -> Result<(), DeskError> {
        let mut book = self.book.lock();
        let Some(entry) = book.find(token).filter(|entry| entry.used.is_none()) else { return Ok(()) };
        entry.refused += 1;
        if entry.refused < MOST_REFUSALS {
            return Ok(());
        }
        let number = entry.number;
        book.remove(number);
        Ok(self.book.write(&book)?)
    }

    /// Keeps the enrolment file of a request if it is new, and says how the enrolment stands.
    fn take(
        &self,
        request: &EnrolmentRequest,
        visit: Visit,
        epoch: &Epoch,
    ) -> Result<DeskOutcome, Rejection> {
        let mut book = self.book.lock();
        let mut next = book.clone();
        // CONS-13: before anything that costs more than a hash.
        let entry = next.find(request.token.digest()).ok_or(EnrolmentRefusal::Unknown)?;
        let consortium = epoch.consortium();
        let enrolment = check(entry, &request.enrolment, visit, consortium)?;
        let mut kept = None;
        let used = match &entry.used {
            Some(used) => used.clone(),
            None => {
                let (file, used) = self.keep(entry, &enrolment, &request.enrolment, visit.now)?;
                kept = Some(file);
                entry.used = Some(used.clone());
                // Before the answer, or a restart would accept the token again.
                self.book.write(&next).map_err(DeskError::File)?;
                *book = next;
                used
            }
        };
        if is_listed(&enrolment, consortium) {
            let edition =
                SignedEdition::new(self.governance_key.0, epoch.text().to_owned(), epoch.signature());
            // Nobody need add the party, so the operator is not told of the file.
            return Ok(DeskOutcome { answer: EnrolmentAnswer::Listed(edition), kept: None, fault: None });
        }
        let receipt = Receipt {
            enrolment: enrolment.digest(),
            kept_at: used.at,
            consortium: consortium.name().to_owned(),
        };
        Ok(DeskOutcome { answer: EnrolmentAnswer::Kept(receipt), kept, fault: None })
    }

    /// Writes the enrolment file. The invitation must be noted as used afterwards.
    fn keep(
        &self,
        entry: &Entry,
        enrolment: &Enrolment,
        text: &str,
        now: SystemTime,
    ) -> Result<(KeptEnrolment, Use), DeskError> {
        let name = enrolment.applicant().name.clone();
        let folder = self.folder.join(ENROLMENTS);
        let mut file = format!("{}-{}.toml", for_file_name(&name), entry.number);
        // After a list of invitations was lost, numbers are given again. A file of another party stays.
        if std::fs::read(folder.join(&file)).is_ok_and(|present| present != text.as_bytes()) {
            let digest = &enrolment.digest().to_string()[..16];
            file = format!("{}-{}-{digest}.toml", for_file_name(&name), entry.number);
        }
        let path = folder.join(&file);
        let written = cloister_storage::create_folder(&folder).and_then(|()| write(&path, text));
        written.map_err(|source| ListFileError::Io { what: "write", path: path.clone(), source })?;
        let digest = PublicBytes(enrolment.digest().0);
        let used = Use { name: name.clone(), enrolment: digest, file, at: seconds(now) };
        Ok((KeptEnrolment { name, fingerprint: enrolment.fingerprint(), path }, used))
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    cloister_storage::replace(path, |file| file.write_all(text.as_bytes())).map(|_| ())
}

/// Checks an enrolment file that is handed in with this invitation (`CONS-13`, `CONS-15`).
fn check(
    entry: &Entry,
    text: &str,
    visit: Visit,
    consortium: &Consortium,
) -> Result<Enrolment, EnrolmentRefusal> {
    // CONS-13: an invitation that was used answers its own party for as long as it is listed here.
    if entry.used.is_none() && entry.has_expired(visit.now) {
        return Err(EnrolmentRefusal::Expired);
    }
    let enrolment = Enrolment::read(text).map_err(|error| EnrolmentRefusal::File(error.to_string()))?;
    if let Some(used) = &entry.used {
        return match used.enrolment.0 == enrolment.digest().0 && visit.presented == enrolment.certificate() {
            true => Ok(enrolment),
            false => Err(EnrolmentRefusal::Used),
        };
    }
    // CONS-15
    if visit.presented != enrolment.certificate() {
        return Err(EnrolmentRefusal::Certificate);
    }
    enrolment.validity().check(visit.now).map_err(|error| EnrolmentRefusal::File(error.to_string()))?;
    if enrolment.applicant().roles != entry.roles {
        let invited = roles_text(&entry.roles).unwrap_or_default().to_owned();
        return Err(EnrolmentRefusal::Roles { invited });
    }
    if is_listed(&enrolment, consortium) {
        return Ok(enrolment);
    }
    check_free(&enrolment, consortium)?;
    Ok(enrolment)
}

/// Whether the roster has the party, with its name and keys.
fn is_listed(enrolment: &Enrolment, consortium: &Consortium) -> bool {
    consortium.parties().any(|party| {
        party.name == enrolment.applicant().name
            && party.certificate.0 == enrolment.certificate().0
            && party.signing_key == enrolment.signing_key()
    })
}

/// Checks that no party of the roster, nor the coordinator, has the name or a key (`CONS-15`).
fn check_free(enrolment: &Enrolment, consortium: &Consortium) -> Result<(), EnrolmentRefusal> {
    let coordinator = consortium.coordinator();
    let parties = consortium.parties().map(|party| (&party.name, party.certificate, party.signing_key));
    let all = parties.chain([(&coordinator.name, coordinator.certificate, coordinator.signing_key)]);
    for (name, certificate, signing_key) in all {
        if *name == enrolment.applicant().name {
            return Err(EnrolmentRefusal::NameTaken { name: name.clone() });
        }
        if certificate.0 == enrolment.certificate().0 || signing_key == enrolment.signing_key() {
            return Err(EnrolmentRefusal::KeyTaken);
        }
    }
    Ok(())
}

/// A party's name as a part of a file's name: letters, digits and hyphens.
fn for_file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.chars().map(plain).take(MAX_FILE_NAME).collect()
}

#[cfg(test)]
mod tests;
