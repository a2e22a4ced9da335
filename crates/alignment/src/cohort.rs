//! From scores to cohorts: for each block the members that are summed, with their weights.

use std::collections::BTreeMap;

use cloister_params::block::BlockKind;
use cloister_params::consortium::Consortium;
use cloister_params::id::{BlockId, PartyId};
use cloister_params::plan::{CheckedPlan, Fallback, SharedCohort};

use crate::score::{ExpertSketch, common_direction, consensus};
use crate::statistics::median;

/// What one member announced: a sketch for each expert block.
pub type MemberSketches = BTreeMap<BlockId, ExpertSketch>;

/// A member of a cohort.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CohortMember {
    /// Who.
    pub party: PartyId,
    /// Its integer weight, 1 to 15.
    pub weight: u8,
}

/// How a block came by its cohort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// A block whose cohort is everyone.
    Everyone,
    /// The members that align.
    Aligned,
    /// Too few align, and the plan sums everyone.
    Fallback,
    /// Too few align or announced, and the block is void.
    Void,
}

/// A block's cohort and the scores that it follows from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cohort {
    /// The block.
    pub block: BlockId,
    /// How it was chosen.
    pub choice: Choice,
    /// Its members, ascending; none when void.
    pub members: Vec<CohortMember>,
    /// The consensus of each member that announced, ascending by member; of the shared rest, where a majority decides, how
    /// many experts align the member, and none where no expert knows it. Empty for blocks whose cohort is everyone.
    pub consensus: Vec<Option<u32>>,
}

/// Chooses the cohort of every block (`ALIGN-07` to `ALIGN-10`). A pure function of the plan, the roster and the
/// announced sketches: every custodian and auditor gets the same.
pub fn choose(
    plan: &CheckedPlan,
    roster: &Consortium,
    announced: &BTreeMap<PartyId, MemberSketches>,
) -> Vec<Cohort> {
    let commons = common_directions(plan, announced);
    let scored = plan.settings.blocks.iter().filter_map(|block| match block.shape.kind {
        BlockKind::Expert { layer, .. } => {
            Some((block.shape.id, Scored::new(block.shape.id, &commons[&layer], plan, announced)))
        }
        _ => None,
    });
    let chooser = Chooser { plan, roster, announced, scored: scored.collect() };
    plan.settings.blocks.iter().map(|block| chooser.cohort(block.shape.id, block.shape.kind)).collect()
}

/// The common direction of each layer.
fn common_directions(
    plan: &CheckedPlan,
    announced: &BTreeMap<PartyId, MemberSketches>,
) -> BTreeMap<u16, Vec<i32>> {
    let mut blocks_of_layer: BTreeMap<u16, Vec<BlockId>> = BTreeMap::new();
    for block in &plan.settings.blocks {
        if let BlockKind::Expert { layer, .. } = block.shape.kind {
            blocks_of_layer.entry(layer).or_default().push(block.shape.id);
        }
    }
    let coordinates = usize::from(plan.settings.sketch.coordinates);
    let direction = |blocks: &Vec<BlockId>| {
        let sketches = announced.values().flat_map(|own| blocks.iter().filter_map(|block| own.get(block)));
        common_direction(sketches, &plan.settings.scoring, coordinates)
    };
    blocks_of_layer.iter().map(|(layer, blocks)| (*layer, direction(blocks))).collect()
}

/// What the sketches of one expert say of the members that announced one, ascending.
struct Scored {
    parties: Vec<PartyId>,
    consensus: Vec<Option<u32>>,
    aligned: Vec<PartyId>,
}

impl Scored {
    fn new(
        block: BlockId,
        common: &[i32],
        plan: &CheckedPlan,
        announced: &BTreeMap<PartyId, MemberSketches>,
    ) -> Self {
        let rule = &plan.settings.scoring;
        let own = announced.iter().filter_map(|(party, own)| Some((*party, own.get(&block)?)));
        let (parties, sketches): (Vec<PartyId>, Vec<&ExpertSketch>) = own.unzip();
        let consensus = consensus(&sketches, common, rule).per_member;
        let aligned = aligned(&parties, &consensus, rule.consensus_fraction);
        Self { parties, consensus, aligned }
    }

