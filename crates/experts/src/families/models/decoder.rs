//! The decoder that all families share, except for Switch.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::device::Precision;
use crate::error::ExpertsError;
use crate::families::config::names::{CORRECTION, sparse_names};
use crate::families::config::{
    AttentionConfig, DecoderConfig, FeedForwardConfig, MoeConfig, QueryNorm, SharedConfig,
};
use crate::families::layers::attention::{DecoderAttention, Grouped, Latent, LatentQuery, latent_scale};
use crate::families::layers::experts::{Activation, ExpertProjection, Experts};
use crate::families::layers::head::Head;
use crate::families::layers::projection::{GatedNetwork, Norm, Projection};
use crate::families::layers::rope::Rotation;
use crate::families::layers::router::{Router, Routing};
use crate::families::layers::tokens::Tokens;
use crate::families::models::loader::Loader;

/// Experts that every token uses.
struct Shared {
    network: GatedNetwork,
    /// The gate that weighs their output, `[1, hidden]` (Qwen2-MoE).
    gate: Option<Tensor>,
}

impl Shared {
    fn forward(&self, rows: &Tensor) -> Tensor {
        let out = self.network.forward(rows);
        match &self.gate {
            Some(gate) => rows.matmul(&gate.tr()).sigmoid() * out,
            None => out,
        }
    }
}

/// A layer's experts, their router, and those that every token uses.
pub(crate) struct Sparse {
    pub(crate) router: Router,
    pub(crate) experts: Experts,
    shared: Option<Shared>,
}

pub(crate) enum DecoderFeedForward {
    Dense(GatedNetwork),
    Sparse(Box<Sparse>),
}

pub(crate) struct DecoderLayer {
    attention_norm: Norm,
    pub(crate) attention: DecoderAttention,
    feed_forward_norm: Norm,
    pub(crate) feed_forward: DecoderFeedForward,
}

impl DecoderLayer {
    /// Packed rows `[tokens, hidden]` to the same. A sparse layer also returns how it routed.
    fn forward(
        &self,
        hidden: &Tensor,
        tokens: &Tokens,
        rotation: &Rotation,
        moe: Option<&MoeConfig>,
    ) -> (Tensor, Option<Routing>) {
        let normed = self.attention_norm.forward(hidden);
        let hidden = hidden + self.attention.forward(&normed, &tokens.packing, rotation);
        let normed = self.feed_forward_norm.forward(&hidden);
        match (&self.feed_forward, moe) {
            (DecoderFeedForward::Sparse(sparse), Some(config)) => {
                let routing = sparse.router.forward(&normed, config, &tokens.packing);
                let routed = hidden + sparse.experts.forward(&routing);
                let out = match &sparse.shared {
                    Some(shared) => routed + shared.forward(&normed),
                    None => routed,
                };
                (out, Some(routing))
            }
            (DecoderFeedForward::Dense(network), _) => (&hidden + network.forward(&normed), None),
            (DecoderFeedForward::Sparse(_), None) => {
                unreachable!("sparse layers come with a configuration of experts")
            }
        }
    }
}

/// A decoder-only language model. Its weights are frozen; an adapter that is trained is attached to it.
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) embedding: Tensor,
    pub(crate) layers: Vec<DecoderLayer>,
    norm: Norm,
    /// `[vocabulary, hidden]`.
    head: Tensor,
    pub(crate) score: Head,
    precision: Precision,
    device: Device,
    ignored: Vec<String>,
}

/// The output of the layers for a batch.
pub struct Hidden {
    /// Normalised last hidden states, `[tokens, hidden]`.
    pub rows: Tensor,
    /// How each sparse layer routed the tokens.
    pub routings: Vec<Routing>,
}

impl Decoder {
    pub(crate) fn read(
        folder: &Path,
        config: DecoderConfig,
        precision: Precision,
        device: Device,
    ) -> Result<Self, ExpertsError> {
        let loader = Loader::open(folder, precision, device)?;
        let shape = [config.vocabulary, config.hidden];
        let (embedding, head) = loader.embedding_and_head("model.embed_tokens.weight", shape, config.tied)?;
        let layers = (0..config.layers.len())
            .map(|index| read_layer(&loader, &config, index))
            .collect::<Result<_, _>>()?;
        let norm = loader.norm("model.norm", config.hidden, config.norm_epsilon)?;
        // Last, when every tensor that the model uses has been taken.
        let ignored = loader.checkpoint.untaken();
        let score = Head::new(config.hidden);
        Ok(Self { embedding, layers, norm, head, score, precision, device, ignored, config })
    }

