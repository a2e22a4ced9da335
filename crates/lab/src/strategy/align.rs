//! FedAlign-MoE and its ablations.

use cloister_alignment::consistency;
use cloister_alignment::reference::{
    ExpertScores, TrainedExpert, common_direction, majority, score, soft_weights,
};
use cloister_experts::{BlockVectors, LocalResult, LocalTraining};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::plan::{ScoringRule, SharedCohort};

use super::personal::OwnRouters;
use super::{MemberUpdates, Strategy, StrategyMemory, base};
use crate::config::{self, CohortRule, ConsistencyOf, Signal};
use crate::partition::shuffled;

/// FedAlign-MoE (Fang et al., arXiv 2603.21276), in the form of `protocols/alignment.md` or an ablation of it.
pub(super) struct FedAlignMoE {
    pub(super) settings: config::StrategyConfig,
    pub(super) rule: ScoringRule,
    pub(super) seed: u64,
    /// Routers that stay with their members, where the gate is local.
    pub(super) own_routers: Option<OwnRouters>,
}

impl FedAlignMoE {
    fn scores(&self, roles: &[TrainedExpert], layer: u16, updates: &MemberUpdates<'_>) -> ExpertScores {
        let of_layer = updates.global.table().iter().filter_map(|shape| match shape.kind {
            BlockKind::Expert { layer: own, expert } if own == layer => {
                Some(updates.roles(shape, layer, expert))
            }
            _ => None,
        });
        let all: Vec<TrainedExpert> = of_layer.flatten().filter(|role| !role.region.is_empty()).collect();
        score(roles, &common_direction(all.iter(), &self.rule), &self.rule, self.settings.signal.gate())
    }

    fn expert_shares(
        &self,
        block: &BlockShape,
        layer: u16,
        expert: u16,
        updates: &MemberUpdates<'_>,
    ) -> Vec<f64> {
        let roles = updates.roles(block, layer, expert);
        let scores = self.scores(&roles, layer, updates);
        let everyone = vec![true; roles.len()];
        let cohort = match self.settings.cohorts {
            CohortRule::Soft => return soft_weights(&roles, &scores),
            CohortRule::Everyone => everyone,
            CohortRule::Aligned => scores.aligned,
            CohortRule::Random => self.random(&scores.aligned, block, updates.round),
            CohortRule::Complementary => complementary(&scores),
        };
        shares_of(&cohort, updates)
    }

