//! The ledger: an append-only, hash-chained file of everything that was released of a hospital's data.
//!
//! Each entry is one line: a digest of the previous line's digest and of this line's JSON, a space, the JSON.
//! What is charged is on disk before the permit to release it exists (`PRIV-05`, `PRIV-06`). A lock on the
//! file makes reading the balance and appending a charge one transaction among processes. If the power fails
//! between a charge and its release, the charge stays spent: the ledger never holds less than what was
//! released.

mod history;

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_params::time::UtcTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::budget::{Budget, WouldExceed};
use crate::closed::ClosedRound;
use crate::concentrated::MapError;
use crate::release::{Release, account};
pub use history::History;
use history::{CHAIN, parse, read_bytes};

/// What a ledger is about: its first line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Whose data it is: the hospital's name in the consortium file.
    pub holder: String,
    /// The unit whose data is protected.
    pub unit: PrivacyUnit,
    /// The column of the hospital's file by which rows form records: all rows with the same value, such as
    /// all notes of a patient, are one record. Without it, each row is a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
}

impl Opening {
    /// What one record is, as a part of a sentence.
    pub fn record(&self) -> String {
        match &self.group_by {
            None => "one row of the file".to_owned(),
            Some(column) => format!("all rows of the file with the same value in the column “{column}”"),
        }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} and counts by {}", self.holder, self.unit)?;
        match self.unit {
            PrivacyUnit::Record => write!(f, ", which is {}", self.record()),
            PrivacyUnit::Member => Ok(()),
        }
    }
}

/// What one round's contribution releases, and is charged for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// Digest of the consortium file of the round's epoch. One ledger covers all epochs of a hospital's data.
    pub epoch: Digest,
    /// The round whose plan is charged. After an abort the contribution may leave in a later round.
    pub round: Round,
    /// Digest of the model from which the round starts.
    pub model: Digest,
    /// Everything that the plan can release of the member, whether or not a round then opens it.
    pub releases: Vec<Release>,
    /// When the line was written, by the clock of whoever keeps the ledger. Lines of earlier versions have none. It
    /// changes no account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<UtcTime>,
}

/// A round in which the contribution of the last charge was sent. Coordinators' ledgers have one for each such
/// round: a contribution that is sent again is not charged again (`PRIV-13`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentRound {
    /// The round.
    pub round: Round,
    /// Digest of everything in the plan's settings that a contribution depends on.
    pub settings: Digest,
}

/// A line of the ledger.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Entry {
    Opened(Opening),
    /// The budget for the charges that follow, if it differs from the one before; `None` if the policy has
    /// none.
    Budgeted(Option<Budget>),
    Charged(Charge),
    Sent(SentRound),
    Closed(ClosedRound),
}

/// The permission to make one contribution to one round. [`Ledger::charge`] alone makes it, once the charge
/// is on disk, and making the contribution uses it up.
///
/// It can neither be forged nor be used twice:
///
/// ```compile_fail
/// let forged = cloister_privacy::ledger::ReleasePermit { round: cloister_params::id::Round(1) };
/// ```
///
/// ```compile_fail
/// fn twice(permit: cloister_privacy::ledger::ReleasePermit) {
///     permit.redeem();
///     permit.redeem();
/// }
/// ```
#[must_use = "what was charged may be released"]
#[derive(Debug)]
pub struct ReleasePermit {
    round: Round,
    entry: Digest,
}

impl ReleasePermit {
    /// The digest of the charge's line. A program that stores it elsewhere notices if an older copy of the
    /// ledger is put back ([`Ledger::require`]).
    pub fn entry(&self) -> Digest {
        self.entry
    }

    /// Uses the permit up, and returns the round for which it was.
    pub fn redeem(self) -> Round {
        self.round
    }
}

