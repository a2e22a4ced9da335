//! From scores to cohorts: for each block the members that are summed, with their weights.

use std::collections::BTreeMap;

use cloister_params::block::BlockKind;
use cloister_params::consortium::Consortium;
use cloister_params::id::{BlockId, PartyId};
use cloister_params::plan::{CheckedPlan, Fallback};

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
    /// The consensus of each member that announced, ascending by member; empty for blocks that are not scored.
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
    let chooser = Chooser { plan, roster, announced, commons };
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

struct Chooser<'a> {
    plan: &'a CheckedPlan,
    roster: &'a Consortium,
    announced: &'a BTreeMap<PartyId, MemberSketches>,
    commons: BTreeMap<u16, Vec<i32>>,
}

impl Chooser<'_> {
    fn cohort(&self, block: BlockId, kind: BlockKind) -> Cohort {
        match kind {
            BlockKind::Expert { layer, .. } => self.scored(block, &self.commons[&layer]),
            _ => self.finish(block, Choice::Everyone, self.announced.keys().copied(), Vec::new()),
        }
    }

    fn scored(&self, block: BlockId, common: &[i32]) -> Cohort {
        let parties: Vec<PartyId> = self
            .announced
            .iter()
            .filter(|(_, own)| own.contains_key(&block))
            .map(|(party, _)| *party)
            .collect();
        let sketches: Vec<&ExpertSketch> =
            parties.iter().map(|party| &self.announced[party][&block]).collect();
        let scores = consensus(&sketches, common, &self.plan.settings.scoring).of_member;
        let aligned = self.aligned(&parties, &scores);
        let enough =
            usize::from(self.plan.settings.cohort_floor) + usize::from(self.plan.settings.scoring.slack);
        if self.roster.organisations(aligned.iter().copied()) >= enough {
            return self.finish(block, Choice::Aligned, aligned.into_iter(), scores);
        }
        match self.plan.settings.scoring.fallback {
            Fallback::Everyone => {
                self.finish(block, Choice::Fallback, self.announced.keys().copied(), scores)
            }
            Fallback::Skip => self.finish(block, Choice::Void, std::iter::empty(), scores),
        }
    }

    /// Members whose consensus is positive and at least the plan's fraction of the median consensus.
    fn aligned(&self, parties: &[PartyId], scores: &[Option<u32>]) -> Vec<PartyId> {
        let known: Vec<i64> = scores.iter().flatten().map(|score| i64::from(*score)).collect();
        let least = median(&known) * i64::from(self.plan.settings.scoring.consensus_fraction);
        let passes =
            |score: Option<u32>| score.is_some_and(|score| score > 0 && i64::from(score) * 256 >= least);
        parties.iter().zip(scores).filter(|(_, score)| passes(**score)).map(|(party, _)| *party).collect()
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
