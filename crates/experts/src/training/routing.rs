//! Where a router sends the tokens of a batch.

use tch::{Device, Kind, Tensor};

/// Where a router sends the tokens of a batch.
pub(crate) struct LayerRouting {
    /// The hidden states that were routed, `[tokens, 384]`.
    pub(crate) hidden: Tensor,
    /// Softmax over all experts, `[tokens, experts]`.
    pub(crate) probabilities: Tensor,
    /// The two likeliest experts of each token, `[tokens, 2]`.
    pub(crate) chosen: Tensor,
    /// Probabilities of the chosen, `[tokens, 2]`.
    pub(crate) chosen_probabilities: Tensor,
}

impl LayerRouting {
    /// Routes each of the hidden states `[tokens, width]` to its `experts_per_token` likeliest experts by the router's
    /// logits, `[tokens, experts]`.
    pub(crate) fn new(hidden: Tensor, logits: &Tensor, experts_per_token: usize) -> Self {
        let probabilities = logits.softmax(-1, Kind::Float);
        let (chosen_probabilities, chosen) = probabilities.topk(experts_per_token as i64, -1, true, true);
        Self { hidden, probabilities, chosen, chosen_probabilities }
    }

    /// The same on the CPU.
    pub(crate) fn to_host(&self) -> Self {
        let host = |tensor: &Tensor| tensor.to_device(Device::Cpu);
        Self {
            hidden: host(&self.hidden),
            probabilities: host(&self.probabilities),
            chosen: host(&self.chosen),
            chosen_probabilities: host(&self.chosen_probabilities),
        }
    }

    /// The chosen probabilities, renormalised to sum to 1, `[tokens, 2]`.
    pub(crate) fn weights(&self) -> Tensor {
        &self.chosen_probabilities / self.chosen_probabilities.sum_dim_intlist(-1, true, Kind::Float)
    }
}
