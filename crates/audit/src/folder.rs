//! What a coordinator's folder has of an epoch, as bytes and lines that are not checked yet.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{PartyId, Round};
use cloister_transcript::tiles::CHECKPOINT_PATH;
use cloister_transcript::{EntryKind, EntrySignature, LogEntry};
use serde::Deserialize;

/// What is kept of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditedRound {
    /// The entries of its log; the reason why they cannot be read.
    pub entries: Result<Vec<LogEntry>, String>,
    /// The file with the certificate of its ending; none if it is missing.
    pub ending: Option<Vec<u8>>,
}

impl Default for AuditedRound {
    fn default() -> Self {
        Self { entries: Err("its log is missing".to_owned()), ending: None }
    }
}

/// What a coordinator's folder has of one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditedFolder {
    /// The checkpoint of the log; none without a log.
    pub checkpoint: Option<Vec<u8>>,
    /// The log's files, by their paths below its folder.
    pub tiles: BTreeMap<String, Vec<u8>>,
    /// The rounds, by number.
    pub rounds: BTreeMap<Round, AuditedRound>,
    /// The present model's file; none if it is missing.
    pub model: Option<Vec<u8>>,
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
            model: read(&data.join("model.parameters"))?,
            ..Self::default()
        };
        read_tiles(&logs, "tile", &mut folder.tiles)?;
        let rounds = match edition {
            1 => data.join("rounds"),
            later => data.join("rounds").join(format!("edition-{later:03}")),
        };
        let names = match fs::read_dir(&rounds) {
            Ok(names) => names.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        for name in names {
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

/// The bytes of a file; none if it is missing.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All files below a folder of the log, by their paths from there.
fn read_tiles(logs: &Path, below: &str, tiles: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let names = match fs::read_dir(logs.join(below)) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names {
        let name = name?;
        let path = format!("{below}/{}", name.file_name().to_string_lossy());
        if name.file_type()?.is_dir() {
            read_tiles(logs, &path, tiles)?;
        } else {
            tiles.insert(path, fs::read(name.path())?);
        }
    }
    Ok(())
}
