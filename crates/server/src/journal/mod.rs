//! The coordinator's journal: what its round began with, and every input since. After a restart the
//! coordinator is restored from it (`ROUND-27`).
//!
//! A record is its length (8 bytes, little-endian), the length's hash (as a leaf of RFC 6962, the first 8
//! bytes of it), its hash (as a leaf too, 32 bytes) and its bytes. The first records are what the round began
//! with: format, numbers and last ending, model, sums, openings and bad dealings. The others are inputs. They are
//! synced before anything that follows from them is sent. So what a power cut left incomplete at the end was
//! not synced, and nothing followed from it.
//!
//! An incomplete record has fewer bytes than its length says, or the file ends in nothing but zeros, because a
//! power cut may leave a file longer than its bytes. Everything else that is no record is damage, and is
//! rejected: a coordinator without inputs that it took could propose something else than it did. The hash of
//! the length tells an incomplete record from one whose length was damaged.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cloister_crypto::merkle::leaf_hash;
use cloister_params::id::Digest;
use cloister_protocol::coordinator::{CoordinatorCheckpoint, Erasure, Input, Time};
use cloister_protocol::model::Model;
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use thiserror::Error;

const NAME: &str = "journal";

/// The first record of a journal. The first version has none, and begins with what the others have second.
const FORMAT: &str = "cloister/coordinator-journal/v4";
/// The formats before: in the second, round settings do not say whether the round is a rehearsal, and in the third they do not
/// say what members announce of their experts. Between two rounds all have the same records.
const FORMATS_BEFORE: [&[u8]; 2] = [b"cloister/coordinator-journal/v2", b"cloister/coordinator-journal/v3"];
const ANY_FORMAT: &[u8] = b"cloister/coordinator-journal/";

/// A journal that cannot be used.
#[derive(Debug, Error)]
pub enum RoundJournalError {
    /// The file cannot be read or written.
    #[error(
        "the journal {path} cannot be read or written: {source}; without it the coordinator cannot continue safely"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another coordinator uses the same folder.
    #[error(
        "another coordinator uses {0}: two would propose different things for one round; stop it, or use \
         another --data folder"
    )]
    InUse(PathBuf),
    /// The journal belongs to another consortium file.
    #[error(
        "the journal {path} belongs to epoch {got}, the consortium file to epoch {expected}; give the \
         consortium file of the journal, or a new --data folder"
    )]
    Epoch {
        /// The file.
        path: PathBuf,
        /// The journal's epoch.
        got: Digest,
        /// The epoch of the consortium file that was given.
        expected: Digest,
    },
    /// The journal of another version.
    #[error(
        "the journal {path} has the format {got}, and this program reads {FORMAT}: a later version of the program wrote it; install that version"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The journal's format.
        got: String,
    },
    /// A round in progress in an earlier version's format.
    #[error(
        "the journal {0} has a round in progress that an earlier version of the program began; start that version until the \
         round has ended, and this one then"
    )]
    Earlier(PathBuf),
    /// A record that was changed, or that this program did not write.
    #[error(
        "the journal {path}, record {record}: {why}; restore the file from a copy, or start a new epoch in a new folder"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// The record, from 1.
        record: usize,
        /// What is wrong.
        why: String,
    },
}

/// What a round began with.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Beginning {
    pub(crate) epoch: Digest,
    /// Rounds with sums so far.
    pub(crate) closed_rounds: u64,
    pub(crate) start: CoordinatorCheckpoint,
}

/// What a journal had when it was opened.
#[derive(Debug)]
pub(crate) struct JournalContent {
    pub(crate) beginning: Beginning,
    pub(crate) inputs: Vec<(Input, Time)>,
    /// Bytes at the end that were not a whole record.
    pub(crate) torn: usize,
    /// Whether an earlier version of the program wrote it.
    is_earlier_format: bool,
}

/// The journal file of a coordinator.
#[derive(Debug)]
pub(crate) struct RoundJournal {
    folder: PathBuf,
    /// The lock that keeps other coordinators out while the program runs. A file of its own, because the
    /// journal is replaced each round, and a lock belongs to the file that was opened.
    _lock: File,
    /// `None` until the first round begins.
    file: Option<File>,
    is_synced: bool,
}

