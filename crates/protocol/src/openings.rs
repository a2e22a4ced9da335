//! What was opened from which parameters, over rounds and epochs.
//!
//! From the same parameters a block is opened again only over the same members (`ROUND-30`): training from them repeats
//! itself, so that the difference of two sums would be somebody's update. Two seals share an honest custodian, and each
//! custodian keeps here what it signed. Members keep what they uploaded, so that none begins an epoch on such parameters
//! (`CONS-06`).

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::consortium::Epoch;
use cloister_crypto::hash::{Domain, digest};
use cloister_params::block::BlockKind;
use cloister_params::id::{BlockId, Digest, Round};
use cloister_params::plan::{CheckedPlan, PlannedBlock};
use cloister_params::rule;
use cloister_wire::codec;
use cloister_wire::message::Ending;
use cloister_wire::opening::{ForgottenBlock, OpenedBlock, OpeningRecord};
use cloister_wire::statement::{Seal2, WeightedMember};

use crate::fault::Misbehaviour;
use crate::round::{KnownEnding, RoundContext};
use crate::sealed::{SealedManifest, SummedCohort};

pub use start::StartRefusal;

mod start;

/// What one party keeps of one round.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct KeptRound {
    /// The blocks that were opened, or may have been.
    blocks: BTreeMap<BlockKind, OpenedBlock>,
    ended: Option<KeptEnding>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct KeptEnding {
    digest: Digest,
    aborted: bool,
}

/// Everything that one party keeps.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Openings {
    rounds: BTreeMap<(Digest, Round), KeptRound>,
    /// Blocks with parameters from which this party, restored from a backup, may have opened them.
    forgotten: BTreeSet<ForgottenBlock>,
    /// The latest epoch that it began.
    epoch: Option<(u32, Digest)>,
}

impl Openings {
    /// What records make, in their order.
    pub fn new(records: impl IntoIterator<Item = OpeningRecord>) -> Self {
        let mut openings = Self::default();
        records.into_iter().for_each(|record| openings.take(record));
        openings
    }

    /// Takes a record.
    pub fn take(&mut self, record: OpeningRecord) {
        match record {
            OpeningRecord::Began { epoch, number } => self.epoch = Some((number, epoch)),
            OpeningRecord::Uploading { epoch, round, blocks } => {
                let kept = self.rounds.entry((epoch, round)).or_default();
                for uploaded in blocks {
                    kept.blocks.entry(uploaded.kind).or_insert(uploaded);
                }
            }
            OpeningRecord::Sealed { epoch, round, blocks } => {
                let kept = self.rounds.entry((epoch, round)).or_default();
                kept.blocks.extend(blocks.into_iter().map(|opened| (opened.kind, opened)));
            }
            OpeningRecord::Ended { epoch, round, ending, aborted, dropped, .. } => {
                let kept = self.rounds.entry((epoch, round)).or_default();
                kept.ended = Some(KeptEnding { digest: ending, aborted });
                kept.blocks.retain(|_, opened| !aborted && dropped.binary_search(&opened.block).is_err());
            }
            OpeningRecord::Forgotten { blocks } => self.forgotten.extend(blocks),
        }
    }

    /// The record of an ending, if it is not here yet.
    pub(crate) fn ended(
        &mut self,
        epoch: &Epoch,
        ending: &Ending,
        known: &KnownEnding,
    ) -> Option<OpeningRecord> {
        let (epoch, round) = (epoch.digest(), known.round);
        let kept = self.rounds.get(&(epoch, round));
        let dropped = kept.map(|kept| kept.not_opened(ending)).unwrap_or_default();
        let (ending, model, aborted) = (known.digest, known.model, known.is_abort());
        let record = OpeningRecord::Ended { epoch, round, ending, model, aborted, dropped };
        self.is_new(&record).then(|| {
            self.take(record.clone());
            record
        })
    }

    /// The record that this member is about to upload, if it is not here yet.
    pub(crate) fn uploading(
        &mut self,
        round: &RoundContext,
        blocks: impl IntoIterator<Item = BlockId>,
    ) -> Option<OpeningRecord> {
        let (epoch, number) = (round.epoch().digest(), round.round());
        let blocks = blocks.into_iter().filter_map(|block| round.block(block));
        let blocks = blocks.map(|planned| kept_block(round.plan(), planned, None, false)).collect();
        self.keep(OpeningRecord::Uploading { epoch, round: number, blocks })
    }

    /// The record of a second seal, if no other is here: whoever keeps it may sign the seal and reveal for it.
    ///
    /// # Errors
    /// A valid block that was opened from the same parameters over others (`ROUND-30`).
    pub(crate) fn sealed(
        &mut self,
        round: &RoundContext,
        sealed: &SealedManifest,
        seal: &Seal2,
    ) -> Result<Option<OpeningRecord>, Misbehaviour> {
        let blocks = opened_blocks(round, sealed, &sealed.valid_cohorts(seal));
        if let Some(block) = self.repeated(round, &blocks).first() {
            return Err(Misbehaviour::Repeated { block: *block });
        }
        let (epoch, number) = (round.epoch().digest(), round.round());
        Ok(self.keep(OpeningRecord::Sealed { epoch, round: number, blocks }))
    }

