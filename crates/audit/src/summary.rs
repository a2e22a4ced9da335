//! What a round was, in figures that a report shows. None of it is checked again: it is what the replay found.

use cloister_params::block::BlockKind;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::SketchForm;
use cloister_transcript::{EntryKind, LogEntry};
use cloister_wire::codec;
use cloister_wire::statement::{Abort, AbortReason, CohortChoice, SumCheck};
use serde::Serialize;

use crate::replay::Replayed;
use crate::sums::SummedRound;

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SummarizedEnding {
    /// Sums were opened.
    Closed,
    /// Nothing was opened, for this reason.
    Aborted(AbortReason),
}

/// A block of a closed round: whose updates were summed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SummarizedCohort {
    /// The block's number in the plan.
    pub block: BlockId,
    /// What its parameters are.
    pub kind: BlockKind,
    /// How the cohort was chosen.
    pub choice: CohortChoice,
    /// The members in its sum, ascending.
    pub summed: Vec<PartyId>,
    /// Members of the cohort whose upload did not arrive, ascending.
    pub absent: Vec<PartyId>,
    /// What late sketches say of the sum.
    pub check: SumCheck,
}

/// A round that could be replayed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RoundSummary {
    /// Its number.
    pub round: Round,
    /// Whether it was a rehearsal, whose sums are not applied.
    pub rehearsal: bool,
    /// The digest of the task.
    pub task: Digest,
    /// How it ended.
    pub ending: SummarizedEnding,
    /// When it ended, in seconds since 1970: the coordinator's word, from the log of the epoch.
    pub time: Option<u64>,
    /// What members announced of their experts.
    pub sketches: SketchForm,
    /// Whether members trained privately, text by text.
    pub private_training: bool,
    /// The members that announced, ascending.
    pub announced: Vec<PartyId>,
    /// The members whose upload came, ascending.
    pub uploaded: Vec<PartyId>,
    /// The opened blocks; none of an aborted round.
    pub cohorts: Vec<SummarizedCohort>,
    /// The members that were shown to have lied about an upload, ascending.
    pub blamed: Vec<PartyId>,
    /// The custodians that signed the ending, ascending.
    pub signed_by: Vec<PartyId>,
    /// The digest of the model before it.
    pub started_from: Digest,
    /// The digest of the model after it.
    pub model: Digest,
    /// The digest of its closing or abort.
    pub digest: Digest,
}

impl RoundSummary {
    pub(crate) fn new(replayed: &Replayed, entries: &[LogEntry], time: Option<u64>) -> Self {
        let settings = &replayed.plan.settings;
        let mut cohorts = Vec::new();
        let mut blamed = Vec::new();
        if let Some(closed) = &replayed.closed {
            cohorts = summed_cohorts(closed);
            blamed.extend(closed.closing.blamed.iter().map(|blamed| blamed.member));
            blamed.sort_unstable();
            blamed.dedup();
        }
        let ending = match entries.last().filter(|last| last.kind == EntryKind::Abort) {
            Some(last) => SummarizedEnding::Aborted(
                codec::decode::<Abort>(&last.body).expect("its certificate was checked").reason,
            ),
            None => SummarizedEnding::Closed,
        };
        let announcements = [EntryKind::Announcement, EntryKind::UnsealedAnnouncement];
        Self {
            round: replayed.plan.round,
            rehearsal: settings.rehearsal,
            task: settings.task,
            ending,
            time,
            sketches: settings.scoring.sketches,
            private_training: settings.training.private.is_some(),
            announced: parties_of(entries, &announcements),
            uploaded: parties_of(entries, &[EntryKind::Upload]),
            cohorts,
            blamed,
            signed_by: signers(entries),
            started_from: replayed.plan.model,
            model: replayed.ending.model,
            digest: replayed.ending.digest,
        }
    }
}

/// The opened blocks, with whose updates were summed.
fn summed_cohorts(closed: &SummedRound) -> Vec<SummarizedCohort> {
    let mut cohorts = Vec::new();
    let manifest = closed.cohorts.sealed_manifest().manifest().cohorts();
    for (cohort, listed) in closed.cohorts.valid().iter().zip(&closed.closing.sums) {
        let block = cohort.block();
        let chosen = manifest.iter().find(|chosen| chosen.block == block);
        let (Some(planned), Some(chosen)) = (closed.context.block(block), chosen) else { continue };
        cohorts.push(SummarizedCohort {
            block,
            kind: planned.shape.kind,
            choice: chosen.choice,
            summed: cohort.members().collect(),
            absent: cohort.absent().to_vec(),
            check: listed.check,
        });
    }
    cohorts
}

/// The parties with an entry of these kinds, ascending.
fn parties_of(entries: &[LogEntry], kinds: &[EntryKind]) -> Vec<PartyId> {
    let mut parties: Vec<PartyId> =
        entries.iter().filter(|entry| kinds.contains(&entry.kind)).map(|entry| entry.party).collect();
    parties.sort_unstable();
    parties
}

/// Who signed the last entry, ascending.
fn signers(entries: &[LogEntry]) -> Vec<PartyId> {
    let signatures = entries.last().map(|entry| &entry.signatures[..]).unwrap_or_default();
    let mut parties: Vec<PartyId> = signatures.iter().map(|signature| signature.party).collect();
    parties.sort_unstable();
    parties
}