impl RoundJournal {
    /// Locks a folder, and reads the journal that an earlier coordinator left in it, of this epoch or of the one
    /// `before`, which this one continues from.
    ///
    /// # Errors
    /// See [`RoundJournalError`].
    pub(crate) fn open(
        folder: &Path,
        epoch: Digest,
        before: Option<Digest>,
    ) -> Result<(Self, Option<JournalContent>), RoundJournalError> {
        let path = folder.join(NAME);
        let lock = cloister_storage::create_folder(folder)
            .and_then(|()| cloister_storage::open(&lock_path(folder)))
            .map_err(|source| RoundJournalError::Io { path: path.clone(), source })?;
        // Locked before the journal is read, because the other coordinator may be replacing it.
        lock.try_lock().map_err(|_| RoundJournalError::InUse(folder.to_path_buf()))?;
        let mut journal = Self { folder: folder.to_path_buf(), _lock: lock, file: None, is_synced: true };
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((journal, None)),
            other => other.map_err(|source| journal.failed(source))?,
        };
        let content = read_content(&path, &bytes)?;
        let whole = bytes.len() - content.torn;
        // Checked before the file is opened for writing: another epoch's journal keeps even its torn end.
        if content.beginning.epoch != epoch && Some(content.beginning.epoch) != before {
            return Err(RoundJournalError::Epoch { path, got: content.beginning.epoch, expected: epoch });
        }
        let file = open_at_end(&path, whole as u64).map_err(|source| journal.failed(source))?;
        journal.file = Some(file);
        if content.is_earlier_format && content.beginning.epoch == epoch {
            // FILE-01: what is appended to it has this version's format.
            let inputs = content.inputs.iter().map(|(input, now)| input.encode(*now));
            journal.begin(&content.beginning, inputs.collect::<Vec<_>>())?;
        }
        Ok((journal, Some(content)))
    }

    /// Replaces the journal by one that begins with the next round. It is on disk when this returns, and the
    /// last round's inputs are gone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn begin(
        &mut self,
        beginning: &Beginning,
        inputs: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<(), RoundJournalError> {
        let mut records = encode_beginning(beginning).into_iter().chain(inputs);
        // Replaced as a whole: a power cut leaves the old round's journal or the new one's beginning, and the
        // old one ends in the same state.
        let begun = cloister_storage::replace(&self.path(), |file| {
            records.try_for_each(|record| write_record(file, &record))
        });
        self.file = Some(begun.map_err(|source| self.failed(source))?);
        self.is_synced = true;
        Ok(())
    }

    /// Erases masked blocks that no sum needs: the file is written again without them (`ROUND-29`).
    ///
    /// # Errors
    /// The file cannot be read or written, or was changed by another program.
    pub(crate) fn erase(&mut self, erasure: &Erasure) -> Result<(), RoundJournalError> {
        // Read back, because inputs of an earlier run are in the file alone.
        let bytes = fs::read(self.path()).map_err(|source| self.failed(source))?;
        let content = read_content(&self.path(), &bytes)?;
        let mut remaining = Vec::with_capacity(content.inputs.len());
        for (input, now) in content.inputs {
            remaining.extend(erasure.keep(input).into_iter().map(|input| input.encode(now)));
        }
        self.begin(&content.beginning, remaining)
    }

    /// Appends an input that the coordinator accepted.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn append(&mut self, input: &[u8]) -> Result<(), RoundJournalError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        // Before the write: a write that fails may still leave bytes that have to be synced.
        self.is_synced = false;
        write_record(file, input).map_err(|source| self.failed(source))
    }

    /// Waits until everything that was appended is on disk.
    ///
    /// # Errors
    /// The file cannot be written. Nothing may be sent then.
    pub(crate) fn sync(&mut self) -> Result<(), RoundJournalError> {
        if let Some(file) = self.file.as_ref().filter(|_| !self.is_synced) {
            file.sync_data().map_err(|source| self.failed(source))?;
            self.is_synced = true;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn failed(&self, source: io::Error) -> RoundJournalError {
        RoundJournalError::Io { path: self.path(), source }
    }
}

/// Checks the journal in a coordinator's folder, and returns the number of rounds with sums before the round in it;
/// `None` if no round has begun. Nothing is made, locked or changed, so that a running coordinator may use the folder.
///
/// # Errors
/// [`RoundJournalError::Io`] or [`RoundJournalError::Record`].
pub fn verify_journal(folder: &Path) -> Result<Option<u64>, RoundJournalError> {
    let path = folder.join(NAME);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| RoundJournalError::Io { path: path.clone(), source })?,
    };
    Ok(Some(read_content(&path, &bytes)?.beginning.closed_rounds))
}

/// The file that a running coordinator has locked in its folder.
pub fn lock_path(folder: &Path) -> PathBuf {
    folder.join("lock")
}

/// What the whole records of a journal say. What follows them was cut off while it was written.
fn read_content(path: &Path, bytes: &[u8]) -> Result<JournalContent, RoundJournalError> {
    let wrong = |record, why| RoundJournalError::Record { path: path.to_path_buf(), record, why };
    let (mut records, mut rest) = (Vec::new(), bytes);
    while let Some((record, after)) =
        next_record(rest).map_err(|why| wrong(records.len() + 1, why.to_owned()))?
    {
        records.push(record);
        rest = after;
    }
    let formatted = without_format(path, &records)?;
    let (beginning, input_records) = decode_beginning(formatted)
        .ok_or_else(|| wrong(1, "it is not the beginning of a round".to_owned()))?;
    // FILE-01
    let is_earlier_format = records[0] != FORMAT.as_bytes();
    if is_earlier_format && input_records.iter().any(|input| Input::starts_round(input)) {
        return Err(RoundJournalError::Earlier(path.to_path_buf()));
    }
    let first = 1 + records.len() - input_records.len();
    let mut inputs = Vec::with_capacity(input_records.len());
    for (number, bytes) in (first..).zip(input_records) {
        inputs.push(Input::decode(bytes).map_err(|error| wrong(number, error.to_string()))?);
    }
    Ok(JournalContent { beginning, inputs, torn: rest.len(), is_earlier_format })
}

