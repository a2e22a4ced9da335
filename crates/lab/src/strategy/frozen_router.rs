//! FedAvg whose routers stay at their initial values: what the routers' training adds.

use cloister_experts::{Frozen, LocalTraining};
use serde::{Deserialize, Serialize};

use super::fedavg::MeanByTexts;
use super::{RunScoring, Strategy, StrategySettings, local_training};
use crate::training::MemberTrainingConfig;

/// FedAvg without training of the routers. It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrozenRouter {}

impl StrategySettings for FrozenRouter {
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(MeanByTexts)
    }
    fn training(&self, config: &MemberTrainingConfig) -> LocalTraining {
        LocalTraining { frozen: Frozen { routers: true, head: config.freeze_head }, ..local_training(config) }
    }
}