/// Why a ledger cannot be used, or does not accept a charge.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error(
        "the privacy ledger {path} cannot be read or written: {source}; without it nothing may be released"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line that this program did not write after the line before it.
    #[error(
        "the privacy ledger {path}, line {line}: {why}. The file was changed or damaged: restore it from a \
         copy, and find out who changed it"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A whole line that this version does not know. The chain holds, so it is not damaged.
    #[error(
        "the privacy ledger {path}, line {line}, is sound, and this program does not know its entry ({why}): a later \
         version of the program wrote it; install that version"
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is not known.
        why: String,
    },
    /// A copy of the ledger from before a charge that another file knows of.
    #[error(
        "the privacy ledger {path} is older than what this hospital released: the entry {entry}, which \
         {witness} names, is not in it. Put the newest copy back. If there is none, it is unknown what was \
         spent, and nothing more may be released under this budget: your privacy officer decides what \
         remains, for a new ledger under a new consortium file"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The digest of the line that is missing.
        entry: Digest,
        /// The file that names the line.
        witness: PathBuf,
    },
    /// A ledger of another holder's data, for another unit, or with another definition of a record.
    #[error(
        "the privacy ledger {path} is {}; one that is {} was expected. What was charged to one says \
         nothing about the other. Start with the settings of this ledger, or have your privacy officer \
         decide on a new one", .found, .expected
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What the ledger is about.
        found: Box<Opening>,
        /// What it was expected to be about.
        expected: Box<Opening>,
    },
    /// A plan whose charges cannot be computed.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A release that does not fit the budget.
    #[error(transparent)]
    WouldExceed(#[from] WouldExceed),
}

/// A ledger that is open for charges.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    /// What the file's first line must say.
    opening: Opening,
    /// A line that the file must have, and the file that names it (`PRIV-12`). Checked in each transaction.
    required: Option<(Digest, PathBuf)>,
}

impl Ledger {
    /// Opens a hospital's ledger, or creates it.
    ///
    /// # Errors
    /// A file that cannot be read or written, was changed, or is about something else.
    pub fn open(path: &Path, opening: Opening) -> Result<Self, LedgerError> {
        let file = cloister_storage::open(path)
            .map_err(|source| LedgerError::Io { path: path.to_path_buf(), source })?;
        let mut ledger = Self { path: path.to_path_buf(), file, opening, required: None };
        ledger.locked(|ledger| ledger.history().map(|_| ()))?;
        Ok(ledger)
    }

    /// Demands from now on that the ledger has this line, which the file `witness` names. A ledger without it
    /// was restored from an older copy (`PRIV-12`).
    ///
    /// # Errors
    /// [`LedgerError::Older`] if the line is missing now, or a file that cannot be used.
    pub fn require(&mut self, entry: Digest, witness: &Path) -> Result<(), LedgerError> {
        self.required = Some((entry, witness.to_path_buf()));
        self.locked(|ledger| ledger.history().map(|_| ()))
    }

    /// Charges what a round would release, if the budget has room for it. Without a budget, every charge is
    /// accepted and only recorded. When this returns a permit, the charge is on disk (`PRIV-05`, `PRIV-06`).
    ///
    /// # Errors
    /// A budget that would be exceeded, or a file that cannot be used. Nothing may be released then.
    pub fn charge(&mut self, charge: Charge, budget: Option<Budget>) -> Result<ReleasePermit, LedgerError> {
        let round = charge.round;
        let entry = self.locked(|ledger| {
            let history = ledger.history()?;
            if let Some(budget) = budget {
                budget.admit(&account(history.releases().chain(&charge.releases)))?;
            }
            let mut head = history.head();
            // The budget's line comes before the charge that is held to it, so that the file shows which
            // filter admitted the charge.
            if history.budget() != budget {
                head = ledger.append(head, &Entry::Budgeted(budget))?;
            }
            ledger.append(head, &Entry::Charged(charge))
        })?;
        Ok(ReleasePermit { round, entry })
    }

