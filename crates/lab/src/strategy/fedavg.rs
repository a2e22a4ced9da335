//! FedAvg: the mean of the updates by texts.

use cloister_params::block::BlockShape;
use serde::{Deserialize, Serialize};

use super::{MemberUpdates, RunScoring, Strategy, StrategySettings};

/// The mean of the updates, by texts (McMahan et al. 2017). It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FedAvg {}

impl StrategySettings for FedAvg {
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(MeanByTexts)
    }
}

/// FedAvg's state over rounds: none.
pub(super) struct MeanByTexts;

impl Strategy for MeanByTexts {
    fn shares(&mut self, _block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        updates.by_texts()
    }
}
