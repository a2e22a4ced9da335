//! The log of an epoch in the coordinator's folder (`LOG-05`, `LOG-06`): tiles, and a checkpoint that the coordinator
//! signs.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cloister_crypto::SigningKey;
use cloister_crypto::consortium::Epoch;
use cloister_params::id::{Digest, Round};
use cloister_protocol::coordinator::RoundReport;
use cloister_protocol::statement::body_digest;
use cloister_transcript::EpochLog;
use cloister_transcript::checkpoint::{LogCheckpoint, TreeHead, VerifiedCheckpoint};
use cloister_transcript::keys::{SignatureType, VerifierKey};
use cloister_transcript::leaf::{LogOpening, LogStatement, log_name};
use cloister_transcript::note::SignedNote;
use cloister_transcript::tiles::{
    CHECKPOINT_PATH, TileKind, VERIFIER_KEY_PATH, decode_bundle, superseded_folders, tile_paths,
};
use thiserror::Error;

/// The folder of the logs of all editions, each in a folder of its edition's number.
const LOGS: &str = "logs";

/// A log that cannot be continued.
#[derive(Debug, Error)]
pub enum PublicLogError {
    /// A file of the log cannot be read or written.
    #[error("{path}, a file of the public log: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The files are not those that this coordinator signed.
    #[error(
        "the public log in {folder} is not as this coordinator signed it, or of a later version: {why}. Restore the folder \
         of the coordinator from its newest backup. Without one, move {folder} away: a new log begins with the next \
         round, and says so in its first entry"
    )]
    Damaged {
        /// The log's folder.
        folder: PathBuf,
        /// What does not fit.
        why: String,
    },
}

/// The log of the epoch in force, with its files.
#[derive(Debug)]
pub(crate) struct PublicLog {
    folder: PathBuf,
    epoch: Digest,
    key: Arc<SigningKey>,
    log: EpochLog,
}

impl PublicLog {
    /// Reads the log of an epoch, or opens one that begins with the round `next`.
    pub(crate) fn open(
        data: &Path,
        epoch: &Epoch,
        key: &Arc<SigningKey>,
        next: Round,
        now: SystemTime,
    ) -> Result<Self, PublicLogError> {
        let edition = epoch.consortium().epoch_number();
        let folder = log_folder(data, edition);
        let (key, digest) = (Arc::clone(key), epoch.digest());
        if let Some((head, log)) = read_log(&folder)? {
            let verifier = verifier_key(&folder, digest, &key)?;
            // Whoever moved the folder here, or has another key, must not continue it.
            if head.origin() != verifier.name() || head.note().signers() != [verifier] {
                let why = format!("its checkpoint is of {}, under another key or epoch", head.origin());
                return Err(PublicLogError::Damaged { folder, why });
            }
            return Ok(Self { folder, epoch: digest, key, log });
        }
        let start = epoch.consortium().start().map(|start| Digest(start.epoch.0));
        let previous = match start {
            Some(before) => last_head(data, edition, before)?.map(|head| (before, head)),
            None => None,
        };
        let opening = LogOpening { epoch: digest, edition, first_round: next, time: seconds(now), previous };
        let mut opened = Self { folder, epoch: digest, key, log: EpochLog::default() };
        let verifier = verifier_key(&opened.folder, digest, &opened.key)?;
        write(&opened.folder, VERIFIER_KEY_PATH, format!("{verifier}\n").as_bytes())?;
        opened.append(vec![opening.to_string()])?;
        Ok(opened)
    }