    /// Records that the contribution of the last charge was sent in a round. The same round again changes nothing.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn sent(&mut self, sent: SentRound) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            let history = ledger.history()?;
            let is_later = history.sent.is_none_or(|before| before.round < sent.round);
            if history.is_open() && is_later {
                ledger.append(history.head(), &Entry::Sent(sent))?;
            }
            Ok(())
        })
    }

    /// Records how the round of the last charge closed. Only the first call after a charge has an effect.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn close(&mut self, round: ClosedRound) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            let history = ledger.history()?;
            // A coordinator that restarts, or a closing that arrives twice, repeats this call.
            if history.is_open() {
                ledger.append(history.head(), &Entry::Closed(round))?;
            }
            Ok(())
        })
    }

    /// What the ledger says now.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn read(&mut self) -> Result<History, LedgerError> {
        self.locked(Self::history)
    }

    /// Checks whether a charge would be accepted now. Nothing is written.
    ///
    /// # Errors
    /// As for [`Self::charge`].
    pub fn would_admit(&mut self, charge: &Charge, budget: Budget) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            let history = ledger.history()?;
            Ok(budget.admit(&account(history.releases().chain(&charge.releases)))?)
        })
    }

    /// Runs a transaction while no other process has the file. A transaction reads the whole file again,
    /// because another process may have appended to it.
    fn locked<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.file.lock().map_err(|source| self.io(source))?;
        // Unlocked after an error too. Otherwise other processes would wait until this one ends.
        let result = run(self);
        self.file.unlock().map_err(|source| self.io(source))?;
        result
    }

    fn io(&self, source: io::Error) -> LedgerError {
        LedgerError::Io { path: self.path.clone(), source }
    }

    /// Reads everything that any process has written. A last line that was cut off while it was written is
    /// removed: no permit was made for it. A file that is rejected is left as it is.
    fn history(&mut self) -> Result<History, LedgerError> {
        let bytes = read_bytes(&mut self.file).map_err(|source| self.io(source))?;
        let first = self.json(&Entry::Opened(self.opening.clone()))?;
        let (history, whole) = parse(&bytes, Some(&first)).map_err(|bad| bad.error(&self.path))?;
        if let Some(found) =
            history.as_ref().map(|history| &history.opening).filter(|found| **found != self.opening)
        {
            let (path, found, expected) = (self.path.clone(), found.clone(), self.opening.clone());
            return Err(LedgerError::Other { path, found: Box::new(found), expected: Box::new(expected) });
        }
        if whole < bytes.len() {
            // Cut off before anything is appended, or the next line would continue the torn one.
            self.file.set_len(whole as u64).map_err(|source| self.io(source))?;
        }
        let history = match history {
            Some(history) => history,
            None => self.begin()?,
        };
        self.with_required(history)
    }

    fn json(&self, entry: &Entry) -> Result<String, LedgerError> {
        serde_json::to_string(entry).map_err(|error| self.io(error.into()))
    }

    /// The history, if it has the required line (`PRIV-12`).
    fn with_required(&self, history: History) -> Result<History, LedgerError> {
        match &self.required {
            Some((entry, witness)) if !history.lines.contains(entry) => {
                let (path, witness) = (self.path.clone(), witness.clone());
                Err(LedgerError::Older { path, entry: *entry, witness })
            }
            _ => Ok(history),
        }
    }

    fn begin(&mut self) -> Result<History, LedgerError> {
        let head = self.append(Digest::default(), &Entry::Opened(self.opening.clone()))?;
        Ok(History::new(self.opening.clone(), head))
    }

    /// Appends an entry. It is on disk when this returns.
    fn append(&mut self, previous: Digest, entry: &Entry) -> Result<Digest, LedgerError> {
        let json = self.json(entry)?;
        let line = CHAIN.line(&previous.0, &json);
        // To the end, because another process may have appended since this one last wrote. `sync_data` also
        // writes the file's length, without which the new line could not be read after a power cut.
        let write = self.file.seek(SeekFrom::End(0)).and_then(|_| self.file.write_all(line.as_bytes()));
        write.and_then(|()| self.file.sync_data()).map_err(|source| self.io(source))?;
        Ok(Digest(CHAIN.digest(&previous.0, &json)))
    }
}

#[cfg(test)]
mod tests;
