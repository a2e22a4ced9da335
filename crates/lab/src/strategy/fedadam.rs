//! FedAdam: the mean update is a gradient to Adam at the server.

use std::collections::BTreeMap;

use cloister_params::block::BlockShape;
use serde::{Deserialize, Serialize};

use super::{MemberUpdates, RunScoring, Strategy, StrategyMemory, StrategySettings};

/// FedAvg with Adam at the server (Reddi et al. 2021, with their decay rates and `tau`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FedAdam {
    /// The server's learning rate.
    pub server_learning_rate: f64,
}

impl Default for FedAdam {
    fn default() -> Self {
        Self { server_learning_rate: 1e-3 }
    }
}

impl StrategySettings for FedAdam {
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(ServerAdam::new(self.server_learning_rate))
    }
}

/// Decay of the mean of the updates, from one round to the next.
const BETA_1: f64 = 0.9;
/// Decay of the mean of their squares.
const BETA_2: f64 = 0.99;
/// Added to the root of the mean square. Without it, a parameter whose updates are tiny would move by a whole
/// learning rate.
const TAU: f64 = 1e-3;

/// FedAdam's state over the rounds of one seed.
pub(super) struct ServerAdam {
    learning_rate: f64,
    /// Running means, and running means of squares, by block.
    moments: [BTreeMap<u32, Vec<f64>>; 2],
}

impl ServerAdam {
    pub(super) fn new(learning_rate: f64) -> Self {
        Self { learning_rate, moments: [BTreeMap::new(), BTreeMap::new()] }
    }
}

impl Strategy for ServerAdam {
    fn shares(&mut self, _block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        updates.by_texts()
    }

    fn step(&mut self, block: &BlockShape, sum: Vec<f64>) -> Vec<f64> {
        let zeros = vec![0.0; sum.len()];
        let [means, squares] =
            self.moments.each_mut().map(|moment| moment.entry(block.id.0).or_insert_with(|| zeros.clone()));
        let mut step = Vec::with_capacity(sum.len());
        for (at, value) in sum.into_iter().enumerate() {
            means[at] = BETA_1 * means[at] + (1.0 - BETA_1) * value;
            squares[at] = BETA_2 * squares[at] + (1.0 - BETA_2) * value * value;
            // No bias correction of the moments, as in Reddi et al. (2021). With these decay rates the first
            // step is right without it: `(1 − β₁)/√(1 − β₂)` is 1.
            step.push(self.learning_rate * means[at] / (squares[at].sqrt() + TAU));
        }
        step
    }

    fn memory(&self) -> StrategyMemory {
        let mut memory = StrategyMemory::new();
        for (moment, blocks) in self.moments.iter().enumerate() {
            memory.extend(blocks.iter().map(|(block, values)| ((moment, *block), values.clone())));
        }
        memory
    }

    fn recall(&mut self, memory: StrategyMemory) {
        for ((moment, block), values) in memory {
            self.moments[moment].insert(block, values);
        }
    }
}