    /// Appends the statements of a round that ended. A round that the log has stays as it is: a coordinator that was
    /// stopped behind it ends it again.
    pub(crate) fn append_round(
        &mut self,
        report: &RoundReport,
        now: SystemTime,
    ) -> Result<(), PublicLogError> {
        let last = self.log.entries().last().and_then(|entry| LogStatement::parse(entry).ok());
        if last.is_some_and(|statement| statement.round >= report.round) {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(report.log.entries().len());
        for entry in report.log.entries() {
            let statement = LogStatement {
                round: report.round,
                kind: entry.kind,
                party: entry.party,
                body: body_digest(&entry.body),
                time: seconds(now),
                signatures: entry.signatures.clone(),
            };
            entries.push(statement.to_string());
        }
        self.append(entries)
    }

    /// Appends entries and writes the files that they change: tiles first, then the checkpoint that covers them.
    fn append(&mut self, entries: Vec<String>) -> Result<(), PublicLogError> {
        let old = self.log.size();
        for entry in entries {
            self.log.append(entry.into_bytes()).expect("a quorum's signatures are far below 64 KiB");
        }
        let new = self.log.size();
        for file in self.log.added_files(old, new).expect("the log is as large") {
            write(&self.folder, &file.path.to_string(), &file.bytes)?;
        }
        let checkpoint = LogCheckpoint { origin: log_name(self.epoch), head: self.log.head() };
        let note = checkpoint.sign(&self.key).expect("the name of a log is short");
        write(&self.folder, CHECKPOINT_PATH, note.to_string().as_bytes())?;
        for superseded in superseded_folders(old, new) {
            let path = self.folder.join(superseded);
            match fs::remove_dir_all(&path) {
                // A copy of the folder may lack it: nobody needs it any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|source| PublicLogError::Io { path, source })?,
            }
        }
        Ok(())
    }
}

fn log_folder(data: &Path, edition: u32) -> PathBuf {
    data.join(LOGS).join(format!("{edition:03}"))
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// The coordinator's key, under the name of the epoch's log.
fn verifier_key(folder: &Path, epoch: Digest, key: &SigningKey) -> Result<VerifierKey, PublicLogError> {
    VerifierKey::new(log_name(epoch), SignatureType::Ed25519, key.public())
        .map_err(|weak| PublicLogError::Damaged { folder: folder.to_owned(), why: weak.to_string() })
}

/// The last head of the log of an earlier epoch; none if the folder has no log of it.
fn last_head(data: &Path, edition: u32, epoch: Digest) -> Result<Option<TreeHead>, PublicLogError> {
    for number in (1..edition).rev() {
        let Some((checkpoint, _)) = read_log(&log_folder(data, number))? else { continue };
        if *checkpoint.origin() == log_name(epoch) {
            return Ok(Some(checkpoint.head()));
        }
    }
    Ok(None)
}

/// The checkpoint in a folder, under the key beside it, and the entries that it covers; none in a folder without one.
fn read_log(folder: &Path) -> Result<Option<(VerifiedCheckpoint, EpochLog)>, PublicLogError> {
    let damaged = |why: String| PublicLogError::Damaged { folder: folder.to_owned(), why };
    let Some(note) = read(folder, CHECKPOINT_PATH)? else { return Ok(None) };
    let note = SignedNote::parse(&note).map_err(|error| damaged(error.to_string()))?;
    let key = read(folder, VERIFIER_KEY_PATH)?
        .ok_or_else(|| damaged(format!("it has no file {VERIFIER_KEY_PATH}")))?;
    let key = VerifierKey::parse(String::from_utf8_lossy(&key).trim_end());
    let key = key.map_err(|error| damaged(error.to_string()))?;
    let checkpoint = VerifiedCheckpoint::open(&note, &key).map_err(|error| damaged(error.to_string()))?;
    let mut log = EpochLog::default();
    for path in tile_paths(checkpoint.head().size) {
        if path.kind() != TileKind::Entries {
            continue;
        }
        let bytes = read(folder, &path.to_string())?;
        let bytes = bytes.ok_or_else(|| damaged(format!("it has no file {path}")))?;
        let entries =
            decode_bundle(&bytes, path.width()).map_err(|error| damaged(format!("{path}: {error}")))?;
        for entry in entries {
            log.append(entry.to_vec()).map_err(|error| damaged(error.to_string()))?;
        }
    }
    if log.head() != checkpoint.head() {
        return Err(damaged("its entries do not have the root that its checkpoint signs".to_owned()));
    }
    Ok(Some((checkpoint, log)))
}

/// The bytes of a file of the log; none if it does not exist.
fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, PublicLogError> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PublicLogError::Io { path, source }),
    }
}

/// Writes a file of the log as a whole, with the folders above it.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), PublicLogError> {
    let path = folder.join(name);
    let written = path
        .parent()
        .map_or(Ok(()), cloister_storage::create_folder)
        .and_then(|()| cloister_storage::replace(&path, |file| file.write_all(bytes)));
    written.map(|_| ()).map_err(|source| PublicLogError::Io { path, source })
}

#[cfg(test)]
mod tests {
    use cloister_cluster::consortium::{TestConsortium, consortium};
    use cloister_cluster::plan::template;
    use cloister_cluster::{Cluster, DropOut};
    use cloister_params::id::PartyId;
    use cloister_transcript::EntryKind;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cloister-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Two rounds of a consortium of five, of which the second is aborted.
    fn rounds() -> (Arc<Epoch>, Arc<SigningKey>, [RoundReport; 2]) {
        let TestConsortium { epoch, keys, .. } = consortium(&[1; 5]);
        let key = keys[&PartyId::COORDINATOR].clone();
        let mut cluster = Cluster::new(consortium(&[1; 5]), template(2, 4, 1), 3);
        let closed = cluster.run_round().expect("it closes");
        cluster.drop_member(PartyId(3), DropOut::AfterAnnouncing);
        cluster.drop_member(PartyId(4), DropOut::AfterAnnouncing);
        let aborted = cluster.run_round().expect("it ends");
        (epoch, key, [closed, aborted])
    }

