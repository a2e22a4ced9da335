//! FedProx: FedAvg whose local training is pulled towards the common model.

use cloister_experts::LocalTraining;
use serde::{Deserialize, Serialize};

use super::fedavg::MeanByTexts;
use super::{RunScoring, Strategy, StrategySettings, local_training};
use crate::training::MemberTrainingConfig;

/// FedAvg with a proximal term (Li et al. 2020).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FedProx {
    /// `mu`: half of it weighs the squared distance from the common model in each member's loss.
    pub proximal: f64,
}

impl Default for FedProx {
    fn default() -> Self {
        Self { proximal: 0.1 }
    }
}

impl StrategySettings for FedProx {
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(MeanByTexts)
    }
    fn training(&self, config: &MemberTrainingConfig) -> LocalTraining {
        LocalTraining { proximal: self.proximal, ..local_training(config) }
    }
}
