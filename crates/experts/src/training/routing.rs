//! Where a router sends the tokens of a batch.

use tch::{Device, Kind, Tensor};

/// Where a router sends the tokens of a batch.
pub(crate) struct LayerRouting {
    /// The hidden states that were routed, `[tokens, width]`.
    pub(crate) hidden: Tensor,
    /// Softmax over all experts, `[tokens, experts]`.
    pub(crate) probabilities: Tensor,
    /// The likeliest experts of each token, `[tokens, experts per token]`, the likeliest first.
    pub(crate) chosen: Tensor,
    /// Probabilities of the chosen experts, `[tokens, experts per token]`.
    pub(crate) chosen_probabilities: Tensor,
}

impl LayerRouting {
    /// Routes each of the hidden states `[tokens, width]` to its `experts_per_token` likeliest experts by the
    /// router's logits, `[tokens, experts]`.
    pub(crate) fn new(hidden: Tensor, logits: &Tensor, experts_per_token: usize) -> Self {
        // Over all experts and not only the chosen ones, as the published distributions are.
        let probabilities = logits.softmax(-1, Kind::Float);
        let (chosen_probabilities, chosen) = probabilities.topk(experts_per_token as i64, -1, true, true);
        Self { hidden, probabilities, chosen, chosen_probabilities }
    }

    /// The same on the CPU.
    pub(crate) fn to_host(&self) -> Self {
        Self {
            hidden: self.hidden.to_device(Device::Cpu),
            probabilities: self.probabilities.to_device(Device::Cpu),
            chosen: self.chosen.to_device(Device::Cpu),
            chosen_probabilities: self.chosen_probabilities.to_device(Device::Cpu),
        }
    }

    /// The chosen probabilities, renormalised so that those of a token sum to 1, `[tokens, experts per
    /// token]`.
    pub(crate) fn weights(&self) -> Tensor {
        &self.chosen_probabilities / self.chosen_probabilities.sum_dim_intlist(-1, true, Kind::Float)
    }
}
