//! The head that is fitted from sums, without any training.

use cloister_params::plan::ScoringRule;
use serde::{Deserialize, Serialize};

use super::fedavg::MeanByTexts;
use super::{Strategy, StrategySettings};

/// Trains nothing: what is measured is the head that was fitted from sums.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadAlone {}

impl StrategySettings for HeadAlone {
    /// Never called: [`StrategySettings::trains`] is false.
    fn start(&self, _rule: ScoringRule, _seed: u64) -> Box<dyn Strategy> {
        Box::new(MeanByTexts)
    }

    fn trains(&self) -> bool {
        false
    }
}
