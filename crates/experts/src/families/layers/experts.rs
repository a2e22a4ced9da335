//! The experts of a layer, computed as matrix products over all rows of each expert rather than token by
//! token.
//!
//! Pairs of a token and one of its experts are sorted by expert. In bfloat16 the products of all experts are
//! one grouped product whose bounds stay on the device, so the host does not wait
//! (`protocols/decisions/0015`). In 32-bit floats, and for shapes that grouped products do not take, the rows
//! of each expert that has any pass through its network. A low-rank adapter adds two products of its rank,
//! never a weight of full size. Experts that are trained whole compute with the adapter's weights.
//!
//! A CPU compiles a bfloat16 kernel for each new number of rows, which took most of a step. On a CPU an
//! expert's rows are therefore padded to a multiple of [`FILLED_ROWS`], so that few numbers of rows occur.
//! Nothing reads the padding.

use tch::{Device, Kind, Tensor};

use crate::device::FILLED_ROWS;
use crate::families::layers::dispatch::Dispatch;
use crate::families::layers::projection::{Lora, Whole, gate};
use crate::families::layers::router::Routing;
use crate::training::private::{Recorder, WeightPart};

/// The activation between an expert's two maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Activation {
    /// `silu(gate) · up`; the first map computes both.
    GatedSilu,
    /// `max(0, x)`, as in T5.
    Relu,
}

/// One map of all experts, weight `[experts, out, in]`.
pub(crate) struct ExpertProjection {
    /// The model's weight, frozen.
    pub(crate) weight: Tensor,
    /// An adapter's low-rank addition to it.
    pub(crate) lora: Option<Lora>,
    /// An adapter's weight in its place.
    pub(crate) trained: Option<Whole>,
}

/// The networks of all experts of a layer.
pub(crate) struct Experts {
    /// From the hidden width to the intermediate width, or to twice that for gated experts.
    pub(crate) up: ExpertProjection,
    /// Back to the hidden width.
    pub(crate) down: ExpertProjection,
    pub(crate) activation: Activation,
}

impl Experts {
    /// The weighted sum over each token's experts, `[tokens, hidden]`.
    pub(crate) fn forward(&self, routing: &Routing) -> Tensor {
        let rows = &routing.hidden;
        let dispatch = Dispatch::new(&routing.chosen, self.up.weight.size()[0]);
        let dispatch = match (rows.kind(), rows.device()) {
            (Kind::BFloat16, Device::Cpu) => dispatch.filled(FILLED_ROWS),
            _ => dispatch,
        };
        let sorted = dispatch.sorted(rows);
        let owners = routing.owners.index_select(0, &dispatch.tokens);
        let outputs = match self.can_be_grouped(rows.kind()) {
            true => self.grouped(&sorted, &dispatch, &owners),
            false => self.one_by_one(&sorted, &dispatch, &owners),
        };
        let (tokens, chosen) = (routing.chosen.size()[0], routing.chosen.size()[1]);
        let outputs = outputs.index_select(0, &dispatch.places).view([tokens, chosen, -1]);
        routing.weights.to_kind(rows.kind()).unsqueeze(1).bmm(&outputs).squeeze_dim(1)
    }

    /// Whether grouped products take these values and shapes: bfloat16, with rows that are multiples of 16
    /// bytes.
    fn can_be_grouped(&self, kind: Kind) -> bool {
        let sizes = [&self.up, &self.down].map(|map| {
            let rank = map.lora.as_ref().map_or(0, |lora| lora.a.size()[1]);
            [map.weight.size()[1], map.weight.size()[2], rank]
        });
        let aligned = sizes.iter().flatten().all(|size| size % 8 == 0);
        kind == Kind::BFloat16 && aligned
    }

    /// All experts in one grouped product for each map.
    fn grouped(&self, sorted: &Tensor, dispatch: &Dispatch, owners: &Tensor) -> Tensor {
        let rows = Rows {
            rows: sorted,
            owners,
            product: Product::Grouped { ends: dispatch.counts.cumsum(0, Kind::Int) },
            place: &|| WeightPart::Sorted(dispatch.counts.shallow_clone()),
        };
        self.network(&rows, &self.up.all_experts(sorted.kind()), &self.down.all_experts(sorted.kind()))
    }

