//! How members train, for every strategy.

use serde::{Deserialize, Serialize};

/// DP-SGD at every member.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivateTrainingConfig {
    /// Standard deviation of a step's noise over the clipping norm.
    pub noise_multiplier: f64,
    /// The L2 norm that each text's gradient is clipped to.
    pub clipping_norm: f64,
    /// The δ of the ε that results name.
    pub delta: f64,
}

impl Default for PrivateTrainingConfig {
    fn default() -> Self {
        Self { noise_multiplier: 1.0, clipping_norm: 1.0, delta: 1e-5 }
    }
}

/// How members train, for every strategy. The keys are in `[strategy]`, next to the strategy's own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemberTrainingConfig {
    /// Rounds; 0 trains nothing.
    pub num_rounds: usize,
    /// Passes over a member's texts in a round.
    pub local_epochs: usize,
    /// Texts of a batch.
    pub batch_size: usize,
    /// Learning rate of experts and routers.
    pub learning_rate: f64,
    /// DP-SGD, if members train with it.
    pub private: Option<PrivateTrainingConfig>,
    /// The L2 norm that a member's update of an expert is clipped to behind masks, and that sketches of it are scaled by.
    /// Above 0, at most 64.
    pub expert_clip: f64,
    /// Adds the log of the member's own class shares to the logits while it trains (balanced softmax), so
    /// that the head does not learn the member's mix of labels.
    pub balanced: bool,
    /// Whether the model's own head stays as it started.
    pub freeze_head: bool,
    /// Replaces the model's head, before training and after every so many rounds, by linear discriminants
    /// that are fitted to sums over the members of the head's input; never if it is left out.
    pub head_every: Option<usize>,
}

impl Default for MemberTrainingConfig {
    fn default() -> Self {
        Self {
            num_rounds: 10,
            local_epochs: 1,
            batch_size: 16,
            learning_rate: 1e-3,
            private: None,
            expert_clip: 2.0,
            balanced: true,
            freeze_head: false,
            head_every: None,
        }
    }
}
