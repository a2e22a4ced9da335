//! The log of the epoch against its checkpoint, and against the logs of rounds (`LOG-05`, `LOG-06`).

use std::collections::BTreeMap;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::Round;
use cloister_protocol::statement::body_digest;
use cloister_transcript::EpochLog;
use cloister_transcript::checkpoint::VerifiedCheckpoint;
use cloister_transcript::keys::{SignatureType, VerifierKey};
use cloister_transcript::leaf::{LogOpening, LogStatement, log_name};
use cloister_transcript::note::SignedNote;
use cloister_transcript::tiles::{TileKind, VERIFIER_KEY_PATH, decode_bundle, tile_paths};

use crate::folder::AuditedFolder;

/// The log that a checkpoint of the coordinator covers. Every tile has to be there and to have the right hashes.
pub(crate) fn check_log(folder: &AuditedFolder, note: &[u8], epoch: &Epoch) -> Result<EpochLog, String> {
    let key = epoch.consortium().coordinator().signing_key;
    let key = VerifierKey::new(log_name(epoch.digest()), SignatureType::Ed25519, key);
    let key = key.map_err(|error| error.to_string())?;
    if let Some(written) = &folder.verifier_key
        && *written != format!("{key}\n").into_bytes()
    {
        return Err(format!("{VERIFIER_KEY_PATH} is not the coordinator's key in the consortium file"));
    }
    let note =
        SignedNote::parse(note).map_err(|error| format!("the checkpoint is no signed note: {error}"))?;
    let checkpoint =
        VerifiedCheckpoint::open(&note, &key).map_err(|error| format!("the checkpoint: {error}"))?;
    let head = checkpoint.head();
    let mut log = EpochLog::default();
    let paths = tile_paths(head.size);
    for path in paths.iter().filter(|path| path.kind() == TileKind::Entries) {
        let bytes = folder.tiles.get(&path.to_string()).ok_or_else(|| format!("{path} is missing"))?;
        for entry in decode_bundle(bytes, path.width()).map_err(|error| format!("{path}: {error}"))? {
            log.append(entry.to_vec()).map_err(|error| format!("{path}: {error}"))?;
        }
    }
    if log.head() != head {
        return Err(format!(
            "the checkpoint names the root {}, and the entries have {}",
            head.root,
            log.head().root
        ));
    }
    for path in &paths {
        let (expected, kept) = (log.content(*path), folder.tiles.get(&path.to_string()));
        if expected.as_ref() != kept {
            return Err(format!("{path} is missing or does not have the hashes of the entries"));
        }
    }
    Ok(log)
}

/// Checks that the log has the opening of this epoch, and then every statement of the rounds from its first round on.
pub(crate) fn check_statements(folder: &AuditedFolder, log: &EpochLog, epoch: &Epoch) -> Result<(), String> {
    let (first, rest) = log.entries().split_first().ok_or("the log has no entry")?;
    let opening = LogOpening::parse(first).map_err(|error| format!("entry 0: {error}"))?;
    if opening.epoch != epoch.digest() || opening.edition != epoch.consortium().epoch_number() {
        return Err(format!(
            "entry 0 opens a log of the epoch {}, edition {}",
            opening.epoch, opening.edition
        ));
    }
    let mut logged = rest.iter().enumerate();
    for (round, kept) in folder.rounds.range(opening.first_round..) {
        let entries = kept.entries.as_ref().map_err(|why| format!("{round}: {why}"))?;
        for (place, entry) in entries.iter().enumerate() {
            let here = format!("entry {} of {round}, a {} of {}", place + 1, entry.kind.name(), entry.party);
            let (at, text) = logged.next().ok_or_else(|| format!("the log ends before {here}"))?;
            let at = at + 1;
            let statement = LogStatement::parse(text).map_err(|error| format!("entry {at}: {error}"))?;
            let expected = LogStatement {
                round: *round,
                kind: entry.kind,
                party: entry.party,
                body: body_digest(&entry.body),
                time: statement.time,
                signatures: entry.signatures.clone(),
            };
            if statement != expected {
                return Err(format!("entry {at} of the log is not {here}"));
            }
        }
    }
    match logged.next() {
        Some((at, _)) => Err(format!("entry {} of the log is in no round's file", at + 1)),
        None => Ok(()),
    }
}

/// The first round that the log has, if its opening can be read.
pub(crate) fn first_round(log: &EpochLog) -> Option<Round> {
    LogOpening::parse(log.entries().first()?).ok().map(|opening| opening.first_round)
}

/// When each round ended, as its last statement in the log says.
pub(crate) fn round_times(log: &EpochLog) -> BTreeMap<Round, u64> {
    let mut times = BTreeMap::new();
    for entry in log.entries() {
        if let Ok(statement) = LogStatement::parse(entry) {
            times.insert(statement.round, statement.time);
        }
    }
    times
}
