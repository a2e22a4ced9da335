//! The trained part of the model: MoE layers and head, and the parameters that they learn.

use cloister_params::block::BlockKind;
use cloister_updates::BlockVectors;
use tch::{Device, Kind, Tensor};

use crate::classifier::blocks::{block_length, block_table};
use crate::classifier::config::{HIDDEN, INTERMEDIATE, ModelConfig, TOP_K};
use crate::classifier::encoder::Encoder;
use crate::classifier::features::NoteBatch;
use crate::classifier::minilm::BertAttention;
use crate::classifier::moe::{MoeLayer, MoeParameters};
use crate::device::values;
use crate::packing::Packing;
use crate::training::private::{Recorder, Tape, WeightPart};
use crate::training::routing::LayerRouting;

/// Everything that is trained.
pub(crate) struct Parameters {
    pub(crate) layers: Vec<MoeParameters>,
    /// `[classes, 384]`.
    pub(crate) head_weight: Tensor,
    /// `[classes]`.
    pub(crate) head_bias: Tensor,
    /// Writes the products with the head to a tape in private training, and nothing otherwise.
    recorder: Recorder,
}

impl Parameters {
    /// Takes the parameters out of a model's blocks, ready for training.
    pub(crate) fn from_blocks(config: &ModelConfig, blocks: &BlockVectors, device: Device) -> Self {
        let layers = (0..config.moe_layers)
            .map(|layer| layer_from_blocks(config, blocks, layer as u16, device))
            .collect();
        let (weight, bias) = block(blocks, BlockKind::Shared).split_at(config.classes.len() * HIDDEN);
        let classes = config.classes.len();
        Self {
            layers,
            head_weight: trained(weight, &[classes, HIDDEN], device),
            head_bias: trained(bias, &[classes], device),
            recorder: Recorder::default(),
        }
    }

    /// The same tensors, whose products are written to the tape under the names that [`named`](Self::named)
    /// gives them.
    pub(crate) fn recorded(&self, tape: &Tape) -> Self {
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            layers.push(layer.recorded(tape.recorder(format!("layer.{index}"))));
        }
        Self {
            layers,
            head_weight: self.head_weight.shallow_clone(),
            head_bias: self.head_bias.shallow_clone(),
            recorder: tape.recorder("head".to_owned()),
        }
    }

    /// All tensors with their names.
    pub(crate) fn named(&self) -> Vec<(String, &Tensor)> {
        let mut named = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let parts = [("up", &layer.up), ("down", &layer.down), ("router", &layer.router)];
            named.extend(parts.map(|(part, tensor)| (format!("layer.{index}.{part}"), tensor)));
        }
        let head = [("weight", &self.head_weight), ("bias", &self.head_bias)];
        named.extend(head.map(|(part, tensor)| (format!("head.{part}"), tensor)));
        named
    }

    /// The parameters as blocks; the reserved coordinate of routers and the routing blocks are 0.
    pub(crate) fn to_values(&self, config: &ModelConfig) -> Vec<Vec<f32>> {
        block_table(config)
            .iter()
            .map(|shape| match shape.kind {
                BlockKind::Expert { layer, expert } => self.expert(layer, expert),
                BlockKind::Router { layer } => {
                    let mut router = values(&self.layers[usize::from(layer)].router);
                    router.push(0.0);
                    router
                }
                BlockKind::Shared => [values(&self.head_weight), values(&self.head_bias)].concat(),
                measured
                @ (BlockKind::Routing { .. } | BlockKind::Evaluation | BlockKind::Regions { .. }) => {
                    vec![0.0; block_length(config, measured)]
                }
            })
            .collect()
    }

    /// Writes the head's two products to the tape, if there is one. `pooled` is `[notes, 384]`, `logits`
    /// `[notes, classes]`.
    fn record_head(&self, pooled: &Tensor, logits: &Tensor) {
        // Row by row, note by note.
        let rows = || (WeightPart::Whole, Tensor::arange(pooled.size()[0], (Kind::Int64, logits.device())));
        self.recorder.record("weight", (pooled, logits), rows);
        // The bias is the weight of an input that is 1.
        let ones = pooled.narrow(1, 0, 1).ones_like();
        self.recorder.record("bias", (&ones, logits), rows);
    }

    /// An expert's block: the trained halves of its adapters, up and down.
    fn expert(&self, layer: u16, expert: u16) -> Vec<f32> {
        let layer = &self.layers[usize::from(layer)];
        let expert = i64::from(expert);
        [values(&layer.up.get(expert)), values(&layer.down.get(expert))].concat()
    }
}

