//! What a ledger's file says: its lines, their chain, and what they come to.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use cloister_params::id::Digest;
use sha2::{Digest as _, Sha256};

use super::{Charge, Entry, LedgerError, Opening};
use crate::accountant::Account;
use crate::budget::Budget;
use crate::closed::ClosedRound;
use crate::release::{Release, account};

/// What a ledger says.
#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// What it is about.
    pub opening: Opening,
    /// Each budget that charges were held to, with the number of charges before it; none where a policy no longer had one.
    pub budgets: Vec<(usize, Option<Budget>)>,
    /// The charges, oldest first.
    pub charges: Vec<Charge>,
    /// What became of each charge; none where its round has not closed, or was not seen to.
    pub closed: Vec<Option<ClosedRound>>,
    /// Digest of each line.
    pub(crate) lines: Vec<Digest>,
}

impl History {
    /// Of a ledger that has nothing but its first line.
    pub(super) fn new(opening: Opening, line: Digest) -> Self {
        Self { opening, budgets: Vec::new(), charges: Vec::new(), closed: Vec::new(), lines: vec![line] }
    }

    /// Digest of the last line.
    pub fn head(&self) -> Digest {
        self.lines.last().copied().unwrap_or_default()
    }

    /// The budget that the last charge was held to; none without charges or without a budget.
    pub fn budget(&self) -> Option<Budget> {
        self.budgets.last().and_then(|(_, budget)| *budget)
    }

    /// Everything that was released.
    pub fn account(&self) -> Account {
        account(self.releases())
    }

    /// Every release, oldest first.
    pub fn releases(&self) -> impl Iterator<Item = &Release> {
        self.charges.iter().flat_map(|charge| &charge.releases)
    }

    /// Reads and verifies a ledger without taking part in it.
    ///
    /// # Errors
    /// A file that is no ledger, or was changed.
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        let bytes = File::open(path)
            .and_then(|mut file| read_bytes(&mut file))
            .map_err(|source| LedgerError::Io { path: path.to_path_buf(), source })?;
        let broken =
            |line, why: &str| LedgerError::Broken { path: path.to_path_buf(), line, why: why.into() };
        parse(&bytes[..whole_lines(&bytes)])
            .map_err(|(line, why)| broken(line, &why))?
            .ok_or_else(|| broken(1, "it is empty"))
    }
}

/// The most bytes of a ledger, about 100,000 rounds: what is longer is none, and would be held in memory.
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

/// The bytes up to the last line's end.
pub(super) fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// The digest of a line, which names the one before it.
pub(super) fn chained(previous: Digest, json: &[u8]) -> Digest {
    let tag = b"cloister/v1/privacy-ledger";
    let mut hash = Sha256::new();
    hash.update([tag.len() as u8]);
    hash.update(tag);
    hash.update(previous.0);
    hash.update(json);
    Digest(hash.finalize().into())
}

/// Reads whole lines and checks their chain; `None` for no lines. An error names the line and what is wrong.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<History>, (usize, String)> {
    let text = std::str::from_utf8(bytes).map_err(|_| (1, "it is no text".to_owned()))?;
    let mut history: Option<History> = None;
    for (line, text) in (1..).zip(text.lines()) {
        let previous = history.as_ref().map_or(Digest::default(), History::head);
        let (digest, entry) = parse_line(text, previous).map_err(|why| (line, why))?;
        match &mut history {
            None => history = Some(begun(entry, digest).map_err(|why| (line, why))?),
            Some(history) => history.follow(entry, digest).map_err(|why| (line, why))?,
        }
    }
    Ok(history)
}

fn begun(entry: Entry, line: Digest) -> Result<History, String> {
    match entry {
        Entry::Opened(opening) => Ok(History::new(opening, line)),
        _ => Err("the first line is no opening".into()),
    }
}

impl History {
    fn follow(&mut self, entry: Entry, line: Digest) -> Result<(), String> {
        match entry {
            Entry::Opened(_) => return Err("an opening is the first line and no other".into()),
            Entry::Budgeted(budget) => self.budgets.push((self.charges.len(), budget)),
            Entry::Charged(charge) => {
                self.charges.push(charge);
                self.closed.push(None);
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

fn parse_line(text: &str, previous: Digest) -> Result<(Digest, Entry), String> {
    let (digest, json) = text.split_once(' ').ok_or("it is no entry")?;
    let expected = chained(previous, json.as_bytes());
    if digest != expected.to_string() {
        return Err(format!("its digest is {digest}, its content and the lines before it make {expected}"));
    }
    let entry: Entry = serde_json::from_str(json).map_err(|error| format!("it is no entry: {error}"))?;
    match &entry {
        Entry::Budgeted(Some(budget)) if budget.checked().is_err() => {
            Err("it has a budget that cannot be".into())
        }
        Entry::Closed(round) if !round.is_valid() => Err("it has sums that cannot be".into()),
        Entry::Charged(charge) if !charge.releases.iter().all(|release| release.mechanism.is_valid()) => {
            Err("it has a mechanism that cannot be".into())
        }
        _ => Ok((expected, entry)),
    }
}