    /// The record that this party was restored from a backup when it saw this round's plan, if it is not here yet (`ROUND-04`).
    pub(crate) fn forgotten(&mut self, round: &RoundContext) -> Option<OpeningRecord> {
        let blocks = planned_blocks(round.plan());
        let blocks =
            blocks.map(|(planned, parameters)| ForgottenBlock { kind: planned.shape.kind, parameters });
        self.keep(OpeningRecord::Forgotten { blocks: blocks.collect() })
    }

    /// Takes a record, and gives it back if it says anything new.
    fn keep(&mut self, record: OpeningRecord) -> Option<OpeningRecord> {
        let is_new = self.is_new(&record);
        self.take(record.clone());
        is_new.then_some(record)
    }

    /// Whether a record says anything that is not here.
    pub fn is_new(&self, record: &OpeningRecord) -> bool {
        let kept = |epoch: &Digest, round: &Round| self.rounds.get(&(*epoch, *round));
        match record {
            OpeningRecord::Began { epoch, number } => self.epoch != Some((*number, *epoch)),
            OpeningRecord::Uploading { epoch, round, blocks } => {
                let kept = kept(epoch, round);
                blocks
                    .iter()
                    .any(|uploaded| kept.is_none_or(|kept| !kept.blocks.contains_key(&uploaded.kind)))
            }
            OpeningRecord::Sealed { epoch, round, blocks } => {
                let kept = kept(epoch, round);
                blocks
                    .iter()
                    .any(|opened| kept.and_then(|kept| kept.blocks.get(&opened.kind)) != Some(opened))
            }
            OpeningRecord::Ended { epoch, round, .. } => {
                kept(epoch, round).is_none_or(|kept| kept.ended.is_none())
            }
            OpeningRecord::Forgotten { blocks } => blocks.iter().any(|block| !self.forgotten.contains(block)),
        }
    }

    /// The blocks that were opened from the same parameters before, in another round, under another name: unless all members
    /// of both openings have budgets.
    pub(crate) fn repeated(&self, round: &RoundContext, blocks: &[OpenedBlock]) -> Vec<BlockId> {
        if !rule::in_force("ROUND-30") {
            return Vec::new();
        }
        let conflicts = |opened: &&OpenedBlock| {
            let mut earlier = self.opened_from(round, opened.kind, opened.parameters);
            earlier.any(|(_, before)| is_another_opening(before, opened))
        };
        blocks.iter().filter(conflicts).map(|opened| opened.block).collect()
    }

    /// The blocks that this party does not give to a round, or does not help to open (`ROUND-38`): it may have opened them from the
    /// round's parameters in another epoch, before it was restored, or before they had others in this epoch.
    pub(crate) fn closed(&self, round: &RoundContext) -> Vec<BlockId> {
        if !rule::in_force("ROUND-38") {
            return Vec::new();
        }
        let is_closed = |planned: &PlannedBlock, parameters: Digest| {
            let kind = planned.shape.kind;
            self.forgotten.contains(&ForgottenBlock { kind, parameters })
                || self.returned(round, kind, parameters)
        };
        let closed =
            planned_blocks(round.plan()).filter(|(planned, parameters)| is_closed(planned, *parameters));
        closed.map(|(planned, _)| planned.shape.id).collect()
    }

    /// Whether a block has parameters from which it may have been opened in another epoch, or in this one before it had others.
    fn returned(&self, round: &RoundContext, kind: BlockKind, parameters: Digest) -> bool {
        let epoch = round.epoch().digest();
        let mut opened = self.opened_from(round, kind, parameters);
        opened.any(|((opened_in, at), _)| {
            *opened_in != epoch || self.had_others_after(epoch, *at, kind, parameters)
        })
    }

    /// Whether a block was opened from other parameters after a round.
    fn had_others_after(&self, epoch: Digest, round: Round, kind: BlockKind, parameters: Digest) -> bool {
        let later = self.rounds.range((epoch, round.next())..).take_while(|((later, _), _)| *later == epoch);
        later.filter_map(|(_, kept)| kept.blocks.get(&kind)).any(|opened| opened.parameters != parameters)
    }

    /// How often a block was opened from the round's parameters in other rounds.
    pub(crate) fn times_opened(&self, round: &RoundContext, block: BlockId) -> u64 {
        let planned = round.block(block).zip(round.plan().parameters_of(block));
        planned.map_or(0, |(planned, parameters)| {
            self.opened_from(round, planned.shape.kind, parameters).count() as u64
        })
    }

