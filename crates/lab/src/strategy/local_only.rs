//! Each member alone: what federated strategies are measured against from below.

use cloister_experts::BlockVectors;
use cloister_params::block::{BlockKind, BlockShape};
use cloister_params::plan::ScoringRule;
use serde::{Deserialize, Serialize};

use super::personal_routers::added;
use super::{MemberUpdates, RunConditions, Strategy, StrategyMemory, StrategySettings, clear_only};

/// Members train without each other. It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalOnly {}

impl StrategySettings for LocalOnly {
    fn start(&self, _rule: ScoringRule, _seed: u64) -> Box<dyn Strategy> {
        Box::new(LocalModels::default())
    }

    fn check(&self, conditions: RunConditions) -> Result<(), String> {
        clear_only(conditions, "LocalOnly")
    }
}

/// Every member's model, by member and block.
#[derive(Default)]
pub(super) struct LocalModels {
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
            // A routing distribution is a measurement of a round, and no parameter.
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
