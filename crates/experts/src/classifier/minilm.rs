//! The parts of a BERT encoder and how they are read from MiniLM's files. All of them are frozen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use crate::classifier::config::{HEADS, HIDDEN, INTERMEDIATE, LAYERS, POSITIONS};
use crate::device::FILLED_ROWS;
use crate::error::ExpertsError;
use crate::model_files::{read_file, unusable};
use crate::packing::Packing;

/// What BERT's layer normalisations add to a variance.
const NORM_EPSILON: f64 = 1e-12;
const H: i64 = HIDDEN as i64;

/// Rows `[tokens, …]`, on a processor with rows of zeros at the end up to a multiple of [`FILLED_ROWS`],
/// which says why.
pub(crate) fn filled(rows: Tensor) -> Tensor {
    let missing = rows.size()[0].wrapping_neg().rem_euclid(FILLED_ROWS);
    if rows.device() != Device::Cpu || missing == 0 {
        return rows;
    }
    // Pads are listed from the last dimension to the first, each with its start before its end.
    let mut at_the_end = vec![0; 2 * rows.dim()];
    at_the_end[2 * rows.dim() - 1] = missing;
    rows.constant_pad_nd(at_the_end)
}

/// A linear map with bias, weight `[out, in]`, of rows in its own precision.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn forward(&self, rows: &Tensor) -> Tensor {
        rows.linear(&self.weight, Some(&self.bias))
    }

    /// The map of rows `[tokens, in]` of any precision; the result, `[tokens, out]`, is in 32-bit floats.
    fn forward_any(&self, rows: &Tensor) -> Tensor {
        let filled = filled(rows.to_kind(self.weight.kind()));
        self.forward(&filled).narrow(0, 0, rows.size()[0]).to_kind(Kind::Float)
    }

    fn to_kind(&self, kind: Kind) -> Self {
        Self { weight: self.weight.to_kind(kind), bias: self.bias.to_kind(kind) }
    }

    fn shared(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }
}

/// A layer normalisation over the hidden width.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub(crate) fn forward(&self, rows: &Tensor) -> Tensor {
        rows.layer_norm([H], Some(&self.weight), Some(&self.bias), NORM_EPSILON, false)
    }

    fn shared(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }
}

/// Self-attention with its residual connection and normalisation.
pub(crate) struct BertAttention {
    /// Queries, keys and values by one product, `[3 · 384, 384]`.
    query_key_value: Linear,
    output: Linear,
    norm: LayerNorm,
}

impl BertAttention {
    /// Maps packed hidden states `[tokens, 384]` to packed hidden states. Scores are in 32-bit floats: a
    /// processor is slower at them in bfloat16.
    pub(crate) fn forward(&self, hidden: &Tensor, packing: &Packing) -> Tensor {
        let (windows, longest, heads) = (packing.windows, packing.longest, HEADS as i64);
        let parts = packing
            .spread(&self.query_key_value.forward_any(hidden))
            .view([windows, longest, 3, heads, H / heads])
            // `[3, windows, heads, longest, 32]`: queries, keys and values, with a matrix for each window and
            // head.
            .permute([2, 0, 3, 1, 4])
            .unbind(0);
        let attended = Tensor::scaled_dot_product_attention(
            &parts[0],
            &parts[1],
            &parts[2],
            Some(&packing.mask),
            0.0,
            false,
            None,
            false,
        );
        let attended = attended.transpose(1, 2).reshape([windows * longest, H]);
        self.norm.forward(&(hidden + self.output.forward_any(&packing.pack(&attended))))
    }

    fn to_kind(&self, kind: Kind) -> Self {
        Self {
            query_key_value: self.query_key_value.to_kind(kind),
            output: self.output.to_kind(kind),
            norm: self.norm.shared(),
        }
    }

    /// The same weights once more, without a copy of them.
    pub(crate) fn shared(&self) -> Self {
        Self {
            query_key_value: self.query_key_value.shared(),
            output: self.output.shared(),
            norm: self.norm.shared(),
        }
    }
}

