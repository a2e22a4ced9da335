//! Each member alone: the lower bound that federated strategies are compared with.

use cloister_experts::BlockVectors;
use cloister_params::block::{BlockKind, BlockShape};
use serde::{Deserialize, Serialize};

use super::personal_routers::added;
use super::{
    MemberUpdates, RunConditions, RunScoring, Strategy, StrategyMemory, StrategySettings, clear_only,
};

/// Members train without each other. It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalOnly {}

impl StrategySettings for LocalOnly {
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(LocalModels::default())
    }

    fn check(&self, conditions: RunConditions) -> Result<(), String> {
        clear_only(conditions, "LocalOnly")
    }
}

/// Every member's model. No update is summed, so the common parameters stay what all members started from.
#[derive(Default)]
pub(super) struct LocalModels {
    /// Parameters by member and block; a member without an entry has not trained yet.
    models: StrategyMemory,
}

impl Strategy for LocalModels {
    fn start(&self, member: usize, global: &BlockVectors) -> BlockVectors {
        global.map(|shape, values| match self.models.get(&(member, shape.id.0)) {
            Some(model) => model.iter().map(|value| *value as f32).collect(),
            None => values.to_vec(),
        })
    }

    fn keep(&mut self, member: usize, start: &BlockVectors, updates: &BlockVectors) {
        for ((shape, values), update) in start.iter().zip(updates.values()) {
            // A routing distribution is measured anew in each round, so adding the round's values to the last
            // ones would be wrong.
            if !matches!(shape.kind, BlockKind::Routing { .. }) {
                self.models.insert((member, shape.id.0), added(values, update));
            }
        }
    }

    fn memory(&self) -> StrategyMemory {
        self.models.clone()
    }

    fn recall(&mut self, memory: StrategyMemory) {
        self.models = memory;
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn shares(&mut self, _block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        updates.none()
    }
}