/// What one MoE layer learns, from the blocks of its experts and its router.
fn layer_from_blocks(
    config: &ModelConfig,
    blocks: &BlockVectors,
    layer: u16,
    device: Device,
) -> MoeParameters {
    let router = block(blocks, BlockKind::Router { layer });
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for expert in 0..config.experts as u16 {
        let (expert_up, expert_down) =
            block(blocks, BlockKind::Expert { layer, expert }).split_at(INTERMEDIATE * config.rank);
        up.extend_from_slice(expert_up);
        down.extend_from_slice(expert_down);
    }
    MoeParameters {
        // The last coordinate is the reserved one.
        router: trained(&router[..router.len() - 1], &[config.experts, HIDDEN], device),
        up: trained(&up, &[config.experts, INTERMEDIATE, config.rank], device),
        down: trained(&down, &[config.experts, HIDDEN, config.rank], device),
        recorder: Recorder::default(),
    }
}

fn block(blocks: &BlockVectors, kind: BlockKind) -> &[f32] {
    blocks.get(kind).expect("blocks were checked against the configuration")
}

/// A tensor that gradients reach.
fn trained(values: &[f32], shape: &[usize], device: Device) -> Tensor {
    let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    // After the copy to the device: a copy made later would be a result of the parameter, not the parameter.
    Tensor::from_slice(values).view(shape.as_slice()).to_device(device).set_requires_grad(true)
}

/// A MoE layer with the attention before it.
struct UpperLayer {
    attention: BertAttention,
    experts: MoeLayer,
}

/// The frozen weights of the upper layers.
pub(crate) struct UpcycledModel {
    layers: Vec<UpperLayer>,
    device: Device,
}

/// The model's output for a batch.
pub(crate) struct Output {
    /// `[notes, classes]`.
    pub(crate) logits: Tensor,
    /// How each MoE layer routed the tokens.
    pub(crate) routings: Vec<LayerRouting>,
}

impl UpcycledModel {
    /// Upcycles the encoder's upper layers, sharing their weights with it.
    pub(crate) fn new(encoder: &Encoder) -> Self {
        let config = encoder.config();
        let upper = &encoder.minilm().layers[config.first_moe_layer()..];
        let layers = upper
            .iter()
            .enumerate()
            .map(|(index, layer)| UpperLayer {
                attention: layer.attention.shared(),
                experts: MoeLayer::new(config, index, layer.feed_forward.shared()),
            })
            .collect();
        Self { layers, device: encoder.device() }
    }

    /// Where it computes.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Runs a batch through all layers.
    pub(crate) fn forward(&self, batch: &NoteBatch, parameters: &Parameters) -> Output {
        let routings = self.route(batch, parameters);
        let pooled = self.pooled(&routings, batch, parameters);
        let logits = pooled.linear(&parameters.head_weight, Some(&parameters.head_bias));
        // Before the offsets: the tape needs the output of the product itself.
        parameters.record_head(&pooled, &logits);
        let logits = batch.offsets.as_ref().map_or(logits.shallow_clone(), |offsets| logits + offsets);
        Output { logits, routings }
    }

    /// The output of the experts of the layer that was routed last, averaged over each note's tokens,
    /// `[notes, 384]`.
    pub(crate) fn pooled(
        &self,
        routings: &[LayerRouting],
        batch: &NoteBatch,
        parameters: &Parameters,
    ) -> Tensor {
        batch.packing.mean(&self.experts(routings, parameters, &batch.packing))
    }

    /// Runs a batch up to the router of the last layer, and returns how each layer routed the tokens.
    /// Statistics need no more, so the last experts run only in [`pooled`](Self::pooled).
    pub(crate) fn route(&self, batch: &NoteBatch, parameters: &Parameters) -> Vec<LayerRouting> {
        let mut routings = Vec::with_capacity(self.layers.len());
        for (layer, trained) in self.layers.iter().zip(&parameters.layers) {
            let input = match routings.is_empty() {
                // The encoder ran the first layer's attention.
                true => batch.hidden.shallow_clone(),
                false => {
                    let below = self.experts(&routings, parameters, &batch.packing);
                    layer.attention.forward(&below, &batch.packing)
                }
            };
            let logits = input.matmul(&trained.router.tr());
            trained
                .recorder
                .record("router", (&input, &logits), || (WeightPart::Whole, batch.packing.owners()));
            routings.push(LayerRouting::new(input, &logits, TOP_K));
        }
        routings
    }