    /// Its configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The device on which it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The precision in which it computes.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Names of tensors in the checkpoint that the model does not use, such as the layers with which
    /// DeepSeek-V3 predicts several tokens.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Runs texts through all layers.
    pub fn hidden(&self, tokens: &Tokens) -> Hidden {
        let mut rows = self.embed(tokens);
        let rotation = self.rotation(tokens);
        let mut routings = Vec::new();
        for index in 0..self.layers.len() {
            let (out, routing) = self.layer(index, &rows, tokens, &rotation);
            rows = out;
            routings.extend(routing);
        }
        Hidden { rows: self.norm.forward(&rows), routings }
    }

    /// The input of the first layer, `[tokens, hidden]`.
    pub(crate) fn embed(&self, tokens: &Tokens) -> Tensor {
        self.embedding.index_select(0, &tokens.ids)
    }

    /// The rotary positions of the texts, which all layers share.
    pub(crate) fn rotation(&self, tokens: &Tokens) -> Rotation {
        Rotation::new(&self.config.rope, tokens.packing.longest, self.precision.kind(), self.device)
    }

    /// One layer: packed rows `[tokens, hidden]` to the same.
    pub(crate) fn layer(
        &self,
        index: usize,
        rows: &Tensor,
        tokens: &Tokens,
        rotation: &Rotation,
    ) -> (Tensor, Option<Routing>) {
        self.layers[index].forward(rows, tokens, rotation, self.config.moe.as_ref())
    }

    /// The predictions from the output of the last layer, `[rows, hidden]`, before its normalisation; see
    /// [`predict`](Self::predict).
    pub(crate) fn head(&self, rows: &Tensor) -> Tensor {
        self.predict(&self.norm.forward(rows))
    }

    /// If an adapter with a head over classes is attached, the logits of the classes, `[rows, classes]`, f32,
    /// for the hidden states `[rows, hidden]` of texts' last tokens. Otherwise those of the next token, as
    /// [`logits`](Self::logits).
    pub fn predict(&self, rows: &Tensor) -> Tensor {
        self.score.forward(rows).unwrap_or_else(|| self.logits(rows))
    }

    /// Logits of the next token for hidden states `[rows, hidden]`: `[rows, vocabulary]`, f32.
    pub fn logits(&self, rows: &Tensor) -> Tensor {
        rows.matmul(&self.head.tr()).to_kind(Kind::Float)
    }
}

fn read_layer(loader: &Loader, config: &DecoderConfig, index: usize) -> Result<DecoderLayer, ExpertsError> {
    let layer = format!("model.layers.{index}");
    let norm = |part: &str| loader.norm(&format!("{layer}.{part}"), config.hidden, config.norm_epsilon);
    Ok(DecoderLayer {
        attention_norm: norm("input_layernorm")?,
        attention: AttentionReader { loader, config, name: format!("{layer}.self_attn") }.read()?,
        feed_forward_norm: norm("post_attention_layernorm")?,
        feed_forward: match (config.layers[index], &config.moe) {
            (FeedForwardConfig::Dense(width), _) => {
                DecoderFeedForward::Dense(loader.gated(&format!("{layer}.mlp"), config.hidden, width)?)
            }
            (FeedForwardConfig::Sparse, Some(moe)) => {
                DecoderFeedForward::Sparse(Box::new(read_sparse(loader, config, moe, &layer)?))
            }
            (FeedForwardConfig::Sparse, None) => {
                unreachable!("sparse layers come with a configuration of experts")
            }
        },
    })
}

/// The experts of one layer and their router. Experts are read from one fused tensor for each map, or one by
/// one.
fn read_sparse(
    loader: &Loader,
    config: &DecoderConfig,
    moe: &MoeConfig,
    layer: &str,
) -> Result<Sparse, ExpertsError> {
    let [gate, up, down] = sparse_names(config.family).maps;
    let router = loader.checkpoint.module(config.family, &format!("{layer}.mlp.gate"));
    // The experts are in the same block as the router, whichever name the files have for it.
    let block = router.trim_end_matches(".gate");
    let (experts, hidden, intermediate) = (moe.experts, config.hidden, moe.intermediate);
    let map = |expert: usize, map: &str| format!("{block}.experts.{expert}.{map}.weight");
    let up_weight = loader.experts(
        &format!("{layer}.mlp.experts.gate_up_proj"),
        experts,
        |expert| vec![map(expert, gate), map(expert, up)],
        (intermediate, hidden),
    )?;
    let down_weight = loader.experts(
        &format!("{layer}.mlp.experts.down_proj"),
        experts,
        |expert| vec![map(expert, down)],
        (hidden, intermediate),
    )?;
    let correction = format!("{router}.{CORRECTION}");
    Ok(Sparse {
        router: Router {
            frozen: loader.tensor(&format!("{router}.weight"), &[experts, hidden])?,
            trained: None,
            // transformers keeps it in 32-bit floats too: rounded, it would choose other experts.
            correction: moe.correction.then(|| loader.exact(&correction, &[experts])).transpose()?,
        },
        experts: Experts {
            up: ExpertProjection::new(up_weight),
            down: ExpertProjection::new(down_weight),
            activation: Activation::GatedSilu,
        },
        shared: match moe.shared {
            Some(shared) => Some(read_shared(loader, config, shared, block)?),
            None => None,
        },
    })
}

