//! FedAlign-MoE and its ablations.

mod cohorts;
mod settings;
mod signs;
mod withheld;

use cloister_alignment::consistency;
use cloister_alignment::reference::{
    ExpertScores, TrainedExpert, common_direction, majority, score, score_signs,
};
use cloister_experts::{BlockVectors, LocalResult, LocalTraining};
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::plan::{ScoringRule, SharedCohort, SketchForm, SketchPlan};

use super::personal_routers::PersonalRouters;
use super::{
    MemberUpdates, RunConditions, RunScoring, Strategy, StrategyMemory, StrategySettings, local_training,
};
use crate::training::MemberTrainingConfig;
pub use cohorts::CohortRule;
use cohorts::{ScoredExpert, shares_of_cohort};
pub use settings::{ConsistencyOf, FedAlignMoE, RouterRule, Signal};
use signs::signs_of;
pub(crate) use withheld::SelfScores;

impl StrategySettings for FedAlignMoE {
    fn start(&self, scoring: &RunScoring, seed: u64) -> Box<dyn Strategy> {
        let is_local = self.routers == RouterRule::Local;
        let local_routers = is_local.then(|| PersonalRouters::with_personal_part(1.0));
        let RunScoring { rule, sketch, withheld } = *scoring;
        let withheld = SelfScores::new(withheld, rule, seed);
        Box::new(Alignment { settings: self.clone(), rule, sketch, withheld, seed, local_routers })
    }

    fn scores_members(&self) -> bool {
        true
    }

    fn has_cohorts_for_the_head(&self, conditions: RunConditions) -> bool {
        // Behind masks `everyone` is planned as a slack that no cohort reaches, and the slack holds for the
        // head as well.
        !(conditions.secure && self.cohorts == CohortRule::Everyone)
    }

    fn training(&self, config: &MemberTrainingConfig) -> LocalTraining {
        LocalTraining {
            routing_penalty: self.routing_penalty,
            routing_form: self.routing_form,
            region_form: self.region_form,
            ..local_training(config)
        }
    }

    fn check(&self, conditions: RunConditions) -> Result<(), String> {
        let for_texts = !conditions.is_causal && !conditions.is_private;
        if !self.region_form.is_mean() && !for_texts {
            return Err(
                "`strategy.region_form` other than \"mean\" is for models that classify texts, without \
                        `strategy.private`"
                    .to_owned(),
            );
        }
        if self.signal != Signal::Both && !conditions.compares_pairs {
            return Err(
                "`strategy.signal` other than \"both\" needs `scoring.sketches = \"Pairs\"`".to_owned()
            );
        }
        let rule_in_clear = !matches!(self.cohorts, CohortRule::Aligned | CohortRule::Everyone);
        let weights_in_clear =
            matches!(self.routers, RouterRule::Weighted(ConsistencyOf::Overlap | ConsistencyOf::Margin));
        if conditions.secure && (rule_in_clear || weights_in_clear || self.signal != Signal::Both) {
            return Err("`strategy.cohorts`, `strategy.signal` and `strategy.consistency_of` other than the defaults \
                        exist in the clear alone; set `secure = false`"
                .to_owned());
        }
        Ok(())
    }
}

/// FedAlign-MoE's state over the rounds of one seed.
struct Alignment {
    settings: FedAlignMoE,
    rule: ScoringRule,
    /// How signs are made.
    sketch: SketchPlan,
    /// What members score themselves against; nothing if sketches leave them.
    withheld: SelfScores,
    /// The seed of the run, which random cohorts follow.
    seed: u64,
    /// Routers that stay with their members, if the gate is local.
    local_routers: Option<PersonalRouters>,
}

impl Alignment {
    /// The scores of one expert's members, as the plan's form of sketches has them.
    fn scores(
        &self,
        block: &BlockShape,
        roles: &[TrainedExpert],
        layer: u16,
        updates: &MemberUpdates<'_>,
    ) -> ExpertScores {
        match self.rule.sketches {
            SketchForm::Withheld => self.withheld.scores(block, updates),
            SketchForm::Pairs => self.scores_of_pairs(roles, layer, updates),
            SketchForm::Signs => {
                let members = updates.results.iter();
                let signs: Vec<Option<Vec<f64>>> =
                    members.map(|result| signs_of(block, result, &self.rule, &self.sketch)).collect();
                score_signs(&signs, &self.rule)
            }
        }
    }

    /// Scores by pairs. All experts of a layer have one common direction.
    fn scores_of_pairs(
        &self,
        roles: &[TrainedExpert],
        layer: u16,
        updates: &MemberUpdates<'_>,
    ) -> ExpertScores {
        let mut layer_experts: Vec<TrainedExpert> = Vec::new();
        for shape in updates.global.table() {
            match shape.kind {
                BlockKind::Expert { layer: other, expert } if other == layer => {
                    layer_experts.extend(updates.roles(shape, layer, expert));
                }
                _ => {}
            }
        }
        // A member that routed no token to an expert knows no region of it.
        layer_experts.retain(|role| !role.region.is_empty());
        let common = common_direction(layer_experts.iter(), &self.rule);
        score(roles, &common, &self.rule, self.settings.signal.gate())
    }

