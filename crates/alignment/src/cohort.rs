//! From scores to cohorts: for each block the members that are summed, with their weights.

use std::collections::BTreeMap;

use cloister_params::block::BlockKind;
use cloister_params::consortium::Consortium;
use cloister_params::id::{BlockId, PartyId};
use cloister_params::plan::{CheckedPlan, Fallback, SharedCohort, SketchForm};

use crate::score::{ExpertSketch, common_direction, consensus};
use crate::scores::score_consensus;
use crate::signs::sign_consensus;
use crate::statistics::median;

/// What one member announced: a sketch for each expert block, or a score for each group, under its first block.
pub type MemberSketches = BTreeMap<BlockId, ExpertSketch>;

/// A member of a cohort, as the manifest lists it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CohortMember {
    /// The member's number.
    pub party: PartyId,
    /// The member's weight in the sum, 1 to 15.
    pub weight: u8,
}

/// How a block's cohort was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The block is not scored, or no score decides (`ALIGN-17`): its cohort is everyone.
    Everyone,
    /// The cohort is the members that align.
    Aligned,
    /// Too few members align, and the plan sums everyone.
    Fallback,
    /// Too few members align or announced, and the block stays masked.
    Void,
}

/// A block's cohort, and the scores from which it follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cohort {
    /// The block.
    pub block: BlockId,
    /// How the cohort was chosen.
    pub choice: Choice,
    /// The cohort's members, in ascending order; none if the block is void.
    pub members: Vec<CohortMember>,
    /// The scores of the members that announced, in ascending order of members.
    ///
    /// For an expert, a score is the consensus in units of 2⁻¹⁴, and `None` for a member without one. For the
    /// shared parameters, if a majority decides, it is the number of experts that align the member, and `None`
    /// if no expert has a consensus for it. Empty for a block that is not scored.
    pub consensus: Vec<Option<u32>>,
}

/// Chooses the cohort of every block (`ALIGN-07` to `ALIGN-10`). It is a pure function of the plan, the
/// roster and the announced sketches, so that every custodian and auditor gets the same cohorts.
pub fn choose(
    plan: &CheckedPlan,
    roster: &Consortium,
    announced: &BTreeMap<PartyId, MemberSketches>,
) -> Vec<Cohort> {
    // All experts are scored first, because a majority of them may decide about the shared parameters.
    let commons = common_directions(plan, announced);
    let mut scored = BTreeMap::new();
    for group in plan.settings.announced_groups() {
        for block in &group {
            scored.insert(*block, Scored::new((*block, group[0]), &commons, plan, announced));
        }
    }
    let chooser = Chooser { plan, roster, announced, scored };
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
    let mut directions = BTreeMap::new();
    for (layer, blocks) in blocks_of_layer {
        let sketches = announced
            .values()
            .flat_map(|member_sketches| blocks.iter().filter_map(|block| member_sketches.get(block)));
        directions.insert(layer, common_direction(sketches, &plan.settings.scoring, coordinates));
    }
    directions
}

/// The scores of one expert block, and who is aligned by them.
struct Scored {
    /// The members that announced a sketch of the expert, in ascending order.
    parties: Vec<PartyId>,
    /// Their consensus, in the same order.
    consensus: Vec<Option<u32>>,
    aligned: Vec<PartyId>,
    /// Whether sketches are withheld and no score is above 0, so that everybody counts as aligned (`ALIGN-17`).
    is_undecided: bool,
}

impl Scored {
    /// Scores an expert by what was announced under the first block of its group.
    fn new(
        (block, first): (BlockId, BlockId),
        commons: &BTreeMap<u16, Vec<i32>>,
        plan: &CheckedPlan,
        announced: &BTreeMap<PartyId, MemberSketches>,
    ) -> Self {
        let rule = &plan.settings.scoring;
        let (mut parties, mut sketches) = (Vec::new(), Vec::new());
        for (party, member_sketches) in announced {
            if let Some(sketch) = member_sketches.get(&first) {
                parties.push(*party);
                sketches.push(sketch);
            }
        }
        let common = match plan.block(block).map(|planned| planned.shape.kind) {
            Some(BlockKind::Expert { layer, .. }) => commons[&layer].as_slice(),
            _ => &[],
        };
        let consensus = match rule.sketches {
            SketchForm::Pairs => consensus(&sketches, common, rule),
            SketchForm::Signs => {
                sign_consensus(&sketches, rule.minimum_tokens, plan.settings.sketch.coordinates)
            }
            SketchForm::Withheld => score_consensus(&sketches),
        }
        .per_member;
        let mut aligned = aligned(&parties, &consensus, rule.consensus_fraction);
        let withheld = rule.sketches == SketchForm::Withheld;
        // ALIGN-17
        let is_undecided = withheld && consensus.iter().flatten().all(|score| *score == 0);
        if withheld {
            let unscored =
                parties.iter().zip(&consensus).filter(|(_, score)| score.is_none() || is_undecided);
            aligned.extend(unscored.map(|(party, _)| *party));
            aligned.sort_unstable();
        }
        Self { parties, consensus, aligned, is_undecided }
    }

