//! FedMoE: experts by the tokens that each member routed to them.

use cloister_params::block::{BlockKind, BlockShape};
use serde::{Deserialize, Serialize};

use super::{MemberUpdates, RunConditions, RunScoring, Strategy, StrategySettings, clear_only};

/// Experts by tokens, everything else by texts (as in FedMoE, arXiv 2408.11304). It has no settings of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FedMoE {}

impl StrategySettings for FedMoE {
    fn start(&self, _scoring: &RunScoring, _seed: u64) -> Box<dyn Strategy> {
        Box::new(MeanByTokens)
    }

    /// Its weights are token counts, which only their member may see.
    fn check(&self, conditions: RunConditions) -> Result<(), String> {
        clear_only(conditions, "FedMoE")
    }
}

struct MeanByTokens;

impl Strategy for MeanByTokens {
    fn shares(&mut self, block: &BlockShape, updates: &MemberUpdates<'_>) -> Vec<f64> {
        let BlockKind::Expert { layer, expert } = block.kind else {
            return updates.by_texts();
        };
        let roles = updates.roles(block, layer, expert);
        // An expert without any token stays as it is, rather than dividing by zero.
        let total = roles.iter().map(|role| role.tokens).sum::<f64>().max(1.0);
        roles.iter().map(|role| role.tokens / total).collect()
    }
}
