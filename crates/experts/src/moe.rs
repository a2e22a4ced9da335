//! A MoE feed-forward network whose experts start as copies of one dense network.
//!
//! Expert `e` is `down_e(gelu(up_e(x)))` with `up_e = W + (alpha / rank) · B · A`, and `down_e` alike. Only `B` is
//! trained; `A` is drawn from the seed, frozen, and equal at every member (FFA-LoRA, Sun et al. 2024, "Improving
//! LoRA in Privacy-preserving Federated Learning"). The adapter is then linear in what is trained, so the average
//! of the members' updates is the update of the average, which it is not when `A` is trained too.
//!
//! All experts share the frozen `W`, so each token passes through it once, whatever the number of its experts:
//! going up, `W x` is the same for all of them; going down, the weighted sum over experts moves inside the product,
//! `sum_e w_e · W h_e = W · sum_e w_e h_e`. Only the low-rank products are made expert by expert, over the rows
//! sorted by expert.

use tch::{Kind, Tensor};

use crate::config::{HIDDEN, INTERMEDIATE, ModelConfig, TOP_K};
use crate::draw::{Draw, Purpose};
use crate::minilm::FeedForward;
use crate::packing::Packing;
use crate::private::{Place, Recorder};

const K: i64 = TOP_K as i64;

/// What a MoE layer learns.
pub(crate) struct MoeParameters {
    /// `[experts, 384]`.
    pub(crate) router: Tensor,
    /// Trained halves of the adapters on the map up, `[experts, 1536, rank]`.
    pub(crate) up: Tensor,
    /// Trained halves of the adapters on the map down, `[experts, 384, rank]`.
    pub(crate) down: Tensor,
    /// Notes the products with these parameters, in private training.
    pub(crate) recorder: Recorder,
}

/// Where a router sends the tokens of a batch.
pub(crate) struct Routing {
    /// The hidden states that were routed, `[tokens, 384]`.
    pub(crate) hidden: Tensor,
    /// Softmax over all experts, `[tokens, experts]`.
    pub(crate) probabilities: Tensor,
    /// The two likeliest experts of each token, `[tokens, 2]`.
    pub(crate) chosen: Tensor,
    /// Probabilities of the chosen, `[tokens, 2]`.
    pub(crate) chosen_probabilities: Tensor,
}

impl Routing {
    /// Routes hidden states `[tokens, 384]` by their logits, `[tokens, experts]`.
    pub(crate) fn new(hidden: Tensor, logits: &Tensor) -> Self {
        let probabilities = logits.softmax(-1, Kind::Float);
        let (chosen_probabilities, chosen) = probabilities.topk(K, -1, true, true);
        Self { hidden, probabilities, chosen, chosen_probabilities }
    }

    /// The same on the CPU.
    pub(crate) fn to_host(&self) -> Self {
        let host = |tensor: &Tensor| tensor.to_device(tch::Device::Cpu);
        Self {
            hidden: host(&self.hidden),
            probabilities: host(&self.probabilities),
            chosen: host(&self.chosen),
            chosen_probabilities: host(&self.chosen_probabilities),
        }
    }

    /// The chosen probabilities, renormalised to sum to 1, `[tokens, 2]`.
    fn weights(&self) -> Tensor {
        &self.chosen_probabilities / self.chosen_probabilities.sum_dim_intlist(-1, true, Kind::Float)
    }
}

/// The frozen part of a MoE layer.
pub(crate) struct MoeLayer {
    dense: FeedForward,
    /// Frozen halves of the adapters on the map up, for each expert `[384, rank]`, scaled by `alpha / rank`.
    adapters_up: Vec<Tensor>,
    /// Frozen halves of the adapters on the map down, for each expert `[1536, rank]`, scaled alike.
    adapters_down: Vec<Tensor>,
}

impl MoeLayer {
    /// Upcycles a dense network into the MoE layer number `layer`.
    pub(crate) fn new(config: &ModelConfig, layer: usize, dense: FeedForward) -> Self {
        let device = dense.device();
        let frozen = |purpose, inputs: usize| {
            (0..config.experts)
                .map(|expert| {
                    let values =
                        Tensor::from_slice(&frozen_adapter(config, purpose, layer, expert)).to_device(device);
                    let scale = config.alpha / config.rank as f64;
                    (values.view([config.rank as i64, inputs as i64]) * scale).tr().contiguous()
                })
                .collect()
        };
        Self {
            dense,
            adapters_up: frozen(Purpose::AdapterUp, HIDDEN),
            adapters_down: frozen(Purpose::AdapterDown, INTERMEDIATE),
        }
    }

