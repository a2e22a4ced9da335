//! Linear maps that an adapter may add to.

use tch::Tensor;

use crate::packing::Packing;
use crate::training::private::{Recorder, WeightPart};

/// A low-rank addition `scale · B · A` to a weight (LoRA, Hu et al. 2021, section 4). Both halves are 32-bit
/// floats, whatever the model computes in: they are the masters that the optimizer moves.
pub(crate) struct Lora {
    /// `[rank, in]`, or `[experts, rank, in]`.
    pub(crate) a: Tensor,
    /// `[out, rank]`, or `[experts, out, rank]`.
    pub(crate) b: Tensor,
    /// `alpha / rank`.
    pub(crate) scale: f64,
    /// Probability with which each input of `A` is left out; 0 outside of training.
    pub(crate) dropout: f64,
    /// Records the products with both halves, in private training.
    pub(crate) recorder: Recorder,
}

impl Lora {
    /// The inputs of `A`: the rows after dropout.
    pub(crate) fn inputs(&self, rows: &Tensor) -> Tensor {
        if self.dropout > 0.0 { rows.dropout(self.dropout, true) } else { rows.shallow_clone() }
    }
}

/// A weight that is trained whole, in 32-bit floats: the master that the optimizer moves.
pub(crate) struct Whole {
    pub(crate) weight: Tensor,
    /// Records the product with it, in private training.
    pub(crate) recorder: Recorder,
}

/// A linear map, weight `[out, in]`.
pub(crate) struct Projection {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) lora: Option<Lora>,
}

impl Projection {
    /// Packed rows `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, rows: &Tensor, packing: &Packing) -> Tensor {
        let out = rows.linear(&self.weight, self.bias.as_ref());
        match &self.lora {
            None => out,
            Some(lora) => {
                let kind = rows.kind();
                // Gradients pass through the conversion of both halves to their 32-bit masters.
                let inputs = lora.inputs(rows);
                let product = inputs.matmul(&lora.a.to_kind(kind).tr());
                lora.recorder.record("lora_A", (&inputs, &product), || (WeightPart::Whole, packing.owners()));
                // Scaled here, where a row has `rank` values. On the tape the scale is a part of the input of
                // `B`.
                let reduced = product * lora.scale;
                let out = out.addmm(&reduced, &lora.b.to_kind(kind).tr());
                // The gradient by the sum is also the gradient by the product with `B`, so the sum is
                // recorded.
                lora.recorder.record("lora_B", (&reduced, &out), || (WeightPart::Whole, packing.owners()));
                out
            }
        }
    }
}

/// Root-mean-square normalisation (Zhang and Sennrich 2019) over the last dimension.
pub(crate) struct Norm {
    pub(crate) weight: Tensor,
    pub(crate) epsilon: f64,
}

impl Norm {
    pub(crate) fn forward(&self, rows: &Tensor) -> Tensor {
        rows.rms_norm(self.weight.size(), Some(&self.weight), self.epsilon)
    }
}

/// A gated feed-forward network `down(silu(gate(x)) · up(x))`; all of it is frozen.
pub(crate) struct GatedNetwork {
    /// Gate and up in one, `[2 · intermediate, hidden]`, so that one product computes both.
    pub(crate) gate_up: Tensor,
    /// `[hidden, intermediate]`.
    pub(crate) down: Tensor,
}

impl GatedNetwork {
    pub(crate) fn forward(&self, rows: &Tensor) -> Tensor {
        gate(&rows.linear(&self.gate_up, None::<&Tensor>)).linear(&self.down, None::<&Tensor>)
    }
}

/// `silu(first half) · second half` of the last dimension.
pub(crate) fn gate(gate_up: &Tensor) -> Tensor {
    let parts = gate_up.chunk(2, -1);
    parts[0].silu() * &parts[1]
}
