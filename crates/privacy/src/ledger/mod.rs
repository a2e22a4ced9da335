//! The ledger: an append-only, hash-chained file of everything that was released of a hospital's data.
//!
//! One line an entry: the digest of the line before and of this one's JSON, a space, the JSON. What is charged is on
//! disk before the permit to release it exists (`PRIV-05`, `PRIV-06`); a lock on the file makes reading the balance and
//! appending one transaction among processes. A charge whose release never happens, because the power failed between
//! the two, stays spent: the ledger never holds less than what was released.

mod history;

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cloister_params::id::{Digest, Round};
use cloister_params::limits::PrivacyUnit;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::budget::{Budget, WouldExceed};
use crate::closed::ClosedRound;
use crate::concentrated::MapError;
use crate::release::{Release, account};
pub use history::History;
use history::{chained, parse, read_bytes, whole_lines};

/// What a ledger is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Whose data it is: the hospital's name in the consortium file.
    pub holder: String,
    /// The unit that is protected.
    pub unit: PrivacyUnit,
    /// What a record is: all rows with the same value in this column of the hospital's file, such as all notes of a patient. Without
    /// it, each row is a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
}

impl Opening {
    /// What one record is, for people.
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

/// What one round's contribution releases.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// The epoch of the round.
    pub epoch: Digest,
    /// The round.
    pub round: Round,
    /// Digest of the model that the round trains.
    pub model: Digest,
    /// What is released.
    pub releases: Vec<Release>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Entry {
    Opened(Opening),
    /// The budget that later charges are held to, where it differs from the one before; none without a budget.
    Budgeted(Option<Budget>),
    Charged(Charge),
    Closed(ClosedRound),
}

/// The permission to make one contribution to one round: [`Ledger::charge`] alone makes it, once its charge is on disk, and
/// making the contribution uses it up.
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
    /// The digest of the charge's line: whoever keeps it elsewhere notices an older copy of the ledger ([`Ledger::require`]).
    pub fn entry(&self) -> Digest {
        self.entry
    }

    /// Uses the permit up, and says for which round it was.
    pub fn redeem(self) -> Round {
        self.round
    }
}

/// A ledger that cannot be used, or a charge that it does not take.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("the privacy ledger {path}: {source}; without it nothing may be released")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line that is not what was written after the line before it.
    #[error(
        "the privacy ledger {path}, line {line}: {why}; it was changed or damaged: restore the file, and find out who changed it"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A copy from before a charge that is known from elsewhere.
    #[error(
        "the privacy ledger {path} is older than what this hospital released: the entry {entry}, which {witness} names, is not in it. Put the newest copy back. If there is none, what was spent is unknown and nothing more may be released under this budget: your privacy officer decides what remains, for a new ledger under a new consortium file"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The digest of the line that is missing.
        entry: Digest,
        /// What names it.
        witness: PathBuf,
    },
    /// A ledger of somebody else's data, for another unit, or with another meaning of a record.
    #[error(
        "the privacy ledger {path} is {}, and one that is {} was expected. What was charged to one says nothing of the other: start \
         with the settings of this ledger, or have your privacy officer decide on a new one", .found, .expected
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What it is about.
        found: Box<Opening>,
        /// What was expected.
        expected: Box<Opening>,
    },
    /// A plan whose charges cannot be computed.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A release that the budget has no room for.
    #[error(transparent)]
    WouldExceed(#[from] WouldExceed),
}

/// A ledger that is open for charges.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    opening: Opening,
    required: Option<(Digest, PathBuf)>,
}

impl Ledger {
    /// Opens or creates a hospital's ledger.
    ///
    /// # Errors
    /// A file that cannot be used, was changed, or is about something else.
    pub fn open(path: &Path, opening: Opening) -> Result<Self, LedgerError> {
        let io = |source| LedgerError::Io { path: path.to_path_buf(), source };
        let file = cloister_storage::open(path).map_err(io)?;
        let mut ledger = Self { path: path.to_path_buf(), file, opening, required: None };
        ledger.locked(|ledger| ledger.history().map(|_| ()))?;
        Ok(ledger)
    }

