//! Records of which blocks were uploaded and opened from which parameters, over rounds and epochs.
//!
//! From the same parameters a block is opened again only over the same members (`ROUND-30`): training from
//! them repeats itself, so that the difference of two sums would be one member's update. Within an epoch two
//! seals share an honest custodian, and each custodian stores here what it signed. Over epochs custodians
//! change, so each member stores what it uploaded, and gives no block again from parameters of another epoch
//! (`ROUND-38`).

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::consortium::Epoch;
use cloister_crypto::hash::{Domain, digest};
use cloister_params::block::BlockKind;
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, Round};
use cloister_params::per_block::PerBlock;
use cloister_params::plan::{CheckedPlan, PlannedBlock};
use cloister_params::rule;
use cloister_wire::codec;
use cloister_wire::message::Ending;
use cloister_wire::opening::{OpenedBlock, OpeningRecord, UploadedBlock};
use cloister_wire::statement::{Seal2, WeightedMember};

use crate::ending::KnownEnding;
use crate::fault::Misbehaviour;
use crate::model::Model;
use crate::round::RoundContext;
use crate::sealed::{SealedManifest, SummedCohort};

pub use start::StartRefusal;

mod start;

/// What one party stores of one round.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct KeptRound {
    /// The blocks that it uploaded as a member, each with the digest of its parameters.
    uploaded: BTreeMap<BlockId, Digest>,
    opened: BTreeMap<BlockKind, OpenedBlock>,
    ended: Option<KeptEnding>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct KeptEnding {
    digest: Digest,
    model: Digest,
    aborted: bool,
}

/// Everything that one party stores of openings, restored from its records.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OpeningHistory {
    /// By epoch and round.
    rounds: BTreeMap<(Digest, Round), KeptRound>,
    /// Roles in which it may have acted without a record, because its disk was restored from a backup.
    unsettled: BTreeSet<Role>,
    /// Parameters from which it may have uploaded before it was restored.
    forgotten: BTreeSet<Digest>,
    /// The latest epoch that it began.
    epoch: Option<(u32, Digest)>,
}

