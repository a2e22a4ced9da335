//! What a party must remember when it restarts: the bodies that it signed, the rounds that it announced in, and the last
//! charge of its privacy ledger.
//!
//! Each record is one line. It is appended and synced before the first byte that depends on it leaves (`ROUND-04`).

use std::path::Path;

use cloister_params::id::{Digest, Round};
use cloister_protocol::custodian::{SignedRecord, SignedStep};

use cloister_storage::chain::LineChain;

use crate::record_file::{JournalError, RecordFile};

const CHAIN: LineChain = LineChain::new("cloister/v1/party-journal");

/// The journal file of a party.
#[derive(Debug)]
pub struct Journal {
    file: RecordFile,
    signed: Vec<SignedRecord>,
    last_announced: Option<Round>,
    last_charge: Option<Digest>,
}

enum Record {
    Signed(SignedRecord),
    Announced(Round),
    Charged(Digest),
}

impl Journal {
    /// Opens or creates the journal, and locks it for this process (`ROUND-04`). A last line that a crash cut off before
    /// anything relied on it is dropped. A file with a line that was changed is rejected.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (file, lines) = RecordFile::open(path, CHAIN)?;
        let records = file.parse(&lines, parse)?;
        let mut journal = Self { file, signed: Vec::new(), last_announced: None, last_charge: None };
        records.into_iter().for_each(|record| journal.remember(record));
        Ok(journal)
    }

    /// Checks the journal at a path, which another process may be using, and returns the number of its records. The file
    /// is neither made, locked nor changed.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn verify(path: &Path) -> Result<usize, JournalError> {
        Ok(RecordFile::verify(path, CHAIN, parse)?.len())
    }

    /// The bodies that were signed so far, in order.
    pub fn signed(&self) -> &[SignedRecord] {
        &self.signed
    }

    /// The last round that this party announced in.
    pub fn last_announced(&self) -> Option<Round> {
        self.last_announced
    }

    /// The privacy ledger's entry for the last contribution. A ledger without it is older than this journal.
    pub fn last_charge(&self) -> Option<Digest> {
        self.last_charge
    }

    /// The journal's file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Records the privacy ledger's newest entry (`PRIV-12`). It is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written. What was charged must not be sent then.
    pub fn keep_charged(&mut self, entry: Digest) -> Result<(), JournalError> {
        self.file.append(&format!("charged {entry}"))?;
        self.remember(Record::Charged(entry));
        Ok(())
    }

    /// Records that a body was signed. It is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written. Nothing must be sent then.
    pub fn keep_signed(&mut self, record: SignedRecord) -> Result<(), JournalError> {
        let SignedRecord { round, step, body } = record;
        // The body's digest is enough: a custodian may sign the same body again, and no other.
        self.file.append(&format!("signed {} {} {body}", round.0, step_name(step)))?;
        self.remember(Record::Signed(record));
        Ok(())
    }

    /// Records that this party announced in a round. It is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written. Nothing must be sent then.
    pub fn keep_announced(&mut self, round: Round) -> Result<(), JournalError> {
        self.file.append(&format!("announced {}", round.0))?;
        self.remember(Record::Announced(round));
        Ok(())
    }

    fn remember(&mut self, record: Record) {
        match record {
            Record::Signed(record) => self.signed.push(record),
            Record::Announced(round) => self.last_announced = self.last_announced.max(Some(round)),
            Record::Charged(entry) => self.last_charge = Some(entry),
        }
    }
}

fn step_name(step: SignedStep) -> &'static str {
    match step {
        // The names are part of the file's format: journals of earlier versions have them.
        SignedStep::Seal1 => "seal-1",
        SignedStep::Outcome => "outcome",
        SignedStep::Closing => "closing",
    }
}

