//! What a ledger's file says: its lines, their hash chain, and what they cost together.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use cloister_params::id::Digest;
use cloister_storage::chain::LineChain;

use super::{Charge, Entry, LedgerError, Opening, SentRound};
use crate::accountant::Account;
use crate::budget::Budget;
use crate::closed::ClosedRound;
use crate::release::{Release, account};

/// How the lines of a ledger are chained (`PRIV-06`).
pub(super) const CHAIN: LineChain = LineChain::new("cloister/v1/privacy-ledger");

/// What a ledger says.
#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// What the ledger is about.
    pub opening: Opening,
    /// Each budget to which charges were held, with the number of charges before it; `None` from where a
    /// policy no longer had one.
    pub budgets: Vec<(usize, Option<Budget>)>,
    /// The charges, oldest first.
    pub charges: Vec<Charge>,
    /// For each charge, how its round closed; `None` if the round ended without sums, or the hospital did not
    /// see it end.
    pub closed: Vec<Option<ClosedRound>>,
    /// The last round in which the last charge's contribution was sent; `None` in hospitals' ledgers.
    pub sent: Option<SentRound>,
    /// Digest of each line, oldest first.
    pub(crate) lines: Vec<Digest>,
}

impl History {
    /// The history of a ledger that has its first line only.
    pub(super) fn new(opening: Opening, line: Digest) -> Self {
        let (budgets, charges, closed) = (Vec::new(), Vec::new(), Vec::new());
        Self { opening, budgets, charges, closed, sent: None, lines: vec![line] }
    }

    /// Digest of the last line.
    pub fn head(&self) -> Digest {
        self.lines.last().copied().unwrap_or_default()
    }

    /// Whether the round of the last charge has not closed.
    pub fn is_open(&self) -> bool {
        self.closed.last() == Some(&None)
    }

    /// The budget to which the last charge was held; `None` without charges, or if the policy had no budget.
    pub fn budget(&self) -> Option<Budget> {
        self.budgets.last().and_then(|(_, budget)| *budget)
    }

    /// Everything that was released, for the accountant.
    pub fn account(&self) -> Account {
        account(self.releases())
    }

    /// Every release, oldest first.
    pub fn releases(&self) -> impl Iterator<Item = &Release> {
        self.charges.iter().flat_map(|charge| &charge.releases)
    }

    /// Reads and verifies a ledger. The file is neither locked nor changed.
    ///
    /// # Errors
    /// A file that is not a ledger, or was changed.
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        let bytes = File::open(path)
            .and_then(|mut file| read_bytes(&mut file))
            .map_err(|source| LedgerError::Io { path: path.to_path_buf(), source })?;
        Self::from_bytes(path, &bytes)
    }

    /// Verifies the content of a ledger. The path is for messages alone.
    ///
    /// # Errors
    /// What is not a ledger, or was changed.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, LedgerError> {
        parse(bytes, None)
            .and_then(|(history, _)| history.ok_or_else(|| BadLine::broken(1, "the file is empty")))
            .map_err(|bad| bad.error(path))
    }
}

/// The most bytes of a ledger, which is about 100,000 rounds. The whole file is read into memory, so that a
/// longer one, which no hospital writes, is rejected first.
const MOST_BYTES: u64 = 256 << 20;

/// Reads a ledger's bytes from its file's start.
pub(super) fn read_bytes(file: &mut (impl Read + Seek)) -> io::Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0))?;
    if length > MOST_BYTES {
        let reason = format!("it has {length} bytes, and a ledger has at most {MOST_BYTES}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A line of a ledger that cannot be used.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct BadLine {
    /// From 1.
    line: usize,
    why: String,
    /// Whether the chain holds, and this program does not know the entry.
    is_later: bool,
}

impl BadLine {
    fn broken(line: usize, why: impl Into<String>) -> Self {
        Self { line, why: why.into(), is_later: false }
    }

    /// The error for a file.
    pub(super) fn error(self, path: &Path) -> LedgerError {
        let (path, line, why) = (path.to_path_buf(), self.line, self.why);
        match self.is_later {
            true => LedgerError::Later { path, line, why },
            false => LedgerError::Broken { path, line, why },
        }
    }
}

/// Reads a ledger and checks its chain: what its whole lines say, `None` if there is none, and how many bytes they
/// take. `first` is the text of its first line, if it is known.
pub(super) fn parse(bytes: &[u8], first: Option<&str>) -> Result<(Option<History>, usize), BadLine> {
    let chained = CHAIN.read(first, bytes).map_err(|broken| BadLine::broken(broken.line, broken.why))?;
    let mut history: Option<History> = None;
    for (line, (digest, text)) in (1..).zip(chained.lines) {
        let entry: Entry = serde_json::from_str(text).map_err(|error| {
            // FILE-01: the chain was checked, so that a program wrote the line as it is.
            BadLine { line, why: error.to_string(), is_later: true }
        })?;
        check_figures(&entry).map_err(|why| BadLine::broken(line, why))?;
        match &mut history {
            None => history = Some(begun(entry, Digest(digest)).map_err(|why| BadLine::broken(line, why))?),
            Some(history) => {
                history.follow(entry, Digest(digest)).map_err(|why| BadLine::broken(line, why))?;
            }
        }
    }
    Ok((history, chained.length))
}

fn begun(entry: Entry, line: Digest) -> Result<History, String> {
    match entry {
        Entry::Opened(opening) => Ok(History::new(opening, line)),
        _ => Err("the first line is not an opening".into()),
    }
}

impl History {
    fn follow(&mut self, entry: Entry, line: Digest) -> Result<(), String> {
        match entry {
            Entry::Opened(_) => return Err("only the first line may be an opening".into()),
            Entry::Budgeted(budget) => self.budgets.push((self.charges.len(), budget)),
            Entry::Charged(charge) => {
                self.charges.push(charge);
                self.closed.push(None);
                self.sent = None;
            }
            Entry::Sent(sent) => {
                let is_later = self.sent.is_none_or(|before| before.round < sent.round);
                if !self.is_open() || !is_later {
                    return Err("it sends what was not charged, or is not after what was sent".into());
                }
                self.sent = Some(sent);
            }
            Entry::Closed(round) => match self.closed.last_mut() {
                Some(last @ None) => *last = Some(round),
                _ => return Err("it closes a round that nothing was charged for".into()),
            },
        }
        self.lines.push(line);
        Ok(())
    }
}

/// The chain proves that no line was changed, not that its figures are possible.
fn check_figures(entry: &Entry) -> Result<(), &'static str> {
    match entry {
        Entry::Budgeted(Some(budget)) if budget.checked().is_err() => {
            Err("its budget has impossible figures")
        }
        Entry::Closed(round) if !round.is_valid() => Err("its sums have impossible figures"),
        Entry::Charged(charge) if !charge.releases.iter().all(|release| release.mechanism.is_valid()) => {
            Err("its mechanism has impossible figures")
        }
        _ => Ok(()),
    }
}
