//! Strategies of federated training: what members start from, how they train, and how their updates are combined.
//!
//! A strategy is a module of this folder and a line of the list below. The module has the strategy's settings, as
//! configuration files spell them ([`StrategySettings`]), and the strategy at work over the rounds of one seed
//! ([`Strategy`]). The latter decides with which share each member's update enters each block ([`Strategy::shares`]).
//! Strategies that use only sums also run behind masks. There the protocol sums, and shares are not asked for.

use std::collections::BTreeMap;
use std::fmt::Debug;

use cloister_alignment::reference::TrainedExpert;
use cloister_experts::{BlockVectors, Frozen, LocalResult, LocalTraining};
use cloister_params::block::BlockShape;
use cloister_params::plan::{ScoringRule, SketchPlan};

use crate::training::MemberTrainingConfig;
use crate::withheld_scores::WithheldScores;

mod centralised;
mod fedadam;
mod fedalign;
mod fedavg;
mod fedmoe;
mod fedprox;
mod frozen_router;
mod head;
mod local_only;
mod local_routers;
mod personal_routers;
mod pflmoe;
mod registry;

registry::strategies! {
    /// The head from sums, and no training: the default, because nothing that was trained under label skew was above
    /// it by more than the spread over seeds (`crates/lab/experiments`).
    Head => head::HeadAlone,
    /// All texts at one place: the upper bound.
    Centralised => centralised::Centralised,
    /// Each member alone: the lower bound.
    LocalOnly => local_only::LocalOnly,
    /// The mean of the updates, by texts (McMahan et al. 2017).
    FedAvg => fedavg::FedAvg,
    /// FedAvg with a proximal term (Li et al. 2020).
    FedProx => fedprox::FedProx,
    /// FedAvg with Adam at the server (Reddi et al. 2021).
    FedAdam => fedadam::FedAdam,
    /// FedAvg whose routers stay at their initial values.
    FrozenRouter => frozen_router::FrozenRouter,
    /// FedAvg of all but the routers, which stay with their members (as in FLEx, arXiv 2506.00965).
    LocalRouters => local_routers::LocalRouters,
    /// Experts by the tokens that each member routed to them (as in FedMoE, arXiv 2408.11304).
    FedMoE => fedmoe::FedMoE,
    /// Members use the mean of their own and the common router (as in PFL-MoE).
    PflMoE => pflmoe::PflMoE,
    /// FedAlign-MoE (Fang et al., arXiv 2603.21276).
    FedAlignMoE => fedalign::FedAlignMoE,
}

pub use fedadam::FedAdam;
pub(crate) use fedalign::SelfScores;
pub use fedalign::{CohortRule, ConsistencyOf, FedAlignMoE, RouterRule, Signal};
pub use fedprox::FedProx;

/// How the members of a run are scored.
#[derive(Clone, Copy, Debug)]
pub struct RunScoring {
    /// The rule of the run's plans.
    pub rule: ScoringRule,
    /// How its sketches are made.
    pub sketch: SketchPlan,
    /// How members score themselves, if no sketch leaves them.
    pub withheld: WithheldScores,
}

/// What a strategy has to be compatible with ([`StrategySettings::check`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunConditions {
    /// Whether rounds go through the protocol's state machines, which show sums alone.
    pub secure: bool,
    /// Whether the model is a causal one, which answers questions.
    pub is_causal: bool,
    /// Whether members train with DP-SGD.
    pub is_private: bool,
    /// Whether scores compare pairs of members.
    pub compares_pairs: bool,
}

/// The settings of a strategy. Their serde names are the keys of `[strategy]` in configuration files.
pub trait StrategySettings: Debug {
    /// The strategy at work, for all rounds of a run with this seed. `scoring` says how members are
    /// scored.
    fn start(&self, scoring: &RunScoring, seed: u64) -> Box<dyn Strategy>;

    /// Whether it trains at all.
    fn trains(&self) -> bool {
        true
    }

    /// Whether one member has all of the data.
    fn pools_data(&self) -> bool {
        false
    }

    /// Whether it scores members, so that results name cohorts and consensus.
    fn scores_members(&self) -> bool {
        false
    }

    /// Whether it chooses cohorts of experts that a majority of them can decide the head's cohort (`ALIGN-09`).
    fn has_cohorts_for_the_head(&self, _conditions: RunConditions) -> bool {
        false
    }

    /// How members train: FedAvg's way, unless the strategy says otherwise. The seed is the caller's to set, for each
    /// member and round.
    fn training(&self, config: &MemberTrainingConfig) -> LocalTraining {
        local_training(config)
    }

    /// Rejects what does not go with the rest of the run, and says what to change.
    ///
    /// # Errors
    /// The reason, for people.
    fn check(&self, _conditions: RunConditions) -> Result<(), String> {
        Ok(())
    }
}

