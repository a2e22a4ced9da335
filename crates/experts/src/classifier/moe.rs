//! A MoE feed-forward network whose experts start as copies of one dense network.
//!
//! Expert `e` is `down_e(gelu(up_e(x)))` with `up_e = W + (alpha / rank) · B · A`, and `down_e` alike. Only
//! `B` is trained; `A` is drawn from the seed, frozen, and equal at every member (FFA-LoRA, Sun et al. 2024,
//! "Improving LoRA in Privacy-preserving Federated Learning"). The adapter is then linear in what is trained,
//! so the average of the members' updates is the update of the average, which it is not when `A` is trained
//! too.
//!
//! All experts share the frozen `W`, so each token passes through it once, whatever the number of its
//! experts: going up, `W x` is the same for all of them; going down, the weighted sum over experts moves
//! inside the product, `sum_e w_e · W h_e = W · sum_e w_e h_e`. The low-rank products are made for all
//! experts at once too: `A` of all of them, side by side, gives each token `experts · rank` values, of which
//! only those of its own expert stay before `B` of all of them. Nothing is sorted, so that the host never
//! waits for a count. This suits few experts of low rank: where `experts · rank` is far above 384, most of
//! what is multiplied is 0.

use tch::{Kind, Tensor};

use crate::classifier::config::{HIDDEN, INTERMEDIATE, ModelConfig, TOP_K};
use crate::classifier::minilm::{BertFeedForward, filled};
use crate::draw::{Draw, DrawPurpose};
use crate::packing::Packing;
use crate::training::private::{Recorder, WeightPart};
use crate::training::routing::LayerRouting;

/// [`TOP_K`] as a tensor's size.
const K: i64 = TOP_K as i64;

/// What a MoE layer learns.
pub(crate) struct MoeParameters {
    /// `[experts, 384]`.
    pub(crate) router: Tensor,
    /// Trained halves of the adapters on the map up, `[experts, 1536, rank]`.
    pub(crate) up: Tensor,
    /// Trained halves of the adapters on the map down, `[experts, 384, rank]`.
    pub(crate) down: Tensor,
    /// Writes the products with these parameters to a tape in private training, and nothing otherwise.
    pub(crate) recorder: Recorder,
}

impl MoeParameters {
    /// The same tensors, not copied, whose products go to this recorder.
    pub(crate) fn recorded(&self, recorder: Recorder) -> Self {
        Self {
            router: self.router.shallow_clone(),
            up: self.up.shallow_clone(),
            down: self.down.shallow_clone(),
            recorder,
        }
    }
}

/// The frozen part of a MoE layer.
pub(crate) struct MoeLayer {
    dense: BertFeedForward,
    experts: i64,
    /// Frozen halves of the experts' adapters on the map up side by side, `[384, experts · rank]`, scaled by
    /// `alpha / rank`.
    adapters_up: Tensor,
    /// Frozen halves of the adapters on the map down, `[1536, experts · rank]`, scaled in the
    /// same way.
    adapters_down: Tensor,
}

impl MoeLayer {
    /// Upcycles a dense network into the MoE layer number `layer`.
    pub(crate) fn new(config: &ModelConfig, layer: usize, dense: BertFeedForward) -> Self {
        let adapters_up = frozen_side_by_side(config, layer, DrawPurpose::AdapterUp, HIDDEN);
        let adapters_down = frozen_side_by_side(config, layer, DrawPurpose::AdapterDown, INTERMEDIATE);
        Self {
            experts: config.experts as i64,
            adapters_up: adapters_up.to_device(dense.device()).to_kind(dense.kind()),
            adapters_down: adapters_down.to_device(dense.device()).to_kind(dense.kind()),
            dense,
        }
    }

