//! Scores that members compute by themselves, from their own training and from what the last round published. No sketch
//! leaves a member.

use cloister_alignment::reference::{ExpertDirections, ExpertScores, align_by_scores, own_score};
use cloister_alignment::score::UNIT;
use cloister_experts::{BlockVectors, LocalResult};
use cloister_params::block::BlockShape;
use cloister_params::plan::ScoringRule;
use cloister_privacy::discrete_gaussian::sample;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::centred_region::{CountedExperts, centred_region};
use crate::seeds::{Purpose, seed_for};
use crate::strategy::{MemberUpdates, StrategyMemory};
use crate::withheld_scores::{WithheldScores, groups_of};

/// In a strategy's memory, the numbers of published updates and of published regions. No member has them.
const UPDATES: usize = usize::MAX;
const REGIONS: usize = usize::MAX - 1;

/// What the last round published of each expert: by block, its update, and the mean of its members' regions.
#[derive(Clone, Debug)]
pub(crate) struct SelfScores {
    config: WithheldScores,
    rule: ScoringRule,
    seed: u64,
    published: StrategyMemory,
}

impl SelfScores {
    pub(crate) fn new(config: WithheldScores, rule: ScoringRule, seed: u64) -> Self {
        Self { config, rule, seed, published: StrategyMemory::new() }
    }

    /// The same with other groups and noise.
    pub(crate) fn with(&self, config: WithheldScores) -> Self {
        Self { config, ..self.clone() }
    }

    /// The scores of the group of an expert. Before anything is published nobody has a score.
    pub(crate) fn scores(&self, block: &BlockShape, updates: &MemberUpdates<'_>) -> ExpertScores {
        let experts: Vec<&BlockShape> =
            updates.global.table().iter().filter(|shape| shape.kind.is_scored()).collect();
        let groups = groups_of(self.config.groups, experts.len());
        let place = experts.iter().position(|shape| shape.id == block.id).unwrap_or_default();
        let group = place * groups / experts.len();
        let in_group =
            experts.iter().enumerate().filter(|(place, _)| place * groups / experts.len() == group);
        let in_group: Vec<&BlockShape> = in_group.map(|(_, shape)| *shape).collect();
        let mut scores = Vec::with_capacity(updates.results.len());
        for (member, result) in updates.results.iter().enumerate() {
            let noise = self.noise(member, group, updates.round);
            scores.push(self.group_score(&in_group, result).map(|score| score + noise));
        }
        align_by_scores(scores, &self.rule)
    }

    /// The noise of a score, the same whenever it is asked for.
    fn noise(&self, member: usize, group: usize, round: usize) -> f64 {
        let purpose = Purpose::ScoreNoise { member, group, round };
        let mut random = ChaCha20Rng::seed_from_u64(seed_for(self.seed, purpose));
        sample((self.config.noise * UNIT as f64) as u32, &mut random) as f64 / UNIT as f64
    }

    /// The mean score of the group's experts that the member uses.
    fn group_score(&self, group: &[&BlockShape], result: &LocalResult) -> Option<f64> {
        if self.published.is_empty() {
            return None;
        }
        let scores: Vec<f64> = group.iter().filter_map(|shape| self.expert_score(shape, result)).collect();
        Some(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
    }

    fn expert_score(&self, shape: &BlockShape, result: &LocalResult) -> Option<f64> {
        let region: Vec<f64> =
            centred_region(shape, result, CountedExperts::Used)?.into_iter().map(f64::from).collect();
        let update: Vec<f64> = result.updates[shape.id].iter().map(|value| f64::from(*value)).collect();
        let trained = ExpertDirections { update: &update, region: &region };
        let known = |number| self.published.get(&(number, shape.id.0)).map_or(&[][..], Vec::as_slice);
        let published = ExpertDirections { update: known(UPDATES), region: known(REGIONS) };
        Some(own_score(trained, published))
    }

    /// Keeps what the round published: each expert's update, and the mean region over everyone.
    pub(crate) fn close_round(
        &mut self,
        before: &BlockVectors,
        after: &BlockVectors,
        updates: &MemberUpdates<'_>,
    ) {
        for ((shape, old), new) in before.iter().zip(after.values()) {
            if !shape.kind.is_scored() {
                continue;
            }
            let moved: Vec<f64> =
                old.iter().zip(new).map(|(old, new)| f64::from(*new) - f64::from(*old)).collect();
            // A block that did not change has the update that was published last.
            if moved.iter().any(|value| *value != 0.0) {
                self.published.insert((UPDATES, shape.id.0), moved);
            }
            let mut sum: Vec<f64> = Vec::new();
            for region in updates
                .results
                .iter()
                .filter_map(|result| centred_region(shape, result, CountedExperts::Used))
            {
                sum.resize(region.len(), 0.0);
                sum.iter_mut().zip(&region).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            self.published.insert((REGIONS, shape.id.0), sum);
        }
    }

    pub(super) fn memory(&self) -> StrategyMemory {
        self.published.clone()
    }

    /// Takes what is its own out of a strategy's memory.
    pub(super) fn recall(&mut self, memory: &mut StrategyMemory) {
        self.published = memory.split_off(&(REGIONS, 0));
    }
}