    /// One expert after another. Reading the counts makes the host wait for the device.
    fn one_by_one(&self, sorted: &Tensor, dispatch: &Dispatch, owners: &Tensor) -> Tensor {
        let counts: Vec<i64> = Vec::try_from(&dispatch.counts).expect("counts are a vector of integers");
        let parts = sorted.split_with_sizes(&counts, 0);
        let owners = owners.split_with_sizes(&counts, 0);
        let (up, down) = (self.up.by_expert(sorted.kind()), self.down.by_expert(sorted.kind()));
        let mut outputs = Vec::new();
        for expert in (0..counts.len()).filter(|&expert| counts[expert] > 0) {
            let rows = Rows {
                rows: &parts[expert],
                owners: &owners[expert],
                product: Product::Single,
                place: &|| WeightPart::Expert(expert),
            };
            outputs.push(self.network(&rows, &up[expert], &down[expert]));
        }
        Tensor::cat(&outputs, 0)
    }

    /// The network of one expert, or of all experts at once, over its rows.
    fn network(&self, rows: &Rows<'_>, up: &Parts, down: &Parts) -> Tensor {
        let lifted = up.apply(rows, &self.up);
        let activated = match self.activation {
            Activation::GatedSilu => gate(&lifted),
            Activation::Relu => lifted.relu(),
        };
        down.apply(&Rows { rows: &activated, product: rows.product.shallow_clone(), ..*rows }, &self.down)
    }
}

/// How rows are multiplied with the transposed weights of experts.
enum Product {
    /// With the weight of one expert, `[out, in]`.
    Single,
    /// Each expert's rows with its weight of `[experts, out, in]`. `ends[e]` is the first row behind those of
    /// expert `e`.
    Grouped { ends: Tensor },
}

impl Product {
    fn multiply(&self, rows: &Tensor, weight: &Tensor) -> Tensor {
        match self {
            Self::Single => rows.matmul(&weight.tr()),
            Self::Grouped { ends } => {
                rows.internal_grouped_mm(&weight.transpose(-2, -1), Some(ends), None, None)
            }
        }
    }

    fn shallow_clone(&self) -> Self {
        match self {
            Self::Single => Self::Single,
            Self::Grouped { ends } => Self::Grouped { ends: ends.shallow_clone() },
        }
    }
}

/// The rows of one expert, or those of all experts, sorted by expert.
struct Rows<'a> {
    rows: &'a Tensor,
    /// The text of each row, `[rows]`.
    owners: &'a Tensor,
    product: Product,
    /// The part of the trained tensors that these rows are multiplied with. Called only in private training.
    place: &'a dyn Fn() -> WeightPart,
}

impl Rows<'_> {
    /// Records a product with a trained tensor of these experts.
    fn record(&self, recorder: &Recorder, part: &str, input: &Tensor, output: &Tensor) {
        recorder.record(part, (input, output), || ((self.place)(), self.owners.shallow_clone()));
    }
}

/// The weight and the adapter halves of one expert, or those of all experts stacked.
struct Parts {
    weight: Tensor,
    lora: Option<(Tensor, Tensor)>,
}

impl Parts {
    /// The product of the rows with a map, the adapter's addition included.
    fn apply(&self, inputs_of_experts: &Rows<'_>, map: &ExpertProjection) -> Tensor {
        let product = &inputs_of_experts.product;
        let out = product.multiply(inputs_of_experts.rows, &self.weight);
        if let Some(trained) = &map.trained {
            inputs_of_experts.record(&trained.recorder, "weight", inputs_of_experts.rows, &out);
        }
        match (&self.lora, &map.lora) {
            (Some((a, b)), Some(lora)) => {
                let inputs = lora.inputs(inputs_of_experts.rows);
                let first = product.multiply(&inputs, a);
                inputs_of_experts.record(&lora.recorder, "lora_A", &inputs, &first);
                let reduced = first * lora.scale;
                let second = product.multiply(&reduced, b);
                inputs_of_experts.record(&lora.recorder, "lora_B", &reduced, &second);
                out + second
            }
            _ => out,
        }
    }
}

impl ExpertProjection {
    /// A frozen map.
    pub(crate) fn new(weight: Tensor) -> Self {
        Self { weight, lora: None, trained: None }
    }