    /// The scores of a block; `None` for a block that is not an expert, because only experts are scored.
    fn scores_of(&self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Option<ExpertScores> {
        match block.kind {
            BlockKind::Expert { layer, expert } => {
                Some(self.scores(block, &updates.roles(block, layer, expert), layer, updates))
            }
            _ => None,
        }
    }

    fn expert_shares(
        &self,
        block: &BlockShape,
        layer: u16,
        expert: u16,
        updates: &MemberUpdates<'_>,
    ) -> Vec<f64> {
        let roles = updates.roles(block, layer, expert);
        let scores = self.scores(block, &roles, layer, updates);
        let scored = ScoredExpert { block: block.id, roles: &roles, scores, updates, seed: self.seed };
        self.settings.cohorts.shares(&scored)
    }

    /// Shares of the head by the members that most experts align (`ALIGN-09`).
    fn majority_shares(&self, updates: &MemberUpdates<'_>) -> Vec<f64> {
        let blocks = updates.global.table().iter();
        let scores: Vec<ExpertScores> = blocks.filter_map(|block| self.scores_of(block, updates)).collect();
        shares_of_cohort(&majority(&scores), updates)
    }

    /// Members' routers by texts and consistency, divided by the sum of consistency weights (`ALIGN-12`).
    fn router_shares(&self, layer: u16, what: ConsistencyOf, updates: &MemberUpdates<'_>) -> Vec<f64> {
        let results = updates.results.iter();
        let weights: Vec<f64> =
            results.map(|result| consistency_weight(result, layer, updates.global, what)).collect();
        let total: f64 = weights.iter().sum();
        // Not divided by the total of sizes too: the protocol divides by the opened sum of weights alone.
        updates.sizes.iter().zip(&weights).map(|(size, weight)| size * weight / total).collect()
    }
}

/// The consistency weight `omega` of a member's router (`ALIGN-11`). As an ablation it counts overlap alone
/// (all margins are 1) or margins alone (the member's distribution is the published one).
pub(super) fn consistency_weight(
    result: &LocalResult,
    layer: u16,
    global: &BlockVectors,
    what: ConsistencyOf,
) -> f64 {
    let routing = BlockKind::Routing { layer };
    let distribution = result.updates.get(routing).unwrap_or_default();
    let published = global.get(routing).unwrap_or_default();
    let margins = &result.margins[usize::from(layer)];
    f64::from(match what {
        ConsistencyOf::Both => consistency::weight(distribution, published, margins),
        ConsistencyOf::Overlap => consistency::weight(distribution, published, &vec![1.0; margins.len()]),
        ConsistencyOf::Margin => consistency::weight(published, published, margins),
    })
}

impl Strategy for Alignment {
    fn start(&self, member: usize, global: &BlockVectors) -> BlockVectors {
        match &self.local_routers {
            Some(routers) => routers.start(member, global),
            None => global.clone(),
        }
    }

    fn keep(&mut self, member: usize, start: &BlockVectors, updates: &BlockVectors) {
        if let Some(routers) = &mut self.local_routers {
            routers.keep(member, start, updates);
        }
    }

    fn memory(&self) -> StrategyMemory {
        let mut memory =
            self.local_routers.as_ref().map_or_else(StrategyMemory::new, PersonalRouters::memory);
        memory.extend(self.withheld.memory());
        memory
    }

    fn recall(&mut self, mut memory: StrategyMemory) {
        self.withheld.recall(&mut memory);
        if let Some(routers) = &mut self.local_routers {
            routers.recall(memory);
        }
    }

    fn close_round(&mut self, before: &BlockVectors, after: &BlockVectors, updates: &MemberUpdates<'_>) {
        if self.rule.sketches == SketchForm::Withheld {
            self.withheld.close_round(before, after, updates);
        }
    }

    fn is_personal(&self) -> bool {
        self.local_routers.is_some()
    }

    fn keeps_routers(&self) -> bool {
        self.local_routers.is_some()
    }

    fn consensus(&self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<Option<f64>> {
        self.scores_of(block, updates).map_or_else(Vec::new, |scores| scores.consensus)
    }

    fn shares(&mut self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        match (block.kind, self.settings.routers) {
            (BlockKind::Expert { layer, expert }, _) => self.expert_shares(block, layer, expert, updates),
            (BlockKind::Router { .. }, RouterRule::Local) => updates.none(),
            (BlockKind::Router { layer }, RouterRule::Weighted(what)) => {
                self.router_shares(layer, what, updates)
            }
            // The head may follow the majority although experts are summed over everyone: an ablation that
            // only the clear has.
            (BlockKind::Shared, _) if self.rule.shared_cohort == SharedCohort::Majority => {
                self.majority_shares(updates)
            }
            _ => updates.by_texts(),
        }
    }

    fn aligns(&self) -> bool {
        self.settings.cohorts == CohortRule::Aligned && self.settings.signal == Signal::Both
    }

    fn weighs_consistency(&self) -> bool {
        self.settings.routers != RouterRule::Averaged
    }
}
