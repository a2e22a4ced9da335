//! The head that is fitted from sums, without any training.

use serde::{Deserialize, Serialize};

use super::fedavg::MeanByTexts;
use super::{RunScoring, Strategy, StrategySettings};

/// Trains nothing: what is measured is the head that was fitted from sums.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadAlone {}

impl StrategySettings for HeadAlone {
    /// Never called: [`StrategySettings::trains`] is false.
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(MeanByTexts)
    }

    fn trains(&self) -> bool {
        false
    }
}