fn parse(line: &str) -> Option<Record> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["announced", round] => Some(Record::Announced(Round(round.parse().ok()?))),
        ["charged", entry] => Some(Record::Charged(digest(entry)?)),
        ["signed", round, step, body] => {
            let steps = [SignedStep::Seal1, SignedStep::Outcome, SignedStep::Closing];
            let step = steps.into_iter().find(|known| step_name(*known) == step)?;
            let round = Round(round.parse().ok()?);
            Some(Record::Signed(SignedRecord { round, step, body: digest(body)? }))
        }
        // Not skipped: a record that this version does not know may be one that forbids a signature.
        _ => None,
    }
}

fn digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(Digest(digest))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cloister-journal-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    /// ROUND-04
    #[test]
    fn records_survive_a_restart_and_a_torn_line_is_dropped() {
        let path = scratch("torn");
        let record = SignedRecord { round: Round(3), step: SignedStep::Outcome, body: Digest([7; 32]) };
        let mut journal = Journal::open(&path).expect("a new file");
        journal.keep_signed(record).expect("writable");
        journal.keep_announced(Round(3)).expect("writable");
        journal.keep_charged(Digest([9; 32])).expect("writable");
        drop(journal);
        // The first eleven digits of the next line's digest.
        let torn = std::fs::read_to_string(&path).expect("there") + "0123456789a";
        std::fs::write(&path, torn).expect("writable");
        assert_eq!(Journal::verify(&path).expect("readable"), 3);
        let mut back = Journal::open(&path).expect("readable");
        assert_eq!(back.signed(), [record]);
        assert_eq!(back.last_announced(), Some(Round(3)));
        assert_eq!(back.last_charge(), Some(Digest([9; 32])));
        back.keep_announced(Round(4)).expect("writable");
        assert!(matches!(Journal::open(&path), Err(JournalError::InUse(_))), "one program at a time");
        assert_eq!(Journal::verify(&path).expect("a look needs no lock"), 4);
        drop(back);
        assert_eq!(Journal::open(&path).expect("readable").last_announced(), Some(Round(4)));
        std::fs::remove_file(path).expect("there");
    }

    #[test]
    fn a_line_of_something_else_is_an_error_that_names_it() {
        let path = scratch("foreign");
        let (mut file, _) = RecordFile::open(&path, CHAIN).expect("a new file");
        file.append("announced 1").expect("writable");
        file.append("signed 1 lunch 00").expect("writable");
        drop(file);
        let error = Journal::open(&path).expect_err("no record");
        assert!(error.to_string().contains("line 3"), "{error}");
        std::fs::remove_file(path).expect("there");
    }

    /// ROUND-04: a journal that lost records could sign twice.
    #[test]
    fn a_journal_that_was_cut_is_used_and_one_with_a_changed_byte_is_rejected_and_kept() {
        let path = scratch("damaged");
        let record = SignedRecord { round: Round(3), step: SignedStep::Outcome, body: Digest([7; 32]) };
        let mut journal = Journal::open(&path).expect("a new file");
        journal.keep_announced(Round(3)).expect("writable");
        journal.keep_signed(record).expect("writable");
        drop(journal);
        let whole = std::fs::read(&path).expect("there");
        let signed = |length: usize| usize::from(length == whole.len());
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).expect("writable");
            let journal = Journal::open(&path).expect("cut off by a crash");
            assert_eq!(journal.signed().len(), signed(length), "{length}");
        }
        for place in 0..whole.len() {
            for change in [1, 0x21] {
                let mut bytes = whole.clone();
                bytes[place] ^= change;
                std::fs::write(&path, &bytes).expect("writable");
                assert!(matches!(Journal::verify(&path), Err(JournalError::Broken { .. })), "{place}");
                assert!(matches!(Journal::open(&path), Err(JournalError::Broken { .. })), "{place}");
                assert_eq!(std::fs::read(&path).expect("there"), bytes, "{place}: the file is as it was");
            }
        }
        std::fs::remove_file(path).expect("there");
    }
}