/// The feed-forward network of a layer and the normalisation that follows it.
pub(crate) struct BertFeedForward {
    /// From the hidden to the intermediate width.
    pub(crate) up: Linear,
    /// Back from the intermediate to the hidden width.
    pub(crate) down: Linear,
    /// Follows the residual connection.
    pub(crate) norm: LayerNorm,
}

impl BertFeedForward {
    fn forward(&self, hidden: &Tensor) -> Tensor {
        let rows = filled(hidden.to_kind(self.kind()));
        // `none` is the exact GELU, not the tanh approximation; BERT's configuration calls it `gelu`.
        let out = self.down.forward(&self.up.forward(&rows).gelu("none"));
        self.norm.forward(&(hidden + out.narrow(0, 0, hidden.size()[0])))
    }

    fn to_kind(&self, kind: Kind) -> Self {
        Self { up: self.up.to_kind(kind), down: self.down.to_kind(kind), norm: self.norm.shared() }
    }

    /// What its products are made in.
    pub(crate) fn kind(&self) -> Kind {
        self.up.weight.kind()
    }

    /// Where it computes.
    pub(crate) fn device(&self) -> Device {
        self.up.weight.device()
    }

    /// The same weights once more, without a copy of them.
    pub(crate) fn shared(&self) -> Self {
        Self { up: self.up.shared(), down: self.down.shared(), norm: self.norm.shared() }
    }
}

/// A layer of the encoder.
pub(crate) struct BertLayer {
    pub(crate) attention: BertAttention,
    pub(crate) feed_forward: BertFeedForward,
}

impl BertLayer {
    pub(crate) fn forward(&self, hidden: &Tensor, packing: &Packing) -> Tensor {
        self.feed_forward.forward(&self.attention.forward(hidden, packing))
    }

    fn to_kind(&self, kind: Kind) -> Self {
        Self { attention: self.attention.to_kind(kind), feed_forward: self.feed_forward.to_kind(kind) }
    }

    fn read(weights: &mut Weights, index: usize) -> Result<Self, ExpertsError> {
        let layer = format!("encoder.layer.{index}");
        Ok(Self {
            attention: BertAttention {
                query_key_value: weights.query_key_value(&format!("{layer}.attention.self"))?,
                output: weights.linear(&format!("{layer}.attention.output.dense"), HIDDEN, HIDDEN)?,
                norm: weights.layer_norm(&format!("{layer}.attention.output.LayerNorm"))?,
            },
            feed_forward: BertFeedForward {
                up: weights.linear(&format!("{layer}.intermediate.dense"), INTERMEDIATE, HIDDEN)?,
                down: weights.linear(&format!("{layer}.output.dense"), HIDDEN, INTERMEDIATE)?,
                norm: weights.layer_norm(&format!("{layer}.output.LayerNorm"))?,
            },
        })
    }
}

/// Embeddings of words and positions; every token has type 0.
pub(crate) struct Embeddings {
    words: Tensor,
    /// Position embeddings, with the embedding of type 0 added.
    positions: Tensor,
    norm: LayerNorm,
}

impl Embeddings {
    /// Rows of the vocabulary.
    pub(crate) fn vocabulary(&self) -> i64 {
        self.words.size()[0]
    }

    /// Packed token numbers `[tokens]` to hidden states `[tokens, 384]`.
    pub(crate) fn forward(&self, tokens: &Tensor, packing: &Packing) -> Tensor {
        let words = self.words.index_select(0, tokens);
        self.norm.forward(&(words + self.positions.index_select(0, &packing.places())))
    }

    fn read(weights: &mut Weights) -> Result<Self, ExpertsError> {
        let vocabulary = weights.config.vocab_size;
        let types = weights.take("embeddings.token_type_embeddings.weight", &[2, HIDDEN])?;
        let positions = weights.take("embeddings.position_embeddings.weight", &[POSITIONS, HIDDEN])?;
        Ok(Self {
            words: weights.take("embeddings.word_embeddings.weight", &[vocabulary, HIDDEN])?,
            positions: positions + types.get(0),
            norm: weights.layer_norm("embeddings.LayerNorm")?,
        })
    }
}

/// All of MiniLM.
pub(crate) struct MiniLm {
    pub(crate) embeddings: Embeddings,
    pub(crate) layers: Vec<BertLayer>,
}

