//! Everyone's updates summed: by texts, by tokens, or as a gradient to the server's own optimizer.

use std::collections::BTreeMap;

use cloister_experts::{Frozen, LocalTraining};
use cloister_params::block::{BlockKind, BlockShape};

use super::{MemberUpdates, Strategy, StrategyMemory, base};
use crate::config;

/// The mean of the updates by texts; with a proximal term it is FedProx.
#[derive(Default)]
pub(super) struct FedAvg {
    pub(super) proximal: f64,
    pub(super) freezes_routers: bool,
}

impl Strategy for FedAvg {
    fn training(&self, settings: &config::StrategyConfig) -> LocalTraining {
        let frozen = Frozen { routers: self.freezes_routers, head: settings.freeze_head };
        LocalTraining { proximal: self.proximal, frozen, routing_penalty: 0.0, ..base(settings) }
    }

    fn shares(&mut self, _block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        updates.by_texts()
    }
}

/// FedAvg whose mean update is a gradient to Adam at the server (Reddi et al. 2021, with their moments and `tau`).
pub(super) struct FedAdam {
    rate: f64,
    /// Means and mean squares.
    moments: [BTreeMap<u32, Vec<f64>>; 2],
}

impl FedAdam {
    const BETA_1: f64 = 0.9;
    const BETA_2: f64 = 0.99;
    const TAU: f64 = 1e-3;

    pub(super) fn new(rate: f64) -> Self {
        Self { rate, moments: [BTreeMap::new(), BTreeMap::new()] }
    }
}

impl Strategy for FedAdam {
    fn shares(&mut self, _block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        updates.by_texts()
    }

    fn step(&mut self, block: &BlockShape, sum: Vec<f64>) -> Vec<f64> {
        let zeros = || vec![0.0; sum.len()];
        let [means, squares] = self.moments.each_mut().map(|all| all.entry(block.id.0).or_insert_with(zeros));
        let mut step = |(at, value): (usize, &f64)| {
            means[at] = Self::BETA_1 * means[at] + (1.0 - Self::BETA_1) * value;
            squares[at] = Self::BETA_2 * squares[at] + (1.0 - Self::BETA_2) * value * value;
            self.rate * means[at] / (squares[at].sqrt() + Self::TAU)
        };
        sum.iter().enumerate().map(&mut step).collect()
    }

    fn memory(&self) -> StrategyMemory {
        let of = |moment: usize| self.moments[moment].iter().map(move |(block, own)| ((moment, *block), own));
        [0, 1].into_iter().flat_map(of).map(|(key, own)| (key, own.clone())).collect()
    }

    fn recall(&mut self, memory: StrategyMemory) {
        for ((moment, block), values) in memory {
            self.moments[moment].insert(block, values);
        }
    }
}

/// Experts by the tokens that each member routed to them, the rest by texts.
pub(super) struct FedMoE;

impl Strategy for FedMoE {
    fn shares(&mut self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        let BlockKind::Expert { layer, expert } = block.kind else {
            return updates.by_texts();
        };
        let tokens: Vec<f64> = updates.roles(block, layer, expert).iter().map(|role| role.tokens).collect();
        let total = tokens.iter().sum::<f64>().max(1.0);
        tokens.iter().map(|own| own / total).collect()
    }
}
