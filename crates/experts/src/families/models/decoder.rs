//! The decoder that all families but Switch share.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::device::Precision;
use crate::error::ExpertsError;
use crate::families::config::names::{CORRECTION, sparse_names};
use crate::families::config::{AttentionConfig, DecoderConfig, FeedForwardConfig, MoeConfig, QueryNorm};
use crate::families::layers::attention::{DecoderAttention, Grouped, Latent, LatentQuery, latent_scale};
use crate::families::layers::experts::{Activation, ExpertProjection, Experts};
use crate::families::layers::head::Head;
use crate::families::layers::projection::{GatedNetwork, Norm};
use crate::families::layers::rope::Rotation;
use crate::families::layers::router::{Router, Routing};
use crate::families::layers::tokens::Tokens;
use crate::families::models::loader::Loader;

/// Experts that every token uses.
struct Shared {
    network: GatedNetwork,
    /// Weighs their output, `[1, hidden]`.
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
    /// Packed rows `[tokens, hidden]` to the same; a sparse layer says how it routed.
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

/// A decoder-only language model. Its weights are frozen; what is trained is attached to it.
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    embedding: Tensor,
    pub(crate) layers: Vec<DecoderLayer>,
    norm: Norm,
    /// `[vocabulary, hidden]`.
    head: Tensor,
    pub(crate) score: Head,
    precision: Precision,
    device: Device,
    ignored: Vec<String>,
}

/// What the layers make of a batch.
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
        let ignored = loader.checkpoint.untaken();
        let score = Head::new(config.hidden);
        Ok(Self { embedding, layers, norm, head, score, precision, device, ignored, config })
    }

    /// What the model is made of.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The device that it computes on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What it computes in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Names of tensors in the checkpoint that the model does not use, such as the layers that DeepSeek-V3 predicts
    /// several tokens with.
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

    /// What enters the first layer, `[tokens, hidden]`.
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

    /// What is predicted from what leaves the last layer, `[rows, hidden]`, as [`predict`](Self::predict) has it.
    pub(crate) fn head(&self, rows: &Tensor) -> Tensor {
        self.predict(&self.norm.forward(rows))
    }

    /// Logits of the classes, `[rows, classes]`, for hidden states `[rows, hidden]` of texts' last tokens, where an adapter
    /// with a head over classes is attached; else those of the next token, as [`logits`](Self::logits). f32.
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
        attention: read_attention(loader, config, &format!("{layer}.self_attn"))?,
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

fn read_sparse(
    loader: &Loader,
    config: &DecoderConfig,
    moe: &MoeConfig,
    layer: &str,
) -> Result<Sparse, ExpertsError> {
    let names = sparse_names(config.family);
    let router = loader.checkpoint.module(config.family, &format!("{layer}.mlp.gate"));
    let block = router.trim_end_matches(".gate");
    let [gate, up, down] = names.maps;
    let map = |expert: usize, map: &str| format!("{block}.experts.{expert}.{map}.weight");
    let (experts, hidden, intermediate) = (moe.experts, config.hidden, moe.intermediate);
    let fused = |map: &str| format!("{layer}.mlp.experts.{map}");
    let up_names = |expert| vec![map(expert, gate), map(expert, up)];
    let up_weight = loader.experts(&fused("gate_up_proj"), experts, up_names, (intermediate, hidden))?;
    let down_names = |expert| vec![map(expert, down)];
    let down_weight = loader.experts(&fused("down_proj"), experts, down_names, (hidden, intermediate))?;
    let correction = format!("{router}.{CORRECTION}");
    let shared = moe.shared.map(|shared| {
        let name = format!("{block}.{}", names.shared);
        let gate = shared.gated.then(|| loader.tensor(&format!("{name}_gate.weight"), &[1, hidden]));
        Ok(Shared { network: loader.gated(&name, hidden, shared.intermediate)?, gate: gate.transpose()? })
    });
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
        shared: shared.transpose()?,
    })
}

fn read_attention(
    loader: &Loader,
    config: &DecoderConfig,
    name: &str,
) -> Result<DecoderAttention, ExpertsError> {
    let (hidden, heads) = (config.hidden, config.heads);
    let map = |part: &str, outputs, inputs, bias| {
        loader.projection(&format!("{name}.{part}"), outputs, inputs, bias)
    };
    let norm = |part: &str, width| loader.norm(&format!("{name}.{part}"), width, config.norm_epsilon);
    match config.attention {
        AttentionConfig::Grouped { key_value_heads, head, norm: kind, bias, output_bias, clip, window } => {
            let (wide, narrow) = (heads * head, key_value_heads * head);
            let widths = match kind {
                QueryNorm::None => None,
                QueryNorm::Whole => Some((wide, narrow)),
                QueryNorm::PerHead => Some((head, head)),
            };
            let norms = widths.map(|(query, key)| Ok((norm("q_norm", query)?, norm("k_norm", key)?)));
            Ok(DecoderAttention::Grouped(Grouped {
                query: map("q_proj", wide, hidden, bias)?,
                key: map("k_proj", narrow, hidden, bias)?,
                value: map("v_proj", narrow, hidden, bias)?,
                output: map("o_proj", hidden, wide, output_bias)?,
                norms: norms.transpose()?,
                per_head: kind == QueryNorm::PerHead,
                clip,
                window: window.map(|window| window as i64),
                head: head as i64,
            }))
        }
        AttentionConfig::Latent { query_rank, key_value_rank, rotary, plain, value, bias } => {
            // The norms of latent attention keep their own default, 1e-6, in all releases of the family.
            let latent_norm = |part: &str, width| loader.norm(&format!("{name}.{part}"), width, 1e-6);
            let query_width = heads * (plain + rotary);
            let query = match query_rank {
                None => LatentQuery::Whole(map("q_proj", query_width, hidden, false)?),
                Some(rank) => LatentQuery::Squeezed {
                    down: map("q_a_proj", rank, hidden, bias)?,
                    norm: latent_norm("q_a_layernorm", rank)?,
                    up: map("q_b_proj", query_width, rank, false)?,
                },
            };
            Ok(DecoderAttention::Latent(Latent {
                query,
                key_value_down: map("kv_a_proj_with_mqa", key_value_rank + rotary, hidden, bias)?,
                key_value_norm: latent_norm("kv_a_layernorm", key_value_rank)?,
                key_value_up: map("kv_b_proj", heads * (plain + value), key_value_rank, false)?,
                output: map("o_proj", hidden, heads * value, bias)?,
                plain: plain as i64,
                rotary: rotary as i64,
                value: value as i64,
                scale: latent_scale(&config.attention, &config.rope.scaling),
            }))
        }
    }
}
