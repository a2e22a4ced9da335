//! All texts in one place: the upper bound that federated strategies are compared with.

use serde::{Deserialize, Serialize};

use super::fedavg::MeanByTexts;
use super::{RunConditions, RunScoring, Strategy, StrategySettings, clear_only};

/// One member with every text. It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Centralised {}

impl StrategySettings for Centralised {
    /// The mean over one member is its update.
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(MeanByTexts)
    }

    fn pools_data(&self) -> bool {
        true
    }

    fn check(&self, conditions: RunConditions) -> Result<(), String> {
        clear_only(conditions, "Centralised")
    }
}