impl OpeningHistory {
    /// Restores the history from records, in their order.
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
                kept.uploaded.extend(blocks.iter().map(|uploaded| (uploaded.block, uploaded.parameters)));
            }
            OpeningRecord::Sealed { epoch, round, blocks } => {
                let kept = self.rounds.entry((epoch, round)).or_default();
                kept.opened.extend(blocks.into_iter().map(|opened| (opened.kind, opened)));
            }
            OpeningRecord::Ended { epoch, round, ending, model, aborted, dropped } => {
                let kept = self.rounds.entry((epoch, round)).or_default();
                kept.ended = Some(KeptEnding { digest: ending, model, aborted });
                // An aborted round opened nothing, and a closed one did not open the dropped blocks. A sum
                // that was opened and not applied stays, because it is known all the same.
                kept.uploaded.retain(|block, _| !aborted && dropped.binary_search(block).is_err());
                kept.opened.retain(|_, opened| !aborted && dropped.binary_search(&opened.block).is_err());
            }
            OpeningRecord::Restored => self.unsettled.extend([Role::Member, Role::Custodian]),
            OpeningRecord::Forgotten { parameters } => self.forgotten.extend(parameters),
            OpeningRecord::Settled { role } => {
                self.unsettled.remove(&role);
            }
        }
    }

    /// Takes a record, and gives it back if it says anything new.
    fn keep(&mut self, record: OpeningRecord) -> Option<OpeningRecord> {
        let is_new = self.is_new(&record);
        self.take(record.clone());
        is_new.then_some(record)
    }

    /// Whether a record says anything that is not here.
    pub fn is_new(&self, record: &OpeningRecord) -> bool {
        match record {
            OpeningRecord::Began { epoch, number } => self.epoch != Some((*number, *epoch)),
            OpeningRecord::Uploading { epoch, round, blocks } => {
                let kept = self.rounds.get(&(*epoch, *round));
                blocks.iter().any(|uploaded| !kept.is_some_and(|kept| kept.has_uploaded(uploaded)))
            }
            OpeningRecord::Sealed { epoch, round, blocks } => {
                let kept = self.rounds.get(&(*epoch, *round));
                blocks.iter().any(|opened| !kept.is_some_and(|kept| kept.has_opened(opened)))
            }
            OpeningRecord::Ended { epoch, round, .. } => {
                self.rounds.get(&(*epoch, *round)).is_none_or(|kept| kept.ended.is_none())
            }
            // Both roles, since a program can be both; each is settled on its own.
            OpeningRecord::Restored => self.unsettled.len() < 2,
            OpeningRecord::Forgotten { parameters } => {
                parameters.iter().any(|known| !self.forgotten.contains(known))
            }
            OpeningRecord::Settled { role } => self.unsettled.contains(role),
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
        // Read before the record is taken: it lists the blocks that this party stored and the closing did not
        // open.
        let dropped = kept.map(|kept| kept.not_opened(ending)).unwrap_or_default();
        let (ending, model, aborted) = (known.digest, known.model, known.is_abort());
        let record = OpeningRecord::Ended { epoch, round, ending, model, aborted, dropped };
        // The first record stays: an ending that is shown once more changes nothing.
        self.is_new(&record).then(|| {
            self.take(record.clone());
            record
        })
    }

    /// The record that this member is about to upload blocks, if it is not here yet.
    pub(crate) fn uploading(
        &mut self,
        round: &RoundContext,
        blocks: impl IntoIterator<Item = BlockId>,
    ) -> Option<OpeningRecord> {
        if round.plan().settings.rehearsal {
            return None;
        }
        let mut uploaded = Vec::new();
        for block in blocks {
            if let Some(parameters) =
                round.plan().block(block).and_then(|planned| planned_basis(round.plan(), planned))
            {
                uploaded.push(UploadedBlock { block, parameters });
            }
        }
        let (epoch, round) = (round.epoch().digest(), round.round());
        self.keep(OpeningRecord::Uploading { epoch, round, blocks: uploaded })
    }

    /// The record of a second seal, if it is new. A party that stored it may sign the seal and reveal for it.
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

    /// The blocks that were opened from the same parameters in another round of the epoch, under another
    /// name: unless all members of both openings have budgets.
    pub(crate) fn repeated(&self, round: &RoundContext, blocks: &[OpenedBlock]) -> Vec<BlockId> {
        if !rule::in_force("ROUND-30") {
            return Vec::new();
        }
        let (epoch, number) = (round.epoch().digest(), round.round());
        let mut repeated = Vec::new();
        for opened in blocks {
            // Not its own round: the same seal comes again after a lost link.
            let mut others = self.rounds.iter().filter(|(place, _)| place.0 == epoch && place.1 != number);
            let is_repeated = others.any(|(_, kept)| {
                kept.opened.get(&opened.kind).is_some_and(|before| is_another_opening(before, opened))
            });
            if is_repeated {
                repeated.push(opened.block);
            }
        }
        repeated
    }

    /// The blocks that this member does not give to a round, ascending (`ROUND-38`): it uploaded from the
    /// same parameters in another epoch, or may have before it was restored.
    pub(crate) fn closed(&self, round: &RoundContext) -> Vec<BlockId> {
        if !rule::in_force("ROUND-38") || round.plan().settings.rehearsal {
            return Vec::new();
        }
        let epoch = round.epoch().digest();
        let others = self.rounds.iter().filter(|((uploaded_in, _), _)| *uploaded_in != epoch);
        let uploaded = others.flat_map(|(_, kept)| kept.uploaded.values());
        let closed: BTreeSet<&Digest> = uploaded.chain(&self.forgotten).collect();
        // By the digest alone: numbers and kinds may change between epochs.
        let planned = round.plan().settings.blocks.iter();
        let present = planned.filter_map(|block| Some((block.shape.id, planned_basis(round.plan(), block)?)));
        present.filter(|(_, basis)| closed.contains(basis)).map(|(block, _)| block).collect()
    }

    /// From which parameters this member uploaded in other rounds than this, and in how many of them
    /// (`LATE-10`).
    pub(crate) fn rounds_uploaded_from(&self, round: &RoundContext) -> BTreeMap<Digest, u64> {
        let present = (round.epoch().digest(), round.round());
        let mut rounds = BTreeMap::new();
        for (_, kept) in self.rounds.iter().filter(|(place, _)| **place != present) {
            // A set: two blocks with equal parameters, such as zeros, are one round of them.
            for parameters in kept.uploaded.values().collect::<BTreeSet<_>>() {
                *rounds.entry(*parameters).or_default() += 1;
            }
        }
        rounds
    }

    /// The record that this party was restored from a backup, if it is not here yet.
    pub(crate) fn restored(&mut self) -> Option<OpeningRecord> {
        self.keep(OpeningRecord::Restored)
    }

    /// Whether this party may have acted in a role without a record, before it was restored.
    pub(crate) fn is_unsettled(&self, role: Role) -> bool {
        self.unsettled.contains(&role)
    }

    /// The record that a restored party knows all that matters in a role, if that is new.
    pub(crate) fn settled(&mut self, role: Role) -> Option<OpeningRecord> {
        self.keep(OpeningRecord::Settled { role })
    }

    /// The record that a restored member may have uploaded from a plan's parameters, if that is so and not
    /// here yet.
    pub(crate) fn forgotten(&mut self, round: &RoundContext) -> Option<OpeningRecord> {
        let plan = round.plan();
        let parameters =
            plan.settings.blocks.iter().filter_map(|planned| planned_basis(plan, planned)).collect();
        let is_unsettled = self.is_unsettled(Role::Member);
        if is_unsettled { self.keep(OpeningRecord::Forgotten { parameters }) } else { None }
    }

    /// Forgets everything but openings. This is for a coordinator: it stores elsewhere how rounds ended, so
    /// that what stays is what [`OpeningHistory::records`] restores (`ROUND-27`).
    ///
    /// The openings of all rounds stay, as custodians keep them: parameters can return to an earlier value,
    /// and custodians reject a second seal that does not list what is repeated then.
    pub(crate) fn keep_openings_alone(&mut self) {
        self.rounds.values_mut().for_each(|kept| kept.ended = None);
        self.rounds.retain(|_, kept| !kept.opened.is_empty());
    }

    /// The records of the openings that a coordinator keeps.
    pub fn records(&self) -> Vec<OpeningRecord> {
        let mut records = Vec::new();
        for ((epoch, round), kept) in &self.rounds {
            let blocks = kept.opened.values().copied().collect();
            records.push(OpeningRecord::Sealed { epoch: *epoch, round: *round, blocks });
        }
        records
    }
}

