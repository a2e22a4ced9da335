//! All claims about a coordinator's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{Digest, Round};
use cloister_protocol::ending::ChainPosition;
use cloister_protocol::model::Model;
use cloister_transcript::{EpochLog, LogEntry};

use crate::claim::{AuditClaim, AuditedClaim, ClaimVerdict, EvidenceReport};
use crate::folder::AuditedFolder;
use crate::log::{check_log, check_statements, first_round};
use crate::replay::Replay;
use crate::signatures::check_signatures;

/// Claims that did not hold or were not checked; the others are proved. The first reason of each claim stays.
#[derive(Default)]
struct Verdicts(BTreeMap<AuditClaim, ClaimVerdict>);

impl Verdicts {
    fn refute(&mut self, claim: AuditClaim, why: String) {
        let known = self.0.entry(claim).or_insert_with(|| ClaimVerdict::Refuted(why.clone()));
        if !matches!(known, ClaimVerdict::Refuted(_)) {
            *known = ClaimVerdict::Refuted(why);
        }
    }

    fn leave(&mut self, claim: AuditClaim, why: &str) {
        self.0.entry(claim).or_insert_with(|| ClaimVerdict::NotChecked(why.to_owned()));
    }
}

/// Claims about rounds, which nothing is known of without rounds.
const ABOUT_ROUNDS: [AuditClaim; 8] = [
    AuditClaim::Rounds,
    AuditClaim::Signatures,
    AuditClaim::Chain,
    AuditClaim::Cohorts,
    AuditClaim::Seals,
    AuditClaim::Reveals,
    AuditClaim::Endings,
    AuditClaim::Recomputations,
];

/// Checks everything that a folder has against a consortium file that the reader trusts.
pub fn verify(folder: &AuditedFolder, epoch: &Arc<Epoch>) -> EvidenceReport {
    let mut verdicts = Verdicts::default();
    let log = verify_log(folder, epoch, &mut verdicts);
    let model = verify_rounds(folder, epoch, log.as_ref(), &mut verdicts);
    verify_model(folder, model, &mut verdicts);
    verdicts.leave(AuditClaim::Sums, "masked blocks are not kept");
    verdicts.leave(AuditClaim::LateSketches, "this version does not judge late sketches again");
    verdicts.leave(AuditClaim::Ledgers, "this version does not compare ledgers with the log");
    verdicts.leave(AuditClaim::Cosignatures, "no party cosigns checkpoints in this version");
    let mut claims = Vec::with_capacity(AuditClaim::ALL.len());
    for claim in AuditClaim::ALL {
        let verdict = verdicts.0.remove(&claim).unwrap_or(ClaimVerdict::Proved);
        claims.push(AuditedClaim { claim, verdict });
    }
    EvidenceReport { rounds: folder.rounds.len(), log_size: log.map(|log| log.size()), claims }
}

fn verify_log(folder: &AuditedFolder, epoch: &Arc<Epoch>, verdicts: &mut Verdicts) -> Option<EpochLog> {
    let Some(note) = &folder.checkpoint else {
        let why = "the folder has no log of the epoch; an earlier version wrote none";
        verdicts.leave(AuditClaim::Log, why);
        verdicts.leave(AuditClaim::Statements, why);
        return None;
    };
    match check_log(folder, note, epoch) {
        Ok(log) => {
            if let Err(why) = check_statements(folder, &log, epoch) {
                verdicts.refute(AuditClaim::Statements, why);
            }
            Some(log)
        }
        Err(why) => {
            verdicts.refute(AuditClaim::Log, why);
            verdicts.leave(AuditClaim::Statements, "the log does not hold");
            None
        }
    }
}

/// Replays every round. The result is the model after the last one.
fn verify_rounds(
    folder: &AuditedFolder,
    epoch: &Arc<Epoch>,
    log: Option<&EpochLog>,
    verdicts: &mut Verdicts,
) -> Option<Digest> {
    let Some((first, _)) = folder.rounds.first_key_value() else {
        ABOUT_ROUNDS.into_iter().for_each(|claim| verdicts.leave(claim, "the folder has no round"));
        return None;
    };
    if *first != Round(1) && log.and_then(first_round) != Some(*first) {
        verdicts.refute(AuditClaim::Rounds, format!("the first round is {first}"));
    }
    let mut chain: Option<ChainPosition> = None;
    for (round, kept) in &folder.rounds {
        let entries = match (&kept.entries, &kept.ending) {
            (Ok(entries), Some(_)) => entries,
            (Err(why), _) => {
                verdicts.refute(AuditClaim::Rounds, format!("{round}: {why}"));
                continue;
            }
            (_, None) => {
                verdicts.refute(AuditClaim::Rounds, format!("{round}: its ending is missing"));
                continue;
            }
        };
        if let Some(repeated) = repeated(entries) {
            let what = format!("{round} has the {} of {} twice", repeated.kind.name(), repeated.party);
            verdicts.refute(AuditClaim::Statements, what);
        }
        for entry in entries {
            if let Err(why) = check_signatures(entry, epoch) {
                verdicts.refute(AuditClaim::Signatures, format!("{round}: {why}"));
            }
        }
        let replay = Replay::new(entries, epoch);
        let started_from = replay.started_from().unwrap_or_default();
        let before = chain.unwrap_or_else(|| start(epoch, *first, started_from));
        if before.round.next() != *round {
            let why = format!("{round} follows {}", before.round);
            verdicts.refute(AuditClaim::Rounds, why);
        }
        // The start of a log that begins later is the coordinator's word.
        if (chain.is_some() || *first == Round(1))
            && let Err((claim, why)) = replay.check_chain(&before)
        {
            verdicts.refute(claim, format!("{round}: {why}"));
        }
        chain = Some(before);
        match replay.run(kept.ending.as_deref().unwrap_or_default()) {
            Ok(replayed) => {
                let mut after = before;
                after.advance(&replayed.ending);
                chain = Some(after);
                if replayed.ending.round != *round {
                    verdicts
                        .refute(AuditClaim::Endings, format!("{round}: its ending is of {}", after.round));
                }
                if !replayed.has_late_sketches {
                    continue;
                }
                verdicts.leave(AuditClaim::LateSketches, "this version does not judge late sketches again");
            }
            Err((claim, why)) => verdicts.refute(claim, format!("{round}: {why}")),
        }
    }
    chain.map(|chain| chain.model)
}

/// An entry that a log has twice.
fn repeated(entries: &[LogEntry]) -> Option<&LogEntry> {
    let mut seen = BTreeSet::new();
    entries.iter().find(|entry| !seen.insert((entry.kind, entry.party, &entry.body)))
}

/// The position before the first round that is kept.
fn start(epoch: &Epoch, first: Round, model: Digest) -> ChainPosition {
    let genesis = ChainPosition::genesis(epoch, model);
    ChainPosition { round: Round(first.0.saturating_sub(1)), ..genesis }
}

fn verify_model(folder: &AuditedFolder, expected: Option<Digest>, verdicts: &mut Verdicts) {
    let (Some(bytes), Some(expected)) = (&folder.model, expected) else {
        verdicts.leave(AuditClaim::Model, "the folder has no model, or no round that can be replayed");
        return;
    };
    match Model::from_bytes(bytes) {
        Some(model) if model.digest() == expected => {}
        Some(model) => {
            let why = format!("the last ending names {expected}, and the model is {}", model.digest());
            verdicts.refute(AuditClaim::Model, why);
        }
        None => verdicts.refute(AuditClaim::Model, "its file is no model".to_owned()),
    }
}