    /// The output of the experts of the layer that was routed last, `[tokens, 384]`.
    fn experts(&self, routings: &[LayerRouting], parameters: &Parameters, packing: &Packing) -> Tensor {
        let layer = routings.len() - 1;
        self.layers[layer].experts.forward(&routings[layer], &parameters.layers[layer], packing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::blocks::initial_blocks;
    use crate::device::Precision;
    use crate::files::notes::Note;
    use crate::synthetic::{self, Style};
    use crate::texts::Windows;

    fn encoder(classes: &[&str]) -> Option<Encoder> {
        let Some(folder) = std::env::var_os("CLOISTER_MINILM") else {
            eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
            return None;
        };
        let config = ModelConfig::new(classes.iter().map(|&name| name.to_owned()).collect());
        Some(Encoder::open(folder.as_ref(), config, 1, Device::Cpu).expect("the weights are there"))
    }

    /// Mean-pooled output of the dense model, `[notes, 384]`.
    fn dense(encoder: &Encoder, notes: &[Note]) -> Tensor {
        let only =
            |note: &Note| encoder.windows(&note.text, Windows::default()).expect("plain text").0.concat();
        let tokens: Vec<Vec<i64>> = notes.iter().map(only).collect();
        let lengths: Vec<i64> = tokens.iter().map(|note| note.len() as i64).collect();
        let packing = Packing::new(&lengths);
        let minilm = encoder.minilm();
        let embedded = minilm.embeddings.forward(&Tensor::from_slice(&tokens.concat()), &packing);
        let hidden = minilm.layers.iter().fold(embedded, |hidden, layer| layer.forward(&hidden, &packing));
        packing.mean(&hidden)
    }

    /// Mean-pooled output of the MoE model as it starts.
    fn upcycled(encoder: &Encoder, notes: &[Note]) -> Tensor {
        let features = encoder.features(notes).expect("the labels are known");
        let batch = features.batches(i64::MAX).next().expect("there are notes");
        let config = encoder.config();
        let parameters = Parameters::from_blocks(config, &initial_blocks(config), Device::Cpu);
        let model = UpcycledModel::new(encoder);
        model.pooled(&model.route(&batch, &parameters), &batch, &parameters)
    }

    fn largest(tensor: &Tensor) -> f64 {
        tensor.abs().max().double_value(&[])
    }

    #[test]
    fn the_upcycled_model_starts_as_the_dense_one() {
        let Some(encoder) = encoder(&synthetic::CLASSES) else {
            return;
        };
        let notes =
            [Style::Terse, Style::Dictated].map(|style| synthetic::generate(6, &[1.0; 8], style, 1)).concat();
        let dense = dense(&encoder, &notes);
        let difference = largest(&(upcycled(&encoder, &notes) - &dense));
        assert!(difference < 1e-4, "the outputs differ by {difference}");
        let encoder = encoder.in_precision(Precision::Bfloat16);
        let rough = largest(&(upcycled(&encoder, &notes) - &dense)) / largest(&dense);
        assert!(rough > 1e-4 && rough < 0.03, "bfloat16 is off by {rough} of the largest");
    }

    #[test]
    fn the_dense_model_is_all_minilm_l6_v2() {
        let Some(encoder) = encoder(&["yes", "no"]) else {
            return;
        };
        let texts = ["This is an example sentence", "Each sentence is converted"];
        let notes = texts.map(|text| Note { text: text.to_owned(), label: "yes".to_owned() });
        let pooled = dense(&encoder, &notes);
        let norm = pooled.square().sum_dim_intlist(-1, true, Kind::Float).sqrt();
        let got = values(&(pooled / norm));
        // The first values of the embedding that the model's page prints for the first sentence.
        for (got, expected) in got.iter().zip([0.067657, 0.063496, 0.048713, 0.079305, 0.037448]) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
    }
}