    /// The weight with which it computes, in the precision of the rows.
    fn used(&self, kind: Kind) -> Tensor {
        match &self.trained {
            Some(trained) => trained.weight.to_kind(kind),
            None => self.weight.shallow_clone(),
        }
    }

    /// The adapter's halves in the precision of the rows. Converted for all experts at once, not once for
    /// each expert.
    fn halves(&self, kind: Kind) -> Option<(Tensor, Tensor)> {
        self.lora.as_ref().map(|lora| (lora.a.to_kind(kind), lora.b.to_kind(kind)))
    }

    /// All experts stacked, for grouped products.
    fn all_experts(&self, kind: Kind) -> Parts {
        Parts { weight: self.used(kind), lora: self.halves(kind) }
    }

    /// Each expert on its own.
    fn by_expert(&self, kind: Kind) -> Vec<Parts> {
        let mut halves = self.halves(kind).map(|(a, b)| a.unbind(0).into_iter().zip(b.unbind(0)));
        let mut parts = Vec::new();
        for weight in self.used(kind).unbind(0) {
            parts.push(Parts { weight, lora: halves.as_mut().and_then(Iterator::next) });
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::training::private::Tape;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 0.3
    }

    fn projection(outputs: i64, inputs: i64) -> ExpertProjection {
        let (a, b) = (random(&[4, 8, inputs]), random(&[4, outputs, 8]));
        let lora = Lora { a, b, scale: 2.0, dropout: 0.0, recorder: Recorder::default() };
        let weight = random(&[4, outputs, inputs]).to_kind(Kind::BFloat16);
        ExpertProjection { lora: Some(lora), ..ExpertProjection::new(weight) }
    }

    #[test]
    fn grouped_products_are_those_of_each_expert_alone() {
        tch::manual_seed(1);
        let experts =
            Experts { up: projection(32, 16), down: projection(16, 16), activation: Activation::GatedSilu };
        assert!(experts.can_be_grouped(Kind::BFloat16) && !experts.can_be_grouped(Kind::Float));
        // Expert 2 has no tokens.
        let chosen = Tensor::from_slice(&[0_i64, 1, 3, 0, 1, 3, 3, 0, 0, 1]).view([5, 2]);
        let dispatch = Dispatch::new(&chosen, 4);
        let sorted = random(&[5, 16]).to_kind(Kind::BFloat16).index_select(0, &dispatch.tokens);
        let owners = dispatch.tokens.zeros_like();
        let grouped = experts.grouped(&sorted, &dispatch, &owners).to_kind(Kind::Float);
        let alone = experts.one_by_one(&sorted, &dispatch, &owners).to_kind(Kind::Float);
        let off = (&grouped - &alone).abs().max().double_value(&[]);
        let size = alone.abs().max().double_value(&[]);
        assert!(off < 0.02 * size, "they differ by {off} of {size}");
        let gradient = |out: Tensor, half: &Tensor| {
            Tensor::run_backward(&[out.square().sum(Kind::Float)], &[half], false, false).remove(0)
        };
        let half = &experts.down.lora.as_ref().expect("it has one").b.set_requires_grad(true);
        let one = gradient(experts.grouped(&sorted, &dispatch, &owners), half);
        let other = gradient(experts.one_by_one(&sorted, &dispatch, &owners), half);
        let off = (&one - &other).abs().max() / other.abs().max();
        assert!(off.double_value(&[]) < 0.05, "the gradients differ");
    }

    #[test]
    fn rows_that_fill_up_change_neither_outputs_nor_gradients() {
        tch::manual_seed(3);
        let experts =
            Experts { up: projection(32, 16), down: projection(16, 16), activation: Activation::GatedSilu };
        let chosen = Tensor::from_slice(&[0_i64, 1, 3, 0, 1, 3, 3, 0, 0, 1]).view([5, 2]);
        let rows = random(&[5, 16]).to_kind(Kind::BFloat16);
        let half = &experts.down.lora.as_ref().expect("it has one").b.set_requires_grad(true);
        let run = |dispatch: &Dispatch| {
            let sorted = dispatch.sorted(&rows);
            let outputs = experts.grouped(&sorted, dispatch, &dispatch.tokens.zeros_like());
            let outputs = outputs.index_select(0, &dispatch.places).to_kind(Kind::Float);
            let sum = outputs.square().sum(Kind::Float);
            (outputs.detach(), Tensor::run_backward(&[sum], &[half], false, false).remove(0))
        };
        let (plain, filled) = (Dispatch::new(&chosen, 4), Dispatch::new(&chosen, 4).filled(8));
        assert_eq!(Vec::<i64>::try_from(&filled.counts).expect("counts"), [8, 8, 0, 8]);
        let (one, other) = (run(&plain), run(&filled));
        assert!(one.0.allclose(&other.0, 1e-2, 1e-3, false), "outputs differ");
        assert!(one.1.allclose(&other.1, 1e-2, 1e-3, false), "gradients differ");
        let off = run(&Dispatch { places: filled.places.flip([0]), ..filled });
        assert!(!one.0.allclose(&off.0, 1e-2, 1e-3, false), "control: other rows are other outputs");
    }

    fn whole(outputs: i64, inputs: i64) -> ExpertProjection {
        let trained = Whole { weight: random(&[4, outputs, inputs]), recorder: Recorder::default() };
        ExpertProjection { lora: None, trained: Some(trained), ..projection(outputs, inputs) }
    }

    /// The trained tensors of a map, whose products are recorded on the tape.
    fn recorded(map: &mut ExpertProjection, tape: &Tape) -> Vec<(String, Tensor)> {
        let recorder = tape.recorder("down".to_owned());
        let tensors = match (&mut map.lora, &mut map.trained) {
            (Some(lora), _) => {
                lora.recorder = recorder;
                vec![("down.lora_A", &lora.a), ("down.lora_B", &lora.b)]
            }
            (None, Some(trained)) => {
                trained.recorder = recorder;
                vec![("down.weight", &trained.weight)]
            }
            (None, None) => vec![],
        };
        tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor.set_requires_grad(true))).collect()
    }

    /// The gradients of each of three texts by the trained tensors of the map down, with grouped products or
    /// with one product for each expert.
    fn text_gradients(experts: &mut Experts, grouped: bool) -> Vec<Tensor> {
        let tape = Tape::default();
        let parameters = recorded(&mut experts.down, &tape);
        let chosen = Tensor::from_slice(&[0_i64, 1, 3, 0, 1, 3, 3, 0, 0, 1]).view([5, 2]);
        let dispatch = Dispatch::new(&chosen, 4);
        let rows = (Tensor::arange(80, (Kind::Float, Device::Cpu)) * 0.7).sin().view([5, 16]);
        let sorted = rows.to_kind(Kind::BFloat16).index_select(0, &dispatch.tokens);
        let owners = Tensor::from_slice(&[0_i64, 0, 1, 2, 2]).index_select(0, &dispatch.tokens);
        let out = match grouped {
            true => experts.grouped(&sorted, &dispatch, &owners),
            false => experts.one_by_one(&sorted, &dispatch, &owners),
        };
        tape.gradients(&out.square().sum(Kind::Float), 3, &parameters)
    }

    #[test]
    fn grouped_products_give_each_text_the_same_gradients() {
        tch::manual_seed(2);
        let activation = Activation::GatedSilu;
        assert_same_gradients(Experts { up: projection(32, 16), down: projection(16, 16), activation });
        assert_same_gradients(Experts { up: whole(32, 16), down: whole(16, 16), activation });
    }

    fn assert_same_gradients(mut experts: Experts) {
        let grouped = text_gradients(&mut experts, true);
        let alone = text_gradients(&mut experts, false);
        assert!(!alone.is_empty() && grouped.len() == alone.len());
        for (one, other) in grouped.iter().zip(&alone) {
            assert_eq!(one.size()[..2], [3, 4], "for each text and each expert");
            let off = ((one - other).abs().max() / other.abs().max()).double_value(&[]);
            assert!(off < 0.05, "they differ by {off} of the largest");
            let unused = one.select(1, 2).abs().max().double_value(&[]);
            assert_eq!(unused, 0.0, "expert 2 has no tokens");
            let absent = one.get(1).get(0).abs().max().double_value(&[]);
            assert_eq!(absent, 0.0, "text 1 does not use expert 0");
        }
    }
}
