//! All claims about a coordinator's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloister_crypto::consortium::Epoch;
use cloister_params::id::{Digest, Round};
use cloister_protocol::ending::{ChainPosition, KnownEnding};
use cloister_protocol::model::Model;
use cloister_transcript::{EpochLog, LogEntry};

use crate::claim::{AuditClaim, AuditedClaim, ClaimFault, ClaimVerdict};
use crate::folder::{AuditedFolder, KeptFile};
use crate::ledgers::{ARE_CHECKED, check_ledger};
use crate::log::{check_log, check_statements, first_round, round_times};
use crate::parties::{ComparedFolder, LoggedEndings};
use crate::places::{check_order, check_place};
use crate::replay::{ReleasingRound, Replay};
use crate::report::{EvidenceReport, FORMAT};
use crate::signatures::check_signatures;
use crate::summary::RoundSummary;
use crate::sums::SummedRound;

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

    /// Sums do not hold: late sketches and the model were not compared with them.
    fn leave_rest_of_sums(&mut self, round: Round) {
        let why = format!("the sums of {round} do not hold");
        self.leave(AuditClaim::OpenedSums, &why);
        self.leave(AuditClaim::LateSketches, &why);
    }

    /// A round was not examined to its end: what else would be said of rounds is not proved.
    fn leave_rest(&mut self, round: Round) {
        let why = format!("{round} does not hold, and was not examined to its end");
        ABOUT_ROUNDS.into_iter().for_each(|claim| self.leave(claim, &why));
    }
}

/// Claims about rounds, which nothing is known of without rounds.
const ABOUT_ROUNDS: [AuditClaim; 10] = [
    AuditClaim::Rounds,
    AuditClaim::Signatures,
    AuditClaim::Chain,
    AuditClaim::Cohorts,
    AuditClaim::Seals,
    AuditClaim::Reveals,
    AuditClaim::Endings,
    AuditClaim::Recomputations,
    AuditClaim::OpenedSums,
    AuditClaim::LateSketches,
];

/// Checks everything that a folder has against a consortium file that the reader trusts.
///
/// `parties` are folders of hospitals and custodians to compare with.
pub fn verify(folder: &AuditedFolder, parties: &[ComparedFolder], epoch: &Arc<Epoch>) -> EvidenceReport {
    let mut verdicts = Verdicts::default();
    let log = verify_log(folder, epoch, &mut verdicts);
    let walk = verify_rounds(folder, epoch, log.as_ref(), &mut verdicts);
    verify_model(folder, walk.chain.map(|chain| chain.model), &mut verdicts);
    verify_ledgers(&walk, &mut verdicts);
    verify_parties(&walk, parties, &mut verdicts);
    verdicts.leave(AuditClaim::MaskedBlocks, "masked blocks are not kept");
    verdicts.leave(AuditClaim::Cosignatures, "no party cosigns checkpoints in this version");
    let mut claims = Vec::with_capacity(AuditClaim::ALL.len());
    for claim in AuditClaim::ALL {
        let verdict = verdicts.0.remove(&claim).unwrap_or(ClaimVerdict::Proved);
        claims.push(AuditedClaim { claim, verdict });
    }
    EvidenceReport {
        format: FORMAT,
        epoch: epoch.digest(),
        edition: epoch.consortium().epoch_number(),
        examined: folder.rounds.len(),
        rounds: walk.summaries,
        log_size: log.map(|log| log.size()),
        claims,
    }
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

/// The way through the rounds: where the chain is, and the model there.
struct RoundWalk<'a> {
    folder: &'a AuditedFolder,
    epoch: &'a Arc<Epoch>,
    chain: Option<ChainPosition>,
    /// The model after the last round; none while no file has it.
    model: Option<Model>,
    /// What the rounds released, as far as they could be replayed.
    releasing: Vec<ReleasingRound>,
    /// What the replayed rounds were.
    summaries: Vec<RoundSummary>,
    /// When rounds ended, as the log of the epoch says.
    times: BTreeMap<Round, u64>,
    /// The endings whose certificates hold.
    endings: BTreeMap<Round, KnownEnding>,
    /// The model that the first round started from.
    start: Digest,
}