    /// The scores of a block that is an expert.
    fn scores_of(&self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Option<ExpertScores> {
        match block.kind {
            BlockKind::Expert { layer, expert } => {
                Some(self.scores(&updates.roles(block, layer, expert), layer, updates))
            }
            _ => None,
        }
    }

    /// Shares of the head by those whom most experts align (`ALIGN-09`).
    fn majority_shares(&self, updates: &MemberUpdates<'_>) -> Vec<f64> {
        let blocks = updates.global.table().iter();
        let scores: Vec<ExpertScores> = blocks.filter_map(|block| self.scores_of(block, updates)).collect();
        shares_of(&majority(&scores), updates)
    }

    /// As many members as align, drawn for each block and round.
    fn random(&self, aligned: &[bool], block: &BlockShape, round: usize) -> Vec<bool> {
        let seed = self.seed ^ (u64::from(block.id.0) << 32) ^ round as u64;
        let count = aligned.iter().filter(|is_in| **is_in).count();
        let drawn: Vec<usize> =
            shuffled((0..aligned.len()).collect(), seed).into_iter().take(count).collect();
        (0..aligned.len()).map(|member| drawn.contains(&member)).collect()
    }

    /// Members' routers by texts and consistency, divided by the sum of consistency weights (`ALIGN-12`).
    fn router_shares(&self, layer: u16, updates: &MemberUpdates<'_>) -> Vec<f64> {
        let of = |own| consistency_of(own, layer, updates.global, self.settings.consistency_of);
        let weights: Vec<f64> = updates.results.iter().map(of).collect();
        let total: f64 = weights.iter().sum();
        updates.sizes.iter().zip(&weights).map(|(size, weight)| size * weight / total).collect()
    }
}

/// The shares of a cohort's members by their texts. As in the protocol, a cohort below the floor falls back to everyone.
fn shares_of(cohort: &[bool], updates: &MemberUpdates<'_>) -> Vec<f64> {
    let members = cohort.iter().filter(|is_in| **is_in).count();
    let floor =
        cloister_params::floors::Floors::for_roster(cohort.len(), cohort.len()).map_or(1, |f| f.cohort);
    if members < floor {
        return updates.by_texts();
    }
    let share = |(size, is_in): (&f64, &bool)| if *is_in { size / members as f64 } else { 0.0 };
    updates.sizes.iter().zip(cohort).map(share).collect()
}

/// As many members as align, but those that agree least with the others.
fn complementary(scores: &ExpertScores) -> Vec<bool> {
    let count = scores.aligned.iter().filter(|is_in| **is_in).count();
    let known = scores.consensus.iter().enumerate();
    let mut known: Vec<(f64, usize)> = known.filter_map(|(member, sum)| Some(((*sum)?, member))).collect();
    known.sort_by(|one, other| one.0.total_cmp(&other.0));
    let least: Vec<usize> = known.into_iter().take(count).map(|(_, member)| member).collect();
    (0..scores.aligned.len()).map(|member| least.contains(&member)).collect()
}

/// The consistency weight `omega` of a member's router (`ALIGN-11`), or what is left of it without margins (all of them 1)
/// or without overlap (the member's distribution is the published one).
pub(super) fn consistency_of(own: &LocalResult, layer: u16, global: &BlockVectors, of: ConsistencyOf) -> f64 {
    let routing = BlockKind::Routing { layer };
    let distribution = own.updates.get(routing).unwrap_or_default();
    let published = global.get(routing).unwrap_or_default();
    let margins = &own.margins[usize::from(layer)];
    f64::from(match of {
        ConsistencyOf::Both => consistency::weight(distribution, published, margins),
        ConsistencyOf::Overlap => consistency::weight(distribution, published, &vec![1.0; margins.len()]),
        ConsistencyOf::Margin => consistency::weight(published, published, margins),
    })
}

impl Strategy for FedAlignMoE {
    fn training(&self, settings: &config::StrategyConfig) -> LocalTraining {
        LocalTraining { region_form: settings.region_form, ..base(settings) }
    }

    fn start(&self, member: usize, global: &BlockVectors) -> BlockVectors {
        self.own_routers.as_ref().map_or_else(|| global.clone(), |own| own.start(member, global))
    }

    fn keep(&mut self, member: usize, start: &BlockVectors, updates: &BlockVectors) {
        if let Some(own) = &mut self.own_routers {
            own.keep(member, start, updates);
        }
    }

    fn memory(&self) -> StrategyMemory {
        self.own_routers.as_ref().map_or_else(StrategyMemory::new, OwnRouters::memory)
    }

    fn recall(&mut self, memory: StrategyMemory) {
        if let Some(own) = &mut self.own_routers {
            own.recall(memory);
        }
    }

    fn is_personal(&self) -> bool {
        self.own_routers.is_some()
    }

    fn keeps_routers(&self) -> bool {
        self.own_routers.as_ref().is_some_and(OwnRouters::keeps_routers)
    }

    fn consensus(&self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<Option<f64>> {
        self.scores_of(block, updates).map_or_else(Vec::new, |scores| scores.consensus)
    }

    fn shares(&mut self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        match block.kind {
            BlockKind::Expert { layer, expert } => self.expert_shares(block, layer, expert, updates),
            BlockKind::Router { .. } if self.keeps_routers() => updates.nobody(),
            BlockKind::Router { layer } if self.settings.consistency => self.router_shares(layer, updates),
            BlockKind::Shared if self.rule.shared_cohort == SharedCohort::Majority => {
                self.majority_shares(updates)
            }
            _ => updates.by_texts(),
        }
    }

    fn aligns(&self) -> bool {
        self.settings.cohorts == CohortRule::Aligned && self.settings.signal == Signal::Both
    }

    fn weighs_consistency(&self) -> bool {
        self.settings.consistency
    }
}