impl MiniLm {
    /// Reads `config.json` and `model.safetensors` from a folder.
    pub(crate) fn read(folder: &Path, device: Device) -> Result<Self, ExpertsError> {
        let mut weights = Weights::read(folder, device)?;
        let embeddings = Embeddings::read(&mut weights)?;
        let layers =
            (0..LAYERS).map(|index| BertLayer::read(&mut weights, index)).collect::<Result<_, _>>()?;
        Ok(Self { embeddings, layers })
    }

    /// The same with the products of its layers in this precision; everything between them stays in 32-bit
    /// floats.
    pub(crate) fn in_precision(self, kind: Kind) -> Self {
        let layers = self.layers.iter().map(|layer| layer.to_kind(kind)).collect();
        Self { layers, ..self }
    }
}

/// The part of `config.json` that decides whether the weights are MiniLM's.
#[derive(Deserialize)]
struct BertConfig {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    vocab_size: usize,
    hidden_act: String,
}

impl BertConfig {
    fn read(path: &Path) -> Result<Self, ExpertsError> {
        let bytes = read_file(path)?;
        let config: Self =
            serde_json::from_slice(&bytes).map_err(|error| unusable(path, error.to_string()))?;
        let got = (
            config.hidden_size,
            config.intermediate_size,
            config.num_hidden_layers,
            config.num_attention_heads,
        );
        let expected = (HIDDEN, INTERMEDIATE, LAYERS, HEADS);
        if got != expected || config.hidden_act != "gelu" {
            let sizes = "hidden size, intermediate size, layers and heads";
            let reason =
                format!("{sizes} must be {expected:?} with gelu, not {got:?} with {}", config.hidden_act);
            return Err(unusable(path, reason));
        }
        Ok(config)
    }
}

/// The tensors of the file that nothing has taken yet.
struct Weights {
    path: PathBuf,
    config: BertConfig,
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    fn read(folder: &Path, device: Device) -> Result<Self, ExpertsError> {
        let config = BertConfig::read(&folder.join("config.json"))?;
        let path = folder.join("model.safetensors");
        let bytes = read_file(&path)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| unusable(&path, error.to_string()))?;
        let tensors = file
            .iter()
            // Files may have integers too, such as `position_ids`. They are not weights, and are skipped.
            .filter(|(_, view)| view.dtype() == Dtype::F32)
            .map(|(name, view)| (name.to_owned(), to_tensor(&view).to_device(device)))
            .collect();
        Ok(Self { path, config, tensors })
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ExpertsError> {
        let expected: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        match self.tensors.remove(name) {
            Some(tensor) if tensor.size() == expected => Ok(tensor),
            Some(tensor) => {
                let reason = format!("{name} must have the shape {expected:?}, not {:?}", tensor.size());
                Err(unusable(&self.path, reason))
            }
            None => Err(unusable(&self.path, format!("the f32 tensor {name} is missing"))),
        }
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) -> Result<Linear, ExpertsError> {
        Ok(Linear {
            weight: self.take(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: self.take(&format!("{name}.bias"), &[outputs])?,
        })
    }

    /// The three maps of attention one below the other, so that they are one product.
    fn query_key_value(&mut self, name: &str) -> Result<Linear, ExpertsError> {
        let parts = ["query", "key", "value"]
            .map(|part| self.linear(&format!("{name}.{part}"), HIDDEN, HIDDEN))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let weights: Vec<_> = parts.iter().map(|part| &part.weight).collect();
        let biases: Vec<_> = parts.iter().map(|part| &part.bias).collect();
        Ok(Linear { weight: Tensor::cat(&weights, 0), bias: Tensor::cat(&biases, 0) })
    }

    fn layer_norm(&mut self, name: &str) -> Result<LayerNorm, ExpertsError> {
        Ok(LayerNorm {
            weight: self.take(&format!("{name}.weight"), &[HIDDEN])?,
            bias: self.take(&format!("{name}.bias"), &[HIDDEN])?,
        })
    }
}

fn to_tensor(view: &TensorView<'_>) -> Tensor {
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    Tensor::from_data_size(view.data(), &shape, Kind::Float)
}
