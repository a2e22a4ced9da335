//! PFL-MoE: members use the mean of their own and the common router.

use serde::{Deserialize, Serialize};

use super::personal_routers::PersonalRouters;
use super::{RunScoring, Strategy, StrategySettings};

/// Half of a member's router is its own, and half the common one. It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PflMoE {}

impl StrategySettings for PflMoE {
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(PersonalRouters::with_personal_part(0.5))
    }
}