    fn checkpoint(data: &Path, edition: u32) -> TreeHead {
        let (checkpoint, _) = read_log(&log_folder(data, edition)).expect("sound").expect("a log");
        checkpoint.head()
    }

    /// LOG-05, LOG-06
    #[test]
    fn a_log_has_every_statement_of_closed_and_aborted_rounds_and_goes_on_after_a_restart() {
        let (data, (epoch, key, [closed, aborted])) = (scratch("restart"), rounds());
        let mut log = PublicLog::open(&data, &epoch, &key, Round(1), at(5)).expect("a new log");
        log.append_round(&closed, at(10)).expect("written");
        let mut again = PublicLog::open(&data, &epoch, &key, Round(2), at(15)).expect("it goes on");
        assert_eq!(again.log, log.log);
        again.append_round(&closed, at(16)).expect("nothing to do");
        assert_eq!(again.log, log.log, "the round is there");
        again.append_round(&aborted, at(20)).expect("written");
        let entries = again.log.entries();
        assert_eq!(entries.len(), 1 + closed.log.entries().len() + aborted.log.entries().len());
        let opening = LogOpening::parse(&entries[0]).expect("an opening");
        assert_eq!((opening.epoch, opening.first_round, opening.time), (epoch.digest(), Round(1), 5));
        let last = LogStatement::parse(entries.last().expect("entries")).expect("a statement");
        assert_eq!((last.kind, last.round, last.time), (EntryKind::Abort, Round(2), 20));
        assert!(last.signatures.len() >= epoch.consortium().floors().seal_quorum);
        assert_eq!(checkpoint(&data, 1), again.log.head());
        let name = format!("{}\n", log_name(epoch.digest()));
        let note = fs::read_to_string(log_folder(&data, 1).join(CHECKPOINT_PATH)).expect("there");
        assert!(note.starts_with(&name), "{note}");
        fs::remove_dir_all(data).expect("there");
    }

    /// LOG-06: rounds enough for several tiles, of which the folders of partial ones go.
    #[test]
    fn a_log_of_several_tiles_is_read_again() {
        let (data, (epoch, key, [closed, _])) = (scratch("tiles"), rounds());
        let mut log = PublicLog::open(&data, &epoch, &key, Round(1), at(5)).expect("a new log");
        let mut report = closed;
        while log.log.size() < 600 {
            log.append_round(&report, at(10)).expect("written");
            report.round = report.round.next();
        }
        let again = PublicLog::open(&data, &epoch, &key, report.round, at(15)).expect("it goes on");
        assert_eq!(again.log, log.log);
        let tiles = log_folder(&data, 1).join("tile/0");
        assert!(tiles.join("001").exists() && !tiles.join("001.p").exists() && tiles.join("002.p").exists());
        fs::remove_dir_all(data).expect("there");
    }

    /// LOG-06
    #[test]
    fn a_changed_log_and_a_log_of_another_key_are_refused() {
        let (data, (epoch, key, [closed, _])) = (scratch("changed"), rounds());
        let mut log = PublicLog::open(&data, &epoch, &key, Round(1), at(5)).expect("a new log");
        log.append_round(&closed, at(10)).expect("written");
        let reopened = |key: &Arc<SigningKey>| PublicLog::open(&data, &epoch, key, Round(2), at(15));
        let other = Arc::new(SigningKey::from_seed(&[9; 32]));
        assert!(matches!(reopened(&other), Err(PublicLogError::Damaged { .. })));
        let size = log.log.size();
        for (file, change) in [
            (format!("tile/entries/000.p/{size}"), &b"round"[..]),
            (CHECKPOINT_PATH.to_owned(), b"\n"),
            (VERIFIER_KEY_PATH.to_owned(), b"cloister"),
        ] {
            let path = log_folder(&data, 1).join(&file);
            let sound = fs::read(&path).expect("there");
            let place = sound.windows(change.len()).position(|bytes| bytes == change).expect("there");
            let mut changed = sound.clone();
            changed[place] ^= 1;
            fs::write(&path, changed).expect("writable");
            assert!(matches!(reopened(&key), Err(PublicLogError::Damaged { .. })), "{file}");
            fs::remove_file(&path).expect("there");
            if file != CHECKPOINT_PATH {
                assert!(matches!(reopened(&key), Err(PublicLogError::Damaged { .. })), "{file}");
            }
            fs::write(&path, sound).expect("writable");
        }
        assert!(reopened(&key).is_ok(), "control");
        fs::remove_dir_all(data).expect("there");
    }
}