    /// Routed hidden states through the experts, with residual connection and normalisation, `[tokens, 384]`.
    pub(crate) fn forward(
        &self,
        routing: &LayerRouting,
        parameters: &MoeParameters,
        packing: &Packing,
    ) -> Tensor {
        let (hidden, kind) = (&routing.hidden, self.dense.kind());
        let rows = filled(hidden.to_kind(kind));
        // `[tokens, 2 · experts]`: the expert of the first choice, then that of the second, as 1 among zeros.
        let chosen = filled(routing.chosen.one_hot(self.experts).flatten(1, 2).to_kind(kind));
        let weights = filled(routing.weights().to_kind(kind));
        let (up, down) = (side_by_side(&parameters.up, kind), side_by_side(&parameters.down, kind));
        let dense_up = self.dense.up.forward(&rows);
        let reduced = rows.matmul(&self.adapters_up);
        let (mut intermediate, mut low_rank) = (Vec::new(), Vec::new());
        let choices = chosen.chunk(K, 1);
        for (choice, chosen) in choices.iter().enumerate() {
            let reduced_chosen = self.only_chosen(&reduced, chosen);
            let lifted = dense_up.addmm(&reduced_chosen, &up);
            let rows = move || self.recorded_rows(chosen, packing);
            parameters.recorder.record("up", (&reduced_chosen, &lifted), rows);
            let weighted = lifted.gelu("none") * weights.narrow(1, choice as i64, 1);
            low_rank.push((self.only_chosen(&weighted.matmul(&self.adapters_down), chosen), rows));
            intermediate.push(weighted);
        }
        // All choices share one product down, so each of them is recorded with the whole output: the gradient
        // by a sum is that by each of its terms.
        let lowered = total(low_rank.iter().map(|(reduced_chosen, _)| reduced_chosen)).matmul(&down);
        for (reduced_chosen, rows) in low_rank {
            parameters.recorder.record("down", (&reduced_chosen, &lowered), rows);
        }
        let out = self.dense.down.forward(&total(intermediate.iter())) + lowered;
        self.dense.norm.forward(&(hidden + out.narrow(0, 0, hidden.size()[0])))
    }

    /// For private training: each row's expert, and the note that it belongs to. Rows that only fill up are
    /// 0, so it does not matter whose they are.
    fn recorded_rows(&self, chosen: &Tensor, packing: &Packing) -> (WeightPart, Tensor) {
        let expert_of_row = chosen.argmax(1, false);
        (WeightPart::Chosen { experts: self.experts, expert_of_row }, filled(packing.owners()))
    }

    /// Rows `[tokens, experts · rank]` with 0 outside the columns of each token's expert. `chosen`, `[tokens,
    /// experts]`, is 1 for that expert and 0 for the others.
    fn only_chosen(&self, rows: &Tensor, chosen: &Tensor) -> Tensor {
        (rows.view([rows.size()[0], self.experts, -1]) * chosen.unsqueeze(-1)).flatten(1, 2)
    }
}

/// Frozen halves of all experts' adapters, `[inputs, experts · rank]`, scaled by `alpha / rank`. The scale is
/// in the frozen half so that no step has to multiply by it. Checkpoints have these halves without it.
fn frozen_side_by_side(config: &ModelConfig, layer: usize, purpose: DrawPurpose, inputs: usize) -> Tensor {
    let mut values = Vec::with_capacity(config.experts * config.rank * inputs);
    for expert in 0..config.experts {
        values.extend(frozen_adapter(config, purpose, layer, expert));
    }
    let rows = Tensor::from_slice(&values).view([-1, inputs as i64]) * (config.alpha / config.rank as f64);
    rows.tr().contiguous()
}

/// Second halves of all experts' adapters, `[experts, out, rank]`, as one `[experts · rank, out]`.
fn side_by_side(halves: &Tensor, kind: Kind) -> Tensor {
    halves.to_kind(kind).transpose(1, 2).flatten(0, 1)
}

/// The sum of one tensor or more.
fn total<'a>(mut tensors: impl Iterator<Item = &'a Tensor>) -> Tensor {
    let first = tensors.next().expect("every token has experts").shallow_clone();
    tensors.fold(first, |sum, tensor| sum + tensor)
}

/// The frozen half of one adapter, `[rank, inputs]`, uniform in ±1/√inputs as LoRA has it.
pub(crate) fn frozen_adapter(
    config: &ModelConfig,
    purpose: DrawPurpose,
    layer: usize,
    expert: usize,
) -> Vec<f32> {
    let inputs = if matches!(purpose, DrawPurpose::AdapterUp) { HIDDEN } else { INTERMEDIATE };
    let bound = 1.0 / (inputs as f32).sqrt();
    Draw::new(config.seed, purpose, layer * config.experts + expert).symmetric(config.rank * inputs, bound)
}