    /// Routed hidden states through the experts, with residual connection and normalisation, `[tokens, 384]`.
    pub(crate) fn forward(&self, routing: &Routing, parameters: &MoeParameters, packing: &Packing) -> Tensor {
        let hidden = &routing.hidden;
        let dispatch = Dispatch::new(routing, self.adapters_up.len());
        let dense_up = dispatch.by_expert(&self.dense.up.forward(hidden), &dispatch.tokens);
        let inputs = dispatch.by_expert(hidden, &dispatch.tokens);
        let weights = dispatch.by_expert(&routing.weights().view([-1, 1]), &dispatch.pairs);
        let rows = dispatch.tokens.split_with_sizes(&dispatch.counts, 0);
        let (up, down) = (parameters.up.unbind(0), parameters.down.unbind(0));
        let mut intermediate = sums(hidden, INTERMEDIATE);
        let mut low_rank = sums(hidden, HIDDEN);
        for (expert, rows) in rows.iter().enumerate() {
            let owners = || packing.owners().index_select(0, rows);
            let reduced = inputs[expert].matmul(&self.adapters_up[expert]);
            let lifted = dense_up[expert].addmm(&reduced, &up[expert].tr());
            parameters.recorder.record("up", Place::Expert(expert), (&reduced, &lifted), owners);
            let weighted = lifted.gelu("none") * &weights[expert];
            let reduced = weighted.matmul(&self.adapters_down[expert]);
            let lowered = reduced.matmul(&down[expert].tr());
            parameters.recorder.record("down", Place::Expert(expert), (&reduced, &lowered), owners);
            low_rank = low_rank.index_add_(0, rows, &lowered);
            intermediate = intermediate.index_add_(0, rows, &weighted);
        }
        let out = self.dense.down.forward(&intermediate) + low_rank;
        self.dense.norm.forward(&(hidden + out))
    }
}

/// Zeros to sum over each token's experts in, `[tokens, width]`.
fn sums(hidden: &Tensor, width: usize) -> Tensor {
    Tensor::zeros([hidden.size()[0], width as i64], (Kind::Float, hidden.device()))
}

/// The frozen half of one adapter, `rank` rows, uniform in ±1/√inputs as LoRA has it.
pub(crate) fn frozen_adapter(
    config: &ModelConfig,
    purpose: Purpose,
    layer: usize,
    expert: usize,
) -> Vec<f32> {
    let inputs = if matches!(purpose, Purpose::AdapterUp) { HIDDEN } else { INTERMEDIATE };
    let bound = 1.0 / (inputs as f32).sqrt();
    Draw::new(config.seed, purpose, layer * config.experts + expert).symmetric(config.rank * inputs, bound)
}

/// The pairs of a token and one of its experts, sorted by expert.
struct Dispatch {
    /// The places of the sorted pairs in the order of the tokens, `[tokens · 2]`.
    pairs: Tensor,
    /// The tokens of the sorted pairs, `[tokens · 2]`.
    tokens: Tensor,
    /// Pairs of each expert.
    counts: Vec<i64>,
}

impl Dispatch {
    fn new(routing: &Routing, experts: usize) -> Self {
        let experts_of_pairs = routing.chosen.flatten(0, 1);
        let pairs = experts_of_pairs.argsort_stable(true, 0, false);
        let counts = experts_of_pairs.bincount(None::<&Tensor>, experts as i64);
        Self {
            tokens: pairs.divide_scalar_mode(K, "floor"),
            counts: Vec::try_from(&counts).expect("counts are a vector of integers"),
            pairs,
        }
    }

    /// The selected rows of each expert's pairs.
    fn by_expert(&self, rows: &Tensor, selection: &Tensor) -> Vec<Tensor> {
        rows.index_select(0, selection).split_with_sizes(&self.counts, 0)
    }
}