    /// Openings of a block from some parameters in other rounds than this, each with its epoch and round.
    fn opened_from(
        &self,
        round: &RoundContext,
        kind: BlockKind,
        parameters: Digest,
    ) -> impl Iterator<Item = (&(Digest, Round), &OpenedBlock)> {
        let present = (round.epoch().digest(), round.round());
        let others = self.rounds.iter().filter(move |(place, _)| **place != present);
        let opened = others.filter_map(move |(place, kept)| Some((place, kept.blocks.get(&kind)?)));
        opened.filter(move |(_, opened)| opened.parameters == parameters)
    }

    /// Forgets what was opened from other parameters than these, for a coordinator, to whom custodians say no. How rounds ended
    /// it keeps elsewhere: what stays is what [`Openings::records`] brings back (`ROUND-27`).
    pub(crate) fn retain(&mut self, parameters: &[Digest]) {
        let is_present =
            |opened: &OpenedBlock| parameters.get(opened.block.0 as usize) == Some(&opened.parameters);
        for kept in self.rounds.values_mut() {
            kept.blocks.retain(|_, opened| is_present(opened));
            kept.ended = None;
        }
        self.rounds.retain(|_, kept| !kept.blocks.is_empty());
    }

    /// The records that make these openings.
    pub fn records(&self) -> Vec<OpeningRecord> {
        let record = |((epoch, round), kept): (&(Digest, Round), &KeptRound)| {
            let blocks = kept.blocks.values().copied().collect();
            OpeningRecord::Sealed { epoch: *epoch, round: *round, blocks }
        };
        self.rounds.iter().map(record).collect()
    }
}

impl KeptRound {
    /// Of the blocks that are kept: those that a closing does not list (`ROUND-30`).
    fn not_opened(&self, ending: &Ending) -> Vec<BlockId> {
        let Ending::Closed { certificate, .. } = ending else { return Vec::new() };
        let Ok(closing) = certificate.parse() else { return Vec::new() };
        let listed: BTreeSet<BlockId> = closing.sums.iter().map(|sum| sum.block).collect();
        let kept = self.blocks.values().map(|kept| kept.block);
        kept.filter(|block| !listed.contains(block)).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Whether a block was opened before over others, and not all members of both openings have budgets. Over whom a member's
/// upload was opened it does not know before the second seal; custodians do.
fn is_another_opening(before: &OpenedBlock, opened: &OpenedBlock) -> bool {
    let both_have_budgets = before.all_have_budgets && opened.all_have_budgets;
    before.name.is_some() && before.name != opened.name && !both_have_budgets
}

/// How the valid blocks of a second seal are kept.
pub(crate) fn opened_blocks(
    round: &RoundContext,
    sealed: &SealedManifest,
    cohorts: &[SummedCohort],
) -> Vec<OpenedBlock> {
    let announcements = sealed.manifest().announcements();
    let has_budget = |member| announcements.get(&member).is_some_and(|known| known.body().has_budget);
    let opened = |cohort: &SummedCohort| {
        let planned =
            round.block(cohort.block()).expect("the manifest was checked to name blocks of the plan");
        let name = opening_name(planned, cohort.weighted(), routing_parameters(round.plan(), planned));
        kept_block(round.plan(), planned, Some(name), cohort.members().all(has_budget))
    };
    cohorts.iter().map(opened).collect()
}

fn kept_block(
    plan: &CheckedPlan,
    planned: &PlannedBlock,
    name: Option<Digest>,
    all_have_budgets: bool,
) -> OpenedBlock {
    let (block, kind) = (planned.shape.id, planned.shape.kind);
    let parameters =
        plan.parameters_of(block).expect("the plan was checked to have parameters for each block");
    OpenedBlock { block, kind, parameters, name, all_have_budgets }
}

/// A plan's blocks, each with the digest of its parameters.
fn planned_blocks(plan: &CheckedPlan) -> impl Iterator<Item = (&PlannedBlock, Digest)> {
    plan.settings.blocks.iter().zip(plan.parameters.iter().copied())
}

/// The digest of the routing distribution by which members weigh their updates of a router (`ALIGN-11`).
fn routing_parameters(plan: &CheckedPlan, planned: &PlannedBlock) -> Option<Digest> {
    let BlockKind::Router { layer } = planned.shape.kind else { return None };
    let is_its = |other: &PlannedBlock| other.shape.kind == BlockKind::Routing { layer };
    planned_blocks(plan).find(|(other, _)| is_its(other)).map(|(_, parameters)| parameters)
}

/// Names what a block is opened over: its shape and scale, who is summed with which weight, and for a router the digest of its
/// layer's routing distribution, by which members weigh what they add.
pub fn opening_name(planned: &PlannedBlock, cohort: &[WeightedMember], routing: Option<Digest>) -> Digest {
    digest(Domain::Opening, &[&codec::encode(&(planned.shape, planned.scale, cohort, routing))])
}