impl KeptRound {
    fn has_uploaded(&self, uploaded: &UploadedBlock) -> bool {
        self.uploaded.get(&uploaded.block) == Some(&uploaded.parameters)
    }

    fn has_opened(&self, opened: &OpenedBlock) -> bool {
        self.opened.get(&opened.kind) == Some(opened)
    }

    /// The stored blocks that a closing does not list (`ROUND-30`).
    fn not_opened(&self, ending: &Ending) -> Vec<BlockId> {
        let Ending::Closed { certificate, .. } = ending else { return Vec::new() };
        let Ok(closing) = certificate.parse() else { return Vec::new() };
        let listed: BTreeSet<BlockId> = closing.sums.iter().map(|sum| sum.block).collect();
        let kept: BTreeSet<BlockId> =
            self.uploaded.keys().chain(self.opened.values().map(|opened| &opened.block)).copied().collect();
        kept.difference(&listed).copied().collect()
    }
}

/// Whether a block was opened before from the same parameters over others, and not all members of both
/// openings have budgets. Members' weights of a router do not follow from its parameters, but from the
/// routing distribution.
fn is_another_opening(before: &OpenedBlock, opened: &OpenedBlock) -> bool {
    let both_have_budgets = before.all_have_budgets && opened.all_have_budgets;
    let is_same_routing = opened.routing.is_some() && before.routing == opened.routing;
    let repeats_itself = before.parameters == opened.parameters || is_same_routing;
    // The same members, weights and scale give the same sum again, up to new noise: no difference to take.
    repeats_itself && before.name != opened.name && !both_have_budgets
}

/// What contributions to a block repeat themselves from, given the digest of each block's parameters: the block's
/// parameters, or for an evaluation or regions those of all trained blocks, because the measured model is theirs
/// (`ROUND-40`).
pub fn basis(
    table: &[PlannedBlock],
    parameters: &PerBlock<Digest>,
    planned: &PlannedBlock,
) -> Option<Digest> {
    if !matches!(planned.shape.kind, BlockKind::Evaluation | BlockKind::Regions { .. }) {
        return parameters.get(planned.shape.id).copied();
    }
    let trained = table.iter().filter(|block| block.shape.kind.is_trained());
    let digests: Option<Vec<Digest>> = trained.map(|block| parameters.get(block.shape.id).copied()).collect();
    Some(Model::digest_of_blocks(digests?))
}

fn planned_basis(plan: &CheckedPlan, planned: &PlannedBlock) -> Option<Digest> {
    if !rule::in_force("ROUND-40") {
        return plan.parameters_of(planned.shape.id);
    }
    basis(&plan.settings.blocks, &plan.parameters, planned)
}

/// What a party stores of the valid blocks of a second seal: nothing of a rehearsal.
pub(crate) fn opened_blocks(
    round: &RoundContext,
    sealed: &SealedManifest,
    cohorts: &[SummedCohort],
) -> Vec<OpenedBlock> {
    let (plan, announcements) = (round.plan(), sealed.manifest().announcements());
    let mut opened = Vec::new();
    if plan.settings.rehearsal {
        return opened;
    }
    for cohort in cohorts {
        let block = cohort.block();
        let (planned, parameters) = plan
            .block(block)
            .and_then(|planned| Some((planned, planned_basis(plan, planned)?)))
            .expect("plan and manifest were checked to have the same blocks");
        let (kind, routing) = (planned.shape.kind, routing_parameters(plan, planned));
        let name = opening_name(planned, cohort.weighted(), routing);
        let all_have_budgets = cohort
            .members()
            .all(|member| announcements.get(&member).is_some_and(|known| known.body().has_budget));
        opened.push(OpenedBlock { block, kind, parameters, routing, name, all_have_budgets });
    }
    opened
}

/// The digest of the routing distribution by which members weigh their updates of a router (`ALIGN-11`).
fn routing_parameters(plan: &CheckedPlan, planned: &PlannedBlock) -> Option<Digest> {
    let BlockKind::Router { layer } = planned.shape.kind else { return None };
    let mut blocks = plan.settings.blocks.iter();
    let routing = blocks.find(|other| other.shape.kind == BlockKind::Routing { layer })?;
    plan.parameters_of(routing.shape.id)
}

/// Names what a block is opened over: its shape and scale, who is summed with which weight, and for a router
/// the digest of its layer's routing distribution, by which members weigh what they add.
pub fn opening_name(planned: &PlannedBlock, cohort: &[WeightedMember], routing: Option<Digest>) -> Digest {
    digest(Domain::Opening, &[&codec::encode(&(planned.shape, planned.scale, cohort, routing))])
}
