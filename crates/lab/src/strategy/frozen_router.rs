//! FedAvg whose routers stay at their initial values: what the routers' training adds.

use cloister_experts::{Frozen, LocalTraining};
use cloister_params::block::BlockShape;
use cloister_params::plan::ScoringRule;
use serde::{Deserialize, Serialize};

use super::{MemberUpdates, Strategy, StrategySettings, local_training};
use crate::training::TrainingConfig;

/// FedAvg without training of the routers. It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrozenRouter {}

impl StrategySettings for FrozenRouter {
    fn start(&self, _rule: ScoringRule, _seed: u64) -> Box<dyn Strategy> {
        Box::new(MeanWithoutRouters)
    }
}

struct MeanWithoutRouters;

impl Strategy for MeanWithoutRouters {
    fn training(&self, config: &TrainingConfig) -> LocalTraining {
        LocalTraining { frozen: Frozen { routers: true, head: config.freeze_head }, ..local_training(config) }
    }

    fn shares(&mut self, _block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        updates.by_texts()
    }
}
