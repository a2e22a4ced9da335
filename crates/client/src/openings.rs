//! What this party helped to open, over all rounds and epochs (`ROUND-30`): one file beside the privacy ledger.
//!
//! Each line is one record in its canonical encoding, in hexadecimal digits.

use std::path::Path;

use cloister_crypto::consortium::Epoch;
use cloister_protocol::openings::{OpeningHistory, StartRefusal};
use cloister_storage::chain::LineChain;
use cloister_wire::codec;
use cloister_wire::opening::OpeningRecord;
use thiserror::Error;

use crate::record_file::{JournalError, RecordFile};

const CHAIN: LineChain = LineChain::new("cloister/v1/party-openings");

/// Why a party does not take part in an epoch.
#[derive(Debug, Error)]
pub enum OpeningsError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] JournalError),
    /// This party must not begin the epoch: it would go back, or leave out an ending that it knows.
    #[error(transparent)]
    Start(#[from] StartRefusal),
}

/// The file, and what it holds.
#[derive(Debug)]
pub(crate) struct OpeningsFile {
    file: RecordFile,
    openings: OpeningHistory,
}

/// Checks the file of openings at a path, which another process may be using, and returns the number of its records.
/// The file is neither made, locked nor changed.
///
/// # Errors
/// See [`JournalError`].
pub fn verify_openings(path: &Path) -> Result<usize, JournalError> {
    Ok(RecordFile::verify(path, CHAIN, read)?.len())
}

impl OpeningsFile {
    /// Opens or creates the file.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let (file, lines) = RecordFile::open(path, CHAIN)?;
        let records = file.parse(&lines, read)?;
        Ok(Self { file, openings: OpeningHistory::new(records) })
    }

    /// Begins an epoch, or goes on in it (`CONS-06`).
    pub(crate) fn begin(&mut self, epoch: &Epoch) -> Result<(), OpeningsError> {
        if let Some(record) = self.openings.begin(epoch)? {
            self.file.append(&written(&record))?;
        }
        Ok(())
    }

    /// Records an opening. It is on disk when this returns. A party that is member and custodian gives some records twice.
    pub(crate) fn keep(&mut self, record: OpeningRecord) -> Result<(), JournalError> {
        if !self.openings.is_new(&record) {
            return Ok(());
        }
        let line = written(&record);
        // If the append fails, the caller ends before it sends anything, so memory may be ahead of the disk.
        self.openings.take(record);
        self.file.append(&line)
    }

    /// What the file holds.
    pub(crate) fn openings(&self) -> &OpeningHistory {
        &self.openings
    }
}

fn written(record: &OpeningRecord) -> String {
    // A record may have the byte of a line break anywhere; its digits do not.
    hex::encode(codec::encode(record))
}

fn read(line: &str) -> Option<OpeningRecord> {
    codec::decode(&hex::decode(line).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use cloister_cluster::consortium::{consortium, next_epoch, sign};
    use cloister_params::block::BlockKind;
    use cloister_params::consortium::{EarlierClosing, LastEnding, PublicBytes};
    use cloister_params::id::{BlockId, Digest, Round};
    use cloister_wire::opening::OpenedBlock;

    use super::*;

    /// ROUND-30, CONS-06
    #[test]
    fn what_was_opened_is_known_after_a_restart_and_in_the_next_epoch() {
        let path = std::env::temp_dir().join(format!("cloister-openings-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let first = consortium(&[1; 5]);
        let (epoch, round, model) = (first.epoch.digest(), Round(1), Digest([7; 32]));
        let mut file = OpeningsFile::open(&path).expect("a new file");
        file.begin(&first.epoch).expect("nothing is known");
        let opened = OpenedBlock {
            block: BlockId(0),
            kind: BlockKind::Shared,
            parameters: Digest([3; 32]),
            routing: None,
            name: Digest([4; 32]),
            all_have_budgets: false,
        };
        let sealed = OpeningRecord::Sealed { epoch, round, blocks: vec![opened] };
        file.keep(sealed.clone()).expect("writable");
        file.keep(sealed).expect("the same again, from the party's other role");
        let (ending, dropped) = (Digest([1; 32]), Vec::new());
        let ended = OpeningRecord::Ended { epoch, round, ending, model, aborted: false, dropped };
        file.keep(ended).expect("writable");
        let lines = std::fs::read_to_string(&path).expect("there").lines().count();
        assert_eq!(lines, 4, "the first line, the epoch, the seal and the ending");
        let before = file.openings().clone();
        drop(file);
        let mut file = OpeningsFile::open(&path).expect("readable");
        assert_eq!(file.openings(), &before);
        file.begin(&first.epoch).expect("the same epoch goes on");
        let start = |digest| {
            let ending = LastEnding { round, digest: PublicBytes(digest) };
            next_epoch(&first, model, Some(ending)).epoch
        };
        let refused = file.begin(&start([2; 32])).expect_err("it ended otherwise");
        assert!(matches!(refused, OpeningsError::Start(StartRefusal::OtherEnding { .. })), "{refused}");
        let mut other_model = start([1; 32]).consortium().to_file();
        let named = other_model.start.as_mut().expect("the second epoch has a start");
        (named.model, named.replaced) = (PublicBytes([9; 32]), false);
        let refused = file.begin(&sign(&other_model).epoch).expect_err("the ending left another");
        assert!(matches!(refused, OpeningsError::Start(StartRefusal::ReplacedModel { .. })), "{refused}");
        // CONS-16: back to a closing that this party knows.
        let back_to = |digest, model| {
            let mut file = start([1; 32]).consortium().to_file();
            let named = file.start.as_mut().expect("the second epoch has a start");
            (named.model, named.replaced) = (PublicBytes(model), true);
            let epoch = PublicBytes(epoch.0);
            named.back_to = Some(EarlierClosing { epoch, round, digest: PublicBytes(digest) });
            sign(&file).epoch
        };
        for (digest, left) in [([2; 32], [7; 32]), ([1; 32], [9; 32])] {
            let refused = file.begin(&back_to(digest, left)).expect_err("another closing or model");
            assert!(matches!(refused, OpeningsError::Start(StartRefusal::OtherClosing { .. })), "{refused}");
        }
        let mut another = file.openings().clone();
        another.begin(&back_to([1; 32], [7; 32])).expect("control: the closing that is known");
        file.begin(&start([1; 32])).expect("control: on the ending that is known");
        let back = file.begin(&first.epoch).expect_err("a newer epoch was begun");
        assert!(matches!(back, OpeningsError::Start(StartRefusal::OlderEpoch { .. })), "{back}");
        std::fs::remove_file(path).expect("it was written");
    }
}
