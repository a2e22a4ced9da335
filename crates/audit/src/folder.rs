//! What a coordinator's folder has of an epoch, as bytes and lines that are not checked yet.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{Digest, PartyId, Round};
use cloister_params::limits::PrivacyUnit;
use cloister_transcript::tiles::{CHECKPOINT_PATH, VERIFIER_KEY_PATH};
use cloister_transcript::{EntryKind, EntrySignature, LogEntry};
use serde::Deserialize;

/// A file that is read when it is needed, because sums and models are large.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeptFile {
    /// On disk.
    Path(PathBuf),
    /// In memory.
    Bytes(Vec<u8>),
}

impl KeptFile {
    /// Its content.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn read(&self) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Self::Path(path) => fs::read(path).map(Cow::Owned),
            Self::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
        }
    }
}

/// What is kept of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditedRound {
    /// The entries of its log; the reason why they cannot be read.
    pub entries: Result<Vec<LogEntry>, String>,
    /// The file with the certificate of its ending; none if it is missing.
    pub ending: Option<Vec<u8>>,
    /// The file with the opened sums (`LOG-07`); none if it is missing.
    pub sums: Option<KeptFile>,
}

impl Default for AuditedRound {
    fn default() -> Self {
        Self { entries: Err("its log is missing".to_owned()), ending: None, sums: None }
    }
}

/// What a coordinator's folder has of one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditedFolder {
    /// The checkpoint of the log; none without a log.
    pub checkpoint: Option<Vec<u8>>,
    /// The file with the key that verifies checkpoints; none if it is missing.
    pub verifier_key: Option<Vec<u8>>,
    /// The log's files, by their paths below its folder.
    pub tiles: BTreeMap<String, Vec<u8>>,
    /// The rounds, by number.
    pub rounds: BTreeMap<Round, AuditedRound>,
    /// The present model's file; none if it is missing.
    pub model: Option<Vec<u8>>,
    /// The files of the coordinator's ledgers, by the unit that they count.
    pub ledgers: Vec<(PrivacyUnit, Vec<u8>)>,
    /// The models of earlier closings, by the digests that their names say.
    pub models: BTreeMap<Digest, KeptFile>,
}

/// A line of a round's log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLine {
    kind: String,
    party: u32,
    leaf: String,
    body: String,
    signatures: Vec<SignatureInLine>,
}

/// A signature in a line of a round's log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureInLine {
    party: u32,
    signature: String,
}

impl AuditedFolder {
    /// Reads a coordinator's folder. What an entry or a file says is not checked.
    ///
    /// # Errors
    /// A folder or file that cannot be read; files that are missing are none.
    pub fn read(data: &Path, epoch: &Epoch) -> io::Result<Self> {
        let edition = epoch.consortium().epoch_number();
        let logs = data.join("logs").join(format!("{edition:03}"));
        let mut folder = Self {
            checkpoint: read(&logs.join(CHECKPOINT_PATH))?,
            verifier_key: read(&logs.join(VERIFIER_KEY_PATH))?,
            model: read(&data.join("model.parameters"))?,
            ..Self::default()
        };
        read_tiles(&logs, "tile", &mut folder.tiles)?;
        folder.models = kept_models(data)?;
        for unit in [PrivacyUnit::Record, PrivacyUnit::Member] {
            if let Some(ledger) = read(&data.join(format!("privacy-ledger-{unit}")))? {
                folder.ledgers.push((unit, ledger));
            }
        }
        let rounds = match edition {
            1 => data.join("rounds"),
            later => data.join("rounds").join(format!("edition-{later:03}")),
        };
        for name in files(&rounds)? {
            let file_name = name.file_name();
            let Some((number, kind)) = file_name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            let round = folder.rounds.entry(Round(number));
            match kind {
                "log.jsonl" => {
                    round.or_default().entries = entries(&fs::read_to_string(name.path())?);
                }
                "sums" => round.or_default().sums = Some(KeptFile::Path(name.path())),
                "ending" => round.or_default().ending = Some(fs::read(name.path())?),
                // Times are for people.
                _ => {}
            }
        }
        Ok(folder)
    }
}

/// The entries of a round's log, or what is wrong with a line.
fn entries(text: &str) -> Result<Vec<LogEntry>, String> {
    let mut entries = Vec::new();
    for (at, line) in text.lines().enumerate() {
        entries.push(entry(line).map_err(|why| format!("line {} of its log: {why}", at + 1))?);
    }
    Ok(entries)
}

fn entry(line: &str) -> Result<LogEntry, String> {
    let line: LogLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let kind =
        EntryKind::by_name(&line.kind).ok_or_else(|| format!("there is no kind of entry {:?}", line.kind))?;
    let body = hex::decode(&line.body).map_err(|error| format!("its body is not hexadecimal: {error}"))?;
    let mut signatures = Vec::with_capacity(line.signatures.len());
    for SignatureInLine { party, signature } in line.signatures {
        let signature = hex::decode(&signature).ok().and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or("a signature is not 64 bytes in hexadecimal")?;
        signatures.push(EntrySignature { party: PartyId(party), signature });
    }
    let entry = LogEntry { kind, party: PartyId(line.party), body, signatures };
    let leaf = entry.leaf().to_string();
    match leaf == line.leaf {
        true => Ok(entry),
        false => Err(format!("its leaf should be {leaf}, not {}", line.leaf)),
    }
}

/// The kept models, whose names are a number, a hyphen, the digest and `.parameters` (`FILE-02`).
fn kept_models(data: &Path) -> io::Result<BTreeMap<Digest, KeptFile>> {
    let mut models = BTreeMap::new();
    for file in files(&data.join("models"))? {
        let name = file.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".parameters")?.split_once('-'));
        if let Some(digest) = name.and_then(|(_, digest)| digest.parse().ok()) {
            models.insert(digest, KeptFile::Path(file.path()));
        }
    }
    Ok(models)
}

/// What is in a folder; nothing if it is missing.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The bytes of a file; none if it is missing.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All files below a folder of the log, by their paths from there.
fn read_tiles(logs: &Path, below: &str, tiles: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for name in files(&logs.join(below))? {
        let path = format!("{below}/{}", name.file_name().to_string_lossy());
        if name.file_type()?.is_dir() {
            read_tiles(logs, &path, tiles)?;
        } else {
            tiles.insert(path, fs::read(name.path())?);
        }
    }
    Ok(())
}