/// The experts of one layer that every token uses, as one network.
fn read_shared(
    loader: &Loader,
    config: &DecoderConfig,
    shared: SharedConfig,
    block: &str,
) -> Result<Shared, ExpertsError> {
    let name = format!("{block}.{}", sparse_names(config.family).shared);
    let gate = match shared.gated {
        true => Some(loader.tensor(&format!("{name}_gate.weight"), &[1, config.hidden])?),
        false => None,
    };
    Ok(Shared { network: loader.gated(&name, config.hidden, shared.intermediate)?, gate })
}

/// The norms of latent attention ignore `rms_norm_eps`: they keep this default in all releases of the family.
const LATENT_EPSILON: f64 = 1e-6;

/// Reads the attention of one layer, whose tensors' names start with `name`.
struct AttentionReader<'a> {
    loader: &'a Loader,
    config: &'a DecoderConfig,
    name: String,
}

impl AttentionReader<'_> {
    fn map(&self, part: &str, outputs: usize, inputs: usize, bias: bool) -> Result<Projection, ExpertsError> {
        self.loader.projection(&format!("{}.{part}", self.name), outputs, inputs, bias)
    }

    fn norm(&self, part: &str, width: usize, epsilon: f64) -> Result<Norm, ExpertsError> {
        self.loader.norm(&format!("{}.{part}", self.name), width, epsilon)
    }

    /// The norms of queries and keys, if the family has any.
    fn query_norms(
        &self,
        kind: QueryNorm,
        head: usize,
        (wide, narrow): (usize, usize),
    ) -> Result<Option<(Norm, Norm)>, ExpertsError> {
        let (query, key) = match kind {
            QueryNorm::None => return Ok(None),
            QueryNorm::Whole => (wide, narrow),
            QueryNorm::PerHead => (head, head),
        };
        let epsilon = self.config.norm_epsilon;
        Ok(Some((self.norm("q_norm", query, epsilon)?, self.norm("k_norm", key, epsilon)?)))
    }

    fn read(&self) -> Result<DecoderAttention, ExpertsError> {
        let (hidden, heads) = (self.config.hidden, self.config.heads);
        match self.config.attention {
            AttentionConfig::Grouped { key_value_heads, head, norm, bias, output_bias, clip, window } => {
                let (wide, narrow) = (heads * head, key_value_heads * head);
                Ok(DecoderAttention::Grouped(Grouped {
                    query: self.map("q_proj", wide, hidden, bias)?,
                    key: self.map("k_proj", narrow, hidden, bias)?,
                    value: self.map("v_proj", narrow, hidden, bias)?,
                    output: self.map("o_proj", hidden, wide, output_bias)?,
                    norms: self.query_norms(norm, head, (wide, narrow))?,
                    per_head: norm == QueryNorm::PerHead,
                    clip,
                    window: window.map(|window| window as i64),
                    head: head as i64,
                }))
            }
            AttentionConfig::Latent { query_rank, key_value_rank, rotary, plain, value, bias } => {
                let query_width = heads * (plain + rotary);
                let query = match query_rank {
                    None => LatentQuery::Whole(self.map("q_proj", query_width, hidden, false)?),
                    Some(rank) => LatentQuery::Squeezed {
                        // `attention_bias` of DeepSeek is about the maps down and the output; the maps up
                        // never have a bias.
                        down: self.map("q_a_proj", rank, hidden, bias)?,
                        norm: self.norm("q_a_layernorm", rank, LATENT_EPSILON)?,
                        up: self.map("q_b_proj", query_width, rank, false)?,
                    },
                };
                Ok(DecoderAttention::Latent(Latent {
                    query,
                    key_value_down: self.map("kv_a_proj_with_mqa", key_value_rank + rotary, hidden, bias)?,
                    key_value_norm: self.norm("kv_a_layernorm", key_value_rank, LATENT_EPSILON)?,
                    key_value_up: self.map("kv_b_proj", heads * (plain + value), key_value_rank, false)?,
                    output: self.map("o_proj", hidden, heads * value, bias)?,
                    plain: plain as i64,
                    rotary: rotary as i64,
                    value: value as i64,
                    scale: latent_scale(&self.config.attention, &self.config.rope.scaling),
                }))
            }
        }
    }
}
