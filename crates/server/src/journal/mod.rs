//! What the coordinator must find again after a restart: what its round began with, and every input since
//! (`ROUND-27`).
//!
//! A record is its length (8 bytes, little-endian), its hash (as a leaf of RFC 6962, 32 bytes) and its bytes. The first is the
//! round's beginning, the next are its model and the last round's sums; the others are inputs. Records are synced before anything that follows
//! from them leaves. What a power cut tore off the end had not been synced, and nothing followed from it.

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

/// A journal that cannot be used.
#[derive(Debug, Error)]
pub enum RoundJournalError {
    /// The file cannot be read or written.
    #[error("the journal {path}: {source}; without it the coordinator cannot go on safely")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another program writes to the same folder.
    #[error("another coordinator uses {0}; two of them would propose different things for one round")]
    InUse(PathBuf),
    /// The journal is of another consortium file.
    #[error(
        "the journal {path} is of epoch {got}, and the consortium file of epoch {expected}: give its file, or a new --data folder"
    )]
    Epoch {
        /// The file.
        path: PathBuf,
        /// What the journal names.
        got: Digest,
        /// What was given.
        expected: Digest,
    },
    /// A record that this program did not write.
    #[error(
        "the journal {path}, record {record}: {why}; restore the file, or start a new epoch in a new folder"
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

/// What a journal held when it was opened.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) beginning: Beginning,
    pub(crate) inputs: Vec<(Input, Time)>,
    /// Bytes at the end that were no whole record.
    pub(crate) torn: usize,
}

/// The journal file of a coordinator.
#[derive(Debug)]
pub(crate) struct RoundJournal {
    folder: PathBuf,
    /// Held while the program runs.
    _lock: File,
    file: Option<File>,
    is_synced: bool,
}

impl RoundJournal {
    /// Takes a folder into use, and reads what an earlier coordinator left in it.
    ///
    /// # Errors
    /// See [`RoundJournalError`].
    pub(crate) fn open(folder: &Path, epoch: Digest) -> Result<(Self, Option<Kept>), RoundJournalError> {
        let path = folder.join(NAME);
        let io = |source| RoundJournalError::Io { path: path.clone(), source };
        cloister_storage::create_folder(folder).map_err(io)?;
        let lock = cloister_storage::open(&folder.join("lock")).map_err(io)?;
        lock.try_lock().map_err(|_| RoundJournalError::InUse(folder.to_path_buf()))?;
        let mut journal = Self { folder: folder.to_path_buf(), _lock: lock, file: None, is_synced: true };
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((journal, None)),
            other => other.map_err(io)?,
        };
        let (records, whole) = records(&bytes);
        let kept = journal.interpret(&records, bytes.len() - whole)?;
        if kept.beginning.epoch != epoch {
            return Err(RoundJournalError::Epoch { path, got: kept.beginning.epoch, expected: epoch });
        }
        let mut file = cloister_storage::open(&path).map_err(io)?;
        file.set_len(whole as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        journal.file = Some(file);
        Ok((journal, Some(kept)))
    }

    fn interpret(&self, records: &[&[u8]], torn: usize) -> Result<Kept, RoundJournalError> {
        let wrong = |record: usize, why: String| RoundJournalError::Record { path: self.path(), record, why };
        let (beginning, inputs) =
            decode_beginning(records).ok_or_else(|| wrong(1, "it is no round's beginning".into()))?;
        let first = 1 + records.len() - inputs.len();
        let input = |(record, bytes): (usize, &&[u8])| {
            Input::decode(bytes).map_err(|error| wrong(record, error.to_string()))
        };
        let inputs = (first..).zip(inputs).map(input).collect::<Result<_, _>>()?;
        Ok(Kept { beginning, inputs, torn })
    }

    /// Begins anew after a round: on disk when this returns, and the round's inputs are gone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn begin(
        &mut self,
        beginning: &Beginning,
        inputs: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<(), RoundJournalError> {
        let mut records = encode_beginning(beginning).into_iter().chain(inputs);
        let begun = cloister_storage::replace(&self.path(), |file| {
            records.try_for_each(|record| write_record(file, &record))
        });
        self.file = Some(begun.map_err(|source| self.failed(source))?);
        self.is_synced = true;
        Ok(())
    }

    /// Erases masked blocks that no sum needs: the file is written anew without them (`ROUND-29`).
    ///
    /// # Errors
    /// The file cannot be read or written, or was changed meanwhile.
    pub(crate) fn erase(&mut self, erasure: &Erasure) -> Result<(), RoundJournalError> {
        let bytes = fs::read(self.path()).map_err(|source| self.failed(source))?;
        let (records, _) = records(&bytes);
        let kept = self.interpret(&records, 0)?;
        let inputs = kept
            .inputs
            .into_iter()
            .flat_map(|(input, now)| erasure.keep(input).into_iter().map(move |input| input.encode(now)));
        self.begin(&kept.beginning, inputs)
    }

    /// Appends an input that was taken.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn append(&mut self, input: &[u8]) -> Result<(), RoundJournalError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.is_synced = false;
        write_record(file, input).map_err(|source| self.failed(source))
    }

    /// Waits until everything that was appended is on disk.
    ///
    /// # Errors
    /// The file cannot be written; nothing may be sent then.
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

fn write_record(file: &mut File, record: &[u8]) -> io::Result<()> {
    file.write_all(&(record.len() as u64).to_le_bytes())?;
    file.write_all(&leaf_hash(record).0)?;
    file.write_all(record)
}

/// The whole records from the beginning on, and how many bytes they take.
fn records(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let (mut records, mut rest) = (Vec::new(), bytes);
    while let Some((record, after)) = next_record(rest) {
        records.push(record);
        rest = after;
    }
    (records, bytes.len() - rest.len())
}

fn next_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk()?;
    let (hash, bytes) = bytes.split_first_chunk()?;
    let (record, rest) = bytes.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    (leaf_hash(record) == Digest(*hash)).then_some((record, rest))
}

/// The epoch, the numbers of rounds with sums, frames of sums, openings and bad dealings (8 bytes each, little-endian) and the
/// last ending; then the model, each frame, each opening, each bad dealing.
fn encode_beginning(beginning: &Beginning) -> Vec<Vec<u8>> {
    let CoordinatorCheckpoint { model, last_ending, last_sums, openings, bad_dealings } = &beginning.start;
    let lengths = [last_sums.len(), openings.len(), bad_dealings.len()].map(|length| length as u64);
    let counts = [beginning.closed_rounds].into_iter().chain(lengths).flat_map(u64::to_le_bytes);
    let first = beginning.epoch.0.into_iter().chain(counts).chain(codec::encode(last_ending)).collect();
    [first, model.to_bytes()]
        .into_iter()
        .chain(last_sums.iter().map(Frame::encode))
        .chain(openings.iter().map(codec::encode))
        .chain(bad_dealings.iter().map(codec::encode))
        .collect()
}

/// The beginning, and the records that follow it.
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