    /// From now on refuses to work without this line, which `witness` names: a ledger that lacks it was restored from an older
    /// copy (`PRIV-12`).
    ///
    /// # Errors
    /// [`LedgerError::Older`] if it is so now, or a file that cannot be used.
    pub fn require(&mut self, entry: Digest, witness: &Path) -> Result<(), LedgerError> {
        self.required = Some((entry, witness.to_path_buf()));
        self.locked(|ledger| ledger.history().map(|_| ()))
    }

    /// Charges what a round would release, or refuses because the budget has no room for it; without a budget, only
    /// keeps account. When this returns a permit, the charge is on disk (`PRIV-05`, `PRIV-06`).
    ///
    /// # Errors
    /// A budget that would be exceeded, or a file that cannot be used; nothing may be released then.
    pub fn charge(&mut self, charge: Charge, budget: Option<Budget>) -> Result<ReleasePermit, LedgerError> {
        let round = charge.round;
        let entry = self.locked(|ledger| {
            let history = ledger.history()?;
            if let Some(budget) = budget {
                budget.admit(&account(history.releases().chain(&charge.releases)))?;
            }
            let mut head = history.head();
            if history.budget() != budget {
                head = ledger.append(head, &Entry::Budgeted(budget))?;
            }
            ledger.append(head, &Entry::Charged(charge))
        })?;
        Ok(ReleasePermit { round, entry })
    }

    /// Notes what became of the last charge, once: the same again changes nothing.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn close(&mut self, round: ClosedRound) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            let history = ledger.history()?;
            if history.closed.last() == Some(&None) {
                ledger.append(history.head(), &Entry::Closed(round))?;
            }
            Ok(())
        })
    }

    /// What it says now.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn read(&mut self) -> Result<History, LedgerError> {
        self.locked(Self::history)
    }

    /// Whether a charge would be taken now. Nothing is written.
    ///
    /// # Errors
    /// As [`Self::charge`].
    pub fn would_admit(&mut self, charge: &Charge, budget: Budget) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            let history = ledger.history()?;
            Ok(budget.admit(&account(history.releases().chain(&charge.releases)))?)
        })
    }

    /// Runs a transaction while no other process has the file.
    fn locked<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.file.lock().map_err(|source| self.io(source))?;
        let result = run(self);
        self.file.unlock().map_err(|source| self.io(source))?;
        result
    }

    fn io(&self, source: io::Error) -> LedgerError {
        LedgerError::Io { path: self.path.clone(), source }
    }

    /// Reads everything that any process has written, and drops a last line that was cut off while it was written: no
    /// permit came of it.
    fn history(&mut self) -> Result<History, LedgerError> {
        let bytes = read_bytes(&mut self.file).map_err(|source| self.io(source))?;
        let whole = whole_lines(&bytes);
        self.file.set_len(whole as u64).map_err(|source| self.io(source))?;
        let parsed = parse(&bytes[..whole]);
        let history =
            parsed.map_err(|(line, why)| LedgerError::Broken { path: self.path.clone(), line, why })?;
        match history {
            Some(history) if history.opening == self.opening => self.with_required(history),
            Some(history) => Err(LedgerError::Other {
                path: self.path.clone(),
                found: Box::new(history.opening),
                expected: Box::new(self.opening.clone()),
            }),
            None => self.begin().and_then(|history| self.with_required(history)),
        }
    }

    /// PRIV-12
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

    /// Appends an entry; on disk when this returns.
    fn append(&mut self, previous: Digest, entry: &Entry) -> Result<Digest, LedgerError> {
        let json = serde_json::to_string(entry).map_err(|error| self.io(error.into()))?;
        let digest = chained(previous, json.as_bytes());
        let line = format!("{digest} {json}\n");
        let write = self.file.seek(SeekFrom::End(0)).and_then(|_| self.file.write_all(line.as_bytes()));
        write.and_then(|()| self.file.sync_data()).map_err(|source| self.io(source))?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests;
