//! Strategies of federated training: what members start from, how they train, and what becomes of their updates.
//!
//! A strategy decides with which share each member's update enters each block ([`Strategy::shares`]); those that use
//! sums alone also run behind masks, where the protocol takes the place of the shares.

use std::collections::BTreeMap;

use cloister_alignment::reference::TrainedExpert;
use cloister_experts::{BlockVectors, Frozen, LocalResult, LocalTraining};
use cloister_params::block::BlockShape;
use cloister_params::plan::ScoringRule;

use crate::config::{self, StrategyName};

mod align;
mod averages;
mod personal;

use align::FedAlignMoE;
use averages::{FedAdam, FedAvg, FedMoE};
use personal::{Alone, OwnRouters};

/// What members trained in one round, in their order.
pub struct MemberUpdates<'a> {
    /// The model that they started from.
    pub global: &'a BlockVectors,
    /// Texts of each member, divided by the mean over members.
    pub sizes: &'a [f64],
    /// What each member's training yielded.
    pub results: &'a [LocalResult],
    /// Numbers the rounds, from 1.
    pub round: usize,
}

impl MemberUpdates<'_> {
    /// The share of FedAvg: the mean over members of updates that are scaled by their texts.
    fn by_texts(&self) -> Vec<f64> {
        self.sizes.iter().map(|size| size / self.sizes.len() as f64).collect()
    }

    /// Shares of a block that stays as it is.
    fn nobody(&self) -> Vec<f64> {
        vec![0.0; self.sizes.len()]
    }

    /// What each member knows of one expert.
    pub fn roles(&self, block: &BlockShape, layer: u16, expert: u16) -> Vec<TrainedExpert> {
        let floats = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect();
        let role = |result: &LocalResult| {
            let region = result.regions.iter().find(|own| (own.layer, own.expert) == (layer, expert));
            TrainedExpert {
                region: region.map_or_else(Vec::new, |own| floats(&own.mean_hidden)),
                update: floats(&result.updates.values()[block.id.0 as usize]),
                tokens: region.map_or(0.0, |own| own.tokens as f64),
            }
        };
        self.results.iter().map(role).collect()
    }
}

/// What a strategy remembers: vectors by the member (or the moment) and the block that they belong to.
pub type StrategyMemory = BTreeMap<(usize, u32), Vec<f64>>;

/// A way of training together.
pub trait Strategy {
    /// How members train.
    fn training(&self, settings: &config::StrategyConfig) -> LocalTraining {
        LocalTraining { routing_penalty: 0.0, ..base(settings) }
    }

    /// What a member trains from, and what it is measured with.
    fn start(&self, _member: usize, global: &BlockVectors) -> BlockVectors {
        global.clone()
    }

    /// Takes note of what a member trained.
    fn keep(&mut self, _member: usize, _start: &BlockVectors, _updates: &BlockVectors) {}

    /// What it remembers from one round to the next.
    fn memory(&self) -> StrategyMemory {
        StrategyMemory::new()
    }

    /// Goes on with what [`memory`](Self::memory) gave.
    fn recall(&mut self, _memory: StrategyMemory) {}

    /// Whether members end with models of their own.
    fn is_personal(&self) -> bool {
        false
    }

    /// Whether members' routers stay with them, so that what they learn enters no sum.
    fn keeps_routers(&self) -> bool {
        false
    }

    /// The share with which each member's update enters this block.
    fn shares(&mut self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64>;

    /// What is added to a block, given the sum of updates by their shares.
    fn step(&mut self, _block: &BlockShape, sum: Vec<f64>) -> Vec<f64> {
        sum
    }

    /// The consensus of each member on a block ([`ExpertScores::consensus`]); empty where it is not scored.
    ///
    /// [`ExpertScores::consensus`]: cloister_alignment::reference::ExpertScores::consensus
    fn consensus(&self, _block: &BlockShape, _gathered: &MemberUpdates<'_>) -> Vec<Option<f64>> {
        Vec::new()
    }

    /// Whether experts' cohorts are chosen behind masks, rather than everyone.
    fn aligns(&self) -> bool {
        false
    }

    /// Whether routers' updates are weighted by their consistency behind masks.
    fn weighs_consistency(&self) -> bool {
        false
    }
}

fn base(settings: &config::StrategyConfig) -> LocalTraining {
    LocalTraining {
        epochs: settings.local_epochs,
        batch_size: settings.batch_size,
        learning_rate: settings.learning_rate,
        routing_penalty: settings.routing_penalty,
        routing_form: settings.routing_form,
        frozen: Frozen { routers: false, head: settings.freeze_head },
        ..LocalTraining::default()
    }
}

/// The strategy that the settings name; [`StrategyName::Head`] trains nothing, and is FedAvg over no rounds.
pub fn named(settings: &config::StrategyConfig, rule: ScoringRule, seed: u64) -> Box<dyn Strategy> {
    match settings.name {
        StrategyName::Head | StrategyName::Centralised | StrategyName::FedAvg => Box::new(FedAvg::default()),
        StrategyName::FedProx => Box::new(FedAvg { proximal: settings.proximal, ..FedAvg::default() }),
        StrategyName::FrozenRouter => Box::new(FedAvg { freezes_routers: true, ..FedAvg::default() }),
        StrategyName::LocalOnly => Box::new(Alone::default()),
        StrategyName::FedAdam => Box::new(FedAdam::new(settings.server_learning_rate)),
        StrategyName::LocalRouters => Box::new(OwnRouters::keeping(1.0)),
        StrategyName::PflMoE => Box::new(OwnRouters::keeping(0.5)),
        StrategyName::FedMoE => Box::new(FedMoE),
        StrategyName::FedAlignMoE => {
            let own_routers = settings.local_gate.then(|| OwnRouters::keeping(1.0));
            Box::new(FedAlignMoE { settings: settings.clone(), rule, seed, own_routers })
        }
    }
}

#[cfg(test)]
mod tests;