/// Replays every round.
fn verify_rounds<'a>(
    folder: &'a AuditedFolder,
    epoch: &'a Arc<Epoch>,
    log: Option<&EpochLog>,
    verdicts: &mut Verdicts,
) -> RoundWalk<'a> {
    let mut walk = RoundWalk {
        folder,
        epoch,
        chain: None,
        model: None,
        releasing: Vec::new(),
        summaries: Vec::new(),
        times: log.map(round_times).unwrap_or_default(),
        endings: BTreeMap::new(),
        start: Digest::default(),
    };
    let Some((first, _)) = folder.rounds.first_key_value() else {
        ABOUT_ROUNDS.into_iter().for_each(|claim| verdicts.leave(claim, "the folder has no round"));
        return walk;
    };
    if *first != Round(1) && log.and_then(first_round) != Some(*first) {
        verdicts.refute(AuditClaim::Rounds, format!("the first round is {first}"));
    }
    for (round, kept) in &folder.rounds {
        match (&kept.entries, &kept.ending) {
            (Ok(entries), Some(ending)) => {
                walk.examine(*round, (entries, ending), kept.sums.as_ref(), verdicts)
            }
            (Err(why), _) => {
                verdicts.refute(AuditClaim::Rounds, format!("{round}: {why}"));
                verdicts.leave_rest(*round);
            }
            (_, None) => {
                verdicts.refute(AuditClaim::Rounds, format!("{round}: its ending is missing"));
                verdicts.leave_rest(*round);
            }
        }
    }
    walk
}