    /// Whether the expert has a consensus for this member.
    fn knows(&self, party: PartyId) -> bool {
        let place = self.parties.iter().position(|announcer| *announcer == party);
        place.is_some_and(|place| self.consensus[place].is_some())
    }
}

/// Members whose consensus is positive and at least this fraction, in 256ths, of the median consensus
/// (`ALIGN-07`).
fn aligned(parties: &[PartyId], scores: &[Option<u32>], fraction: u16) -> Vec<PartyId> {
    let known: Vec<i64> = scores.iter().flatten().map(|score| i64::from(*score)).collect();
    // Both sides are multiplied by 256 instead of dividing the fraction, so that nothing is rounded.
    let least = median(&known) * i64::from(fraction);
    let mut aligned = Vec::new();
    for (party, score) in parties.iter().zip(scores) {
        if score.is_some_and(|score| score > 0 && i64::from(score) * 256 >= least) {
            aligned.push(*party);
        }
    }
    aligned
}

/// The inputs of the choice of all cohorts, with the scores that all blocks need.
struct Chooser<'a> {
    plan: &'a CheckedPlan,
    roster: &'a Consortium,
    announced: &'a BTreeMap<PartyId, MemberSketches>,
    /// The scores of each expert.
    scored: BTreeMap<BlockId, Scored>,
}

impl Chooser<'_> {
    fn cohort(&self, block: BlockId, kind: BlockKind) -> Cohort {
        match (kind, self.plan.settings.scoring.shared_cohort) {
            (BlockKind::Expert { .. }, _) => {
                let expert = &self.scored[&block];
                if expert.is_undecided {
                    return self.everyone(block, expert.consensus.clone());
                }
                self.with_fallback(block, expert.aligned.clone(), expert.consensus.clone())
            }
            (BlockKind::Shared, SharedCohort::Majority) => self.majority(block),
            _ => self.everyone(block, Vec::new()),
        }
    }

    fn everyone(&self, block: BlockId, scores: Vec<Option<u32>>) -> Cohort {
        self.weighted(block, Choice::Everyone, self.announced.keys().copied(), scores)
    }

    /// The members that more than half of the experts with a consensus for them align (`ALIGN-09`).
    fn majority(&self, block: BlockId) -> Cohort {
        let mut votes = Vec::with_capacity(self.announced.len());
        let mut chosen = Vec::new();
        for party in self.announced.keys() {
            let known = self.scored.values().filter(|expert| expert.knows(*party)).count();
            let aligned = self.scored.values().filter(|expert| expert.aligned.contains(party)).count();
            votes.push((known > 0).then_some(aligned as u32));
            // A member for which no expert has a consensus has no majority either: 0 is not above 0.
            if 2 * aligned > known {
                chosen.push(*party);
            }
        }
        if self.scored.values().all(|expert| expert.is_undecided) && !self.scored.is_empty() {
            return self.everyone(block, votes);
        }
        self.with_fallback(block, chosen, votes)
    }

    /// The chosen members if their organisations reach the plan's floor and slack, otherwise the fallback
    /// (`ALIGN-08`).
    fn with_fallback(&self, block: BlockId, chosen: Vec<PartyId>, scores: Vec<Option<u32>>) -> Cohort {
        let enough =
            usize::from(self.plan.settings.cohort_floor) + usize::from(self.plan.settings.scoring.slack);
        if self.roster.organisations(chosen.iter().copied()) >= enough {
            return self.weighted(block, Choice::Aligned, chosen.into_iter(), scores);
        }
        match self.plan.settings.scoring.fallback {
            Fallback::Everyone => {
                self.weighted(block, Choice::Fallback, self.announced.keys().copied(), scores)
            }
            // An empty cohort is below every floor.
            Fallback::Skip => self.weighted(block, Choice::Void, std::iter::empty(), scores),
        }
    }

    /// The cohort of these members, each with its weight. A cohort below the floor is void (`ALIGN-10`).
    fn weighted(
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

    /// The consortium file's weight, cut to the plan's largest.
    fn weight(&self, party: PartyId) -> u8 {
        self.roster.party(party).map_or(1, |entry| entry.weight).min(self.plan.settings.max_weight)
    }
}
