//! FedAvg of everything but the routers, which stay with their members.

use serde::{Deserialize, Serialize};

use super::personal_routers::PersonalRouters;
use super::{RunScoring, Strategy, StrategySettings};

/// Members' routers enter no sum (as in FLEx, arXiv 2506.00965). It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalRouters {}

impl StrategySettings for LocalRouters {
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(PersonalRouters::with_personal_part(1.0))
    }
}