/// Rejects a strategy that needs more than sums if the run is behind masks, where nobody sees more.
fn clear_only(conditions: RunConditions, name: &str) -> Result<(), String> {
    match conditions.secure {
        // One message for both reasons: Centralised and LocalOnly have no sum, FedMoE needs token counts of
        // single members.
        true => Err(format!("{name} sums nothing, or needs what masks hide; set `secure = false`")),
        false => Ok(()),
    }
}

/// What members trained in one round, in their order.
pub struct MemberUpdates<'a> {
    /// The model that they started from.
    pub global: &'a BlockVectors,
    /// Texts of each member, divided by the mean over members; so they add up to the number of members.
    pub sizes: &'a [f64],
    /// What each member's training yielded.
    pub results: &'a [LocalResult],
    /// The round, from 1. Random cohorts are drawn again in each.
    pub round: usize,
}

impl MemberUpdates<'_> {
    /// FedAvg's shares: the mean over members of updates that are scaled by their texts. Behind masks a
    /// member can scale its own update, and nobody needs to know the total.
    fn by_texts(&self) -> Vec<f64> {
        self.sizes.iter().map(|size| size / self.sizes.len() as f64).collect()
    }

    /// The shares of a block that stays as it is.
    fn none(&self) -> Vec<f64> {
        vec![0.0; self.sizes.len()]
    }

    /// What each member knows of one expert.
    pub fn roles(&self, block: &BlockShape, layer: u16, expert: u16) -> Vec<TrainedExpert> {
        self.results.iter().map(|result| role_of(result, block, layer, expert)).collect()
    }
}

/// What one member knows of one expert; without a token routed to it, there is no region.
fn role_of(result: &LocalResult, block: &BlockShape, layer: u16, expert: u16) -> TrainedExpert {
    let region = result.regions.iter().find(|region| (region.layer, region.expert) == (layer, expert));
    TrainedExpert {
        region: region.map_or_else(Vec::new, |region| floats(&region.mean_hidden)),
        update: floats(&result.updates[block.id]),
        tokens: region.map_or(0.0, |region| region.tokens as f64),
    }
}

fn floats(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// What a strategy remembers: vectors by the member (or the moment) and the block that they belong to.
pub type StrategyMemory = BTreeMap<(usize, u32), Vec<f64>>;

/// A strategy at work. Only [`shares`](Self::shares) has no default: the defaults are those of FedAvg.
pub trait Strategy {
    /// What a member trains from, and what it is measured with.
    fn start(&self, _member: usize, global: &BlockVectors) -> BlockVectors {
        global.clone()
    }

    /// Called with what each member trained, before any sum.
    fn keep(&mut self, _member: usize, _start: &BlockVectors, _updates: &BlockVectors) {}

    /// What it remembers from one round to the next, for a checkpoint. Whatever is missing here makes a
    /// resumed run differ from one that was not interrupted.
    fn memory(&self) -> StrategyMemory {
        StrategyMemory::new()
    }

    /// Restores what [`memory`](Self::memory) gave.
    fn recall(&mut self, _memory: StrategyMemory) {}

    /// Whether each member ends with a model of its own. Then all of them are measured, and the accuracy is
    /// their mean.
    fn is_personal(&self) -> bool {
        false
    }

    /// Whether members' routers stay with them, so that what they learn enters no sum.
    fn keeps_routers(&self) -> bool {
        false
    }

    /// The share with which each member's update enters this block.
    fn shares(&mut self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64>;

    /// What is added to a block, given the sum of updates by their shares. It needs the opened sum alone, so
    /// it works behind masks, too.
    fn step(&mut self, _block: &BlockShape, sum: Vec<f64>) -> Vec<f64> {
        sum
    }

    /// Called when a round's model is formed, with the models before and after it.
    fn close_round(&mut self, _before: &BlockVectors, _after: &BlockVectors, _updates: &MemberUpdates<'_>) {}

    /// The consensus of each member on a block ([`ExpertScores::consensus`]); empty for blocks that are not scored.
    ///
    /// [`ExpertScores::consensus`]: cloister_alignment::reference::ExpertScores::consensus
    fn consensus(&self, _block: &BlockShape, _updates: &MemberUpdates<'_>) -> Vec<Option<f64>> {
        Vec::new()
    }

    /// Whether a cohort is chosen for each expert behind masks. If not, every expert is summed over everyone.
    fn aligns(&self) -> bool {
        false
    }

    /// Whether routers' updates are weighted by their consistency behind masks.
    fn weighs_consistency(&self) -> bool {
        false
    }
}

/// FedAvg's training: the configuration's settings, without the routing regulariser.
fn local_training(config: &MemberTrainingConfig) -> LocalTraining {
    LocalTraining {
        epochs: config.local_epochs,
        batch_size: config.batch_size,
        learning_rate: config.learning_rate,
        routing_penalty: 0.0,
        frozen: Frozen { routers: false, head: config.freeze_head },
        ..LocalTraining::default()
    }
}

#[cfg(test)]
mod tests;