/// The records after that of the format, which this program reads.
fn without_format<'a>(path: &Path, records: &'a [&'a [u8]]) -> Result<&'a [&'a [u8]], RoundJournalError> {
    match records {
        [first, rest @ ..] if *first == FORMAT.as_bytes() || FORMATS_BEFORE.contains(first) => Ok(rest),
        // FILE-01
        [first, ..] if first.starts_with(ANY_FORMAT) => {
            let got = String::from_utf8_lossy(first).into_owned();
            Err(RoundJournalError::Version { path: path.to_path_buf(), got })
        }
        // The next round's journal takes the place of one of the first version.
        first_version => Ok(first_version),
    }
}

/// Opens a journal for appending after its whole records, which take this many bytes.
fn open_at_end(path: &Path, whole: u64) -> io::Result<File> {
    let mut file = cloister_storage::open(path)?;
    // Cut off, or the next record would follow half a record and be unreadable.
    file.set_len(whole)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

fn write_record(file: &mut File, record: &[u8]) -> io::Result<()> {
    let length = (record.len() as u64).to_le_bytes();
    file.write_all(&length)?;
    file.write_all(&length_check(&length))?;
    file.write_all(&leaf_hash(record).0)?;
    file.write_all(record)
}

/// The part of a length's hash that follows it.
fn length_check(length: &[u8]) -> [u8; 8] {
    let hash = leaf_hash(length).0;
    std::array::from_fn(|place| hash[place])
}

/// A record and what follows it.
type RecordAndRest<'a> = (&'a [u8], &'a [u8]);

/// The next record and what follows it; `None` at the end, and for a record that a power cut left incomplete.
/// An error says what is wrong with it.
fn next_record(bytes: &[u8]) -> Result<Option<RecordAndRest<'_>>, &'static str> {
    // A record's hash is never all zeros, so no whole record is.
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let Some((length, bytes)) = bytes.split_first_chunk() else { return Ok(None) };
    let Some((check, bytes)) = bytes.split_first_chunk() else { return Ok(None) };
    if *check != length_check(length) {
        return Err("its length was changed");
    }
    let Some((hash, bytes)) = bytes.split_first_chunk() else { return Ok(None) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let Some((record, rest)) = bytes.split_at_checked(length) else { return Ok(None) };
    if leaf_hash(record) == Digest(*hash) { Ok(Some((record, rest))) } else { Err("its bytes were changed") }
}

/// The first record is the format. The second is the epoch, the numbers of rounds with sums, frames of sums, openings and bad dealings
/// (8 bytes each, little-endian), and the last ending. Then follow the model, each frame, each opening and
/// each bad dealing.
fn encode_beginning(beginning: &Beginning) -> Vec<Vec<u8>> {
    let CoordinatorCheckpoint { model, last_ending, last_sums, openings, bad_dealings } = &beginning.start;
    let lengths = [last_sums.len(), openings.len(), bad_dealings.len()].map(|length| length as u64);
    let counts = [beginning.closed_rounds].into_iter().chain(lengths).flat_map(u64::to_le_bytes);
    let first = beginning.epoch.0.into_iter().chain(counts).chain(codec::encode(last_ending)).collect();
    [FORMAT.as_bytes().to_vec(), first, model.to_bytes()]
        .into_iter()
        .chain(last_sums.iter().map(Frame::encode))
        .chain(openings.iter().map(codec::encode))
        .chain(bad_dealings.iter().map(codec::encode))
        .collect()
}

/// The beginning of a round, and the records that follow it.
fn decode_beginning<'a>(records: &'a [&'a [u8]]) -> Option<(Beginning, &'a [&'a [u8]])> {
    let [first, model, rest @ ..] = records else { return None };
    let (epoch, fields) = first.split_first_chunk()?;
    let (closed_rounds, fields) = take_number(fields)?;
    let (sums, fields) = take_number(fields)?;
    let (openings, fields) = take_number(fields)?;
    let (bad_dealings, ending) = take_number(fields)?;
    let (sums, rest) = rest.split_at_checked(usize::try_from(sums).ok()?)?;
    let (openings, rest) = rest.split_at_checked(usize::try_from(openings).ok()?)?;
    let (bad_dealings, inputs) = rest.split_at_checked(usize::try_from(bad_dealings).ok()?)?;
    let start = CoordinatorCheckpoint {
        model: Model::from_bytes(model)?,
        last_ending: codec::decode(ending).ok()?,
        last_sums: sums.iter().map(|frame| Frame::decode(frame).ok()).collect::<Option<_>>()?,
        openings: openings.iter().map(|record| codec::decode(record).ok()).collect::<Option<_>>()?,
        bad_dealings: bad_dealings.iter().map(|record| codec::decode(record).ok()).collect::<Option<_>>()?,
    };
    Some((Beginning { epoch: Digest(*epoch), closed_rounds, start }, inputs))
}

fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests;