impl RoundWalk<'_> {
    /// Examines one round, and moves on to its end.
    fn examine(
        &mut self,
        round: Round,
        (entries, ending): (&[LogEntry], &[u8]),
        sums: Option<&KeptFile>,
        verdicts: &mut Verdicts,
    ) {
        if let Some(repeated) = repeated(entries) {
            let what = format!("{round} has the {} of {} twice", repeated.kind.name(), repeated.party);
            verdicts.refute(AuditClaim::Statements, what);
        }
        if let Err(why) = check_order(entries) {
            verdicts.refute(AuditClaim::Statements, format!("{round}: {why}"));
        }
        for entry in entries {
            if let Err(why) = check_place(entry, self.epoch, round) {
                verdicts.refute(AuditClaim::Statements, format!("{round}: {why}"));
            }
            if let Err(why) = check_signatures(entry, self.epoch) {
                verdicts.refute(AuditClaim::Signatures, format!("{round}: {why}"));
            }
        }
        let replay = Replay::new(entries, self.epoch);
        let started_from = replay.started_from().unwrap_or_default();
        if self.chain.is_none() {
            self.start = started_from;
        }
        if let Some(known) = replay.certified_ending(ending) {
            self.endings.insert(round, known);
        }
        let mut position = self.chain.unwrap_or_else(|| start(self.epoch, round, started_from));
        if position.round.next() != round {
            verdicts.refute(AuditClaim::Rounds, format!("{round} follows {}", position.round));
        }
        // The start of a log that begins later is the coordinator's word.
        if (self.chain.is_some() || round == Round(1))
            && let Err((claim, why)) = replay.check_chain(&position)
        {
            verdicts.refute(claim, format!("{round}: {why}"));
        }
        if self.model.as_ref().is_none_or(|model| model.digest() != started_from) {
            match self.kept_model(started_from) {
                Ok(model) => self.model = model,
                Err(why) => verdicts.refute(AuditClaim::OpenedSums, why),
            }
        }
        match replay.run(ending) {
            Ok(replayed) => {
                position.advance(&replayed.ending);
                if replayed.ending.round != round {
                    let named = replayed.ending.round;
                    verdicts.refute(AuditClaim::Endings, format!("{round}: its ending is of {named}"));
                }
                self.summaries.push(RoundSummary::new(&replayed, entries, self.times.get(&round).copied()));
                let closed = replayed.closed.as_ref();
                let closed = closed.map(|closed| (replayed.ending.digest, closed.opened()));
                self.releasing.push(ReleasingRound {
                    plan: replayed.plan,
                    announced: replayed.announced,
                    closed,
                });
                if let Some(closed) = replayed.closed
                    && let Err((claim, why)) = self.check_sums(round, &closed, sums, verdicts)
                {
                    verdicts.refute(claim, format!("{round}: {why}"));
                    verdicts.leave_rest_of_sums(round);
                }
            }
            Err((claim, why)) => {
                verdicts.refute(claim, format!("{round}: {why}"));
                verdicts.leave_rest(round);
                // So that a fault in one round is not one in all later rounds.
                if let Some(known) = self.endings.get(&round).filter(|known| known.round == round) {
                    position.advance(known);
                }
            }
        }
        self.chain = Some(position);
    }

    /// Checks the sums of a closed round, and applies them to the model.
    fn check_sums(
        &mut self,
        round: Round,
        closed: &SummedRound,
        sums: Option<&KeptFile>,
        verdicts: &mut Verdicts,
    ) -> Result<(), ClaimFault> {
        let before = self.model.take();
        let Some(file) = sums else {
            let why = format!("the sums of {round} are not kept");
            verdicts.leave(AuditClaim::OpenedSums, &why);
            verdicts.leave(AuditClaim::LateSketches, &why);
            return Ok(());
        };
        let packed = file
            .read()
            .map_err(|error| (AuditClaim::OpenedSums, format!("its file of sums cannot be read: {error}")))?;
        let sums = closed.sums(&packed)?;
        if let Some((claim, why)) = closed.check_late_sketches(&sums)? {
            verdicts.leave(claim, &format!("{round}: {why}"));
        }
        let Some(before) = before else {
            let why = format!("the model before {round} is not kept, so that its sums were not applied");
            verdicts.leave(AuditClaim::OpenedSums, &why);
            return Ok(());
        };
        self.model = Some(closed.model_after(&before, sums)?);
        Ok(())
    }

    /// A model that the folder has.
    fn kept_model(&self, digest: Digest) -> Result<Option<Model>, String> {
        let Some(file) = self.folder.models.get(&digest) else { return Ok(None) };
        let bytes =
            file.read().map_err(|error| format!("the kept model {digest} cannot be read: {error}"))?;
        match Model::from_bytes(&bytes) {
            Some(model) if model.digest() == digest => Ok(Some(model)),
            _ => Err(format!("the file of the kept model {digest} has other parameters")),
        }
    }
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

fn verify_ledgers(walk: &RoundWalk<'_>, verdicts: &mut Verdicts) {
    if walk.folder.ledgers.is_empty() {
        verdicts.leave(AuditClaim::Ledgers, "the folder has no ledger");
        return;
    }
    if !ARE_CHECKED {
        verdicts
            .leave(AuditClaim::Ledgers, "this program does not read ledgers; `cloister audit verify` does");
        return;
    }
    if walk.releasing.len() < walk.folder.rounds.len() {
        verdicts.leave(AuditClaim::Ledgers, "a round does not hold, so that what it released is not known");
        return;
    }
    for (unit, ledger) in &walk.folder.ledgers {
        if let Err(why) = check_ledger(ledger, *unit, &walk.releasing, walk.epoch) {
            verdicts.refute(AuditClaim::Ledgers, why);
        }
    }
}

fn verify_parties(walk: &RoundWalk<'_>, parties: &[ComparedFolder], verdicts: &mut Verdicts) {
    let logged = LoggedEndings { endings: &walk.endings, start: walk.start };
    for party in parties {
        match logged.check(party, walk.epoch) {
            Ok(true) => {}
            Ok(false) => {
                let why = format!("{} has no ending and no closing of this epoch", party.name);
                verdicts.leave(AuditClaim::OtherParties, &why);
            }
            Err(why) => verdicts.refute(AuditClaim::OtherParties, why),
        }
    }
    if parties.is_empty() {
        verdicts.leave(AuditClaim::OtherParties, "no folder of another party was given to compare with");
    }
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