    /// Whether it has a consensus for this member.
    fn knows(&self, party: PartyId) -> bool {
        let place = self.parties.iter().position(|own| *own == party);
        place.is_some_and(|place| self.consensus[place].is_some())
    }
}

/// Members whose consensus is positive and at least this fraction, in 256ths, of the median consensus (`ALIGN-07`).
fn aligned(parties: &[PartyId], scores: &[Option<u32>], fraction: u16) -> Vec<PartyId> {
    let known: Vec<i64> = scores.iter().flatten().map(|score| i64::from(*score)).collect();
    let least = median(&known) * i64::from(fraction);
    let passes = |score: Option<u32>| score.is_some_and(|score| score > 0 && i64::from(score) * 256 >= least);
    parties.iter().zip(scores).filter(|(_, score)| passes(**score)).map(|(party, _)| *party).collect()
}

struct Chooser<'a> {
    plan: &'a CheckedPlan,
    roster: &'a Consortium,
    announced: &'a BTreeMap<PartyId, MemberSketches>,
    /// Of each expert.
    scored: BTreeMap<BlockId, Scored>,
}

impl Chooser<'_> {
    fn cohort(&self, block: BlockId, kind: BlockKind) -> Cohort {
        match (kind, self.plan.settings.scoring.shared_cohort) {
            (BlockKind::Expert { .. }, _) => {
                let own = &self.scored[&block];
                self.settle(block, own.aligned.clone(), own.consensus.clone())
            }
            (BlockKind::Shared, SharedCohort::Majority) => self.majority(block),
            _ => self.finish(block, Choice::Everyone, self.announced.keys().copied(), Vec::new()),
        }
    }

    /// Those whom more than half of the experts that know them align (`ALIGN-09`).
    fn majority(&self, block: BlockId) -> Cohort {
        let mut votes = Vec::with_capacity(self.announced.len());
        let mut chosen = Vec::new();
        for party in self.announced.keys() {
            let known = self.scored.values().filter(|own| own.knows(*party)).count();
            let aligned = self.scored.values().filter(|own| own.aligned.contains(party)).count();
            votes.push((known > 0).then_some(aligned as u32));
            if 2 * aligned > known {
                chosen.push(*party);
            }
        }
        self.settle(block, chosen, votes)
    }

    /// The chosen members if their organisations reach the plan's floor and slack, the fallback otherwise (`ALIGN-08`).
    fn settle(&self, block: BlockId, chosen: Vec<PartyId>, scores: Vec<Option<u32>>) -> Cohort {
        let enough =
            usize::from(self.plan.settings.cohort_floor) + usize::from(self.plan.settings.scoring.slack);
        if self.roster.organisations(chosen.iter().copied()) >= enough {
            return self.finish(block, Choice::Aligned, chosen.into_iter(), scores);
        }
        match self.plan.settings.scoring.fallback {
            Fallback::Everyone => {
                self.finish(block, Choice::Fallback, self.announced.keys().copied(), scores)
            }
            Fallback::Skip => self.finish(block, Choice::Void, std::iter::empty(), scores),
        }
    }

    /// Gives each member its weight; a cohort below the floor is void (`ALIGN-10`).
    fn finish(
        &self,
        block: BlockId,
        choice: Choice,
        parties: impl Iterator<Item = PartyId> + Clone,
        consensus: Vec<Option<u32>>,
    ) -> Cohort {
        if self.roster.organisations(parties.clone()) < usize::from(self.plan.settings.cohort_floor) {
            return Cohort { block, choice: Choice::Void, members: Vec::new(), consensus };
        }
        let members = parties.map(|party| CohortMember { party, weight: self.weight(party) }).collect();
        Cohort { block, choice, members, consensus }
    }

    fn weight(&self, party: PartyId) -> u8 {
        self.roster.party(party).map_or(1, |entry| entry.weight).min(self.plan.settings.max_weight)
    }
}
