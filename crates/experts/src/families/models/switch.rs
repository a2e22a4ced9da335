//! Switch Transformers: T5 models whose feed-forward networks are, in some layers, experts of which each
//! token uses one.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::device::Precision;
use crate::error::ExpertsError;
use crate::families::config::switch::SwitchConfig;
use crate::families::layers::experts::{Activation, ExpertProjection, Experts};
use crate::families::layers::projection::{Norm, Projection};
use crate::families::layers::relative::bias;
use crate::families::layers::router::{Router, Routing};
use crate::families::layers::tokens::Tokens;
use crate::families::models::loader::Loader;
use crate::packing::Packing;

/// T5's attention. Its scores are not divided by the root of a head's width: T5 puts that factor into the
/// initial weights.
pub(crate) struct SwitchAttention {
    /// Query, key, value, output.
    pub(crate) maps: [Projection; 4],
    /// Width of a head.
    head: i64,
}

/// Last parts of the names of an attention's maps.
pub(crate) const ATTENTION_MAPS: [&str; 4] = ["q", "k", "v", "o"];

impl SwitchAttention {
    /// Rows of one packing attend to rows of another; `bias` is added to the scores.
    fn forward(&self, rows: (&Tensor, &Packing), others: (&Tensor, &Packing), bias: &Tensor) -> Tensor {
        let [query, key, value, output] = &self.maps;
        let attended = Tensor::scaled_dot_product_attention(
            &self.heads(query, rows),
            &self.heads(key, others),
            &self.heads(value, others),
            Some(bias),
            0.0,
            false,
            1.0,
            false,
        );
        let packing = rows.1;
        let joined = attended.transpose(1, 2).reshape([packing.notes * packing.longest, -1]);
        output.forward(&packing.pack(&joined), packing)
    }

    /// A map of packed rows, as `[texts, heads, longest, head]`.
    fn heads(&self, map: &Projection, (rows, packing): (&Tensor, &Packing)) -> Tensor {
        let spread = packing.spread(&map.forward(rows, packing));
        spread.view([packing.notes, packing.longest, -1, self.head]).transpose(1, 2)
    }
}

pub(crate) enum SwitchFeedForward {
    /// The maps `wi` and `wo`.
    Dense([Projection; 2]),
    Sparse(Box<(Router, Experts)>),
}

pub(crate) struct SwitchLayer {
    attention_norm: Norm,
    pub(crate) attention: SwitchAttention,
    /// Attention to the encoder, in layers of the decoder.
    pub(crate) cross: Option<(Norm, SwitchAttention)>,
    feed_forward_norm: Norm,
    pub(crate) feed_forward: SwitchFeedForward,
}

/// The encoder or the decoder.
pub(crate) struct Stack {
    embedding: Tensor,
    pub(crate) layers: Vec<SwitchLayer>,
    norm: Norm,
    /// The bias of each bucket of relative positions, `[buckets, heads]`. The first layer's is used in all
    /// layers.
    relative: Tensor,
    /// Whether tokens attend to later tokens: in the encoder.
    looks_ahead: bool,
}

/// A Switch Transformer. Its weights are frozen; an adapter that is trained is attached to it.
pub struct Switch {
    pub(crate) config: SwitchConfig,
    head: Tensor,
    pub(crate) encoder: Stack,
    pub(crate) decoder: Stack,
    precision: Precision,
    device: Device,
    ignored: Vec<String>,
}

/// The model's output for pairs of texts.
pub struct SwitchOutput {
    /// Logits of each token of the targets, `[target tokens, vocabulary]`, f32.
    pub logits: Tensor,
    /// How each sparse layer routed, first those of the encoder.
    pub routings: Vec<Routing>,
}

impl Switch {
    pub(crate) fn read(
        folder: &Path,
        config: SwitchConfig,
        precision: Precision,
        device: Device,
    ) -> Result<Self, ExpertsError> {
        let loader = Loader::open(folder, precision, device)?;
        let shape = [config.vocabulary, config.hidden];
        let (embedding, head) = loader.embedding_and_head(EMBEDDING, shape, config.tied)?;
        let encoder = read_stack(&loader, &config, &embedding, "encoder")?;
        let decoder = read_stack(&loader, &config, &embedding, "decoder")?;
        // Last, when every tensor that the model uses has been taken.
        let ignored = loader.checkpoint.untaken();
        Ok(Self { head, encoder, decoder, precision, device, ignored, config })
    }

    /// Its configuration.
    pub fn config(&self) -> &SwitchConfig {
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

    /// Names of tensors in the checkpoint that the model does not use.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Logits of the targets' tokens, each from what comes before it and from the source.
    pub fn forward(&self, source: &Tokens, target: &Tokens) -> SwitchOutput {
        let mut routings = Vec::new();
        let memory = self.run(&self.encoder, source, &source.ids, None, &mut routings);
        let shifted = target.shifted(self.config.start);
        let mut rows = self.run(&self.decoder, target, &shifted, Some((&memory, source)), &mut routings);
        if self.config.tied {
            // T5 scales hidden states before a head that is the embedding.
            rows /= (self.config.hidden as f64).sqrt();
        }
        SwitchOutput { logits: rows.matmul(&self.head.tr()).to_kind(Kind::Float), routings }
    }

    /// Runs the encoder, or the decoder with the encoder's output as `memory`. Returns the normalised last
    /// hidden states.
    fn run(
        &self,
        stack: &Stack,
        tokens: &Tokens,
        ids: &Tensor,
        memory: Option<(&Tensor, &Tokens)>,
        routings: &mut Vec<Routing>,
    ) -> Tensor {
        let mut rows = stack.embedding.index_select(0, ids);
        let kind = rows.kind();
        let scores = bias(&self.config, &stack.relative, tokens.packing.longest, stack.looks_ahead);
        // Texts are padded on the right, so a decoder, which looks back only, needs no mask of the padding.
        let scores = if stack.looks_ahead { scores + &tokens.packing.mask } else { scores }.to_kind(kind);
        let first = routings.len();
        for layer in &stack.layers {
            let normed = (&layer.attention_norm.forward(&rows), &tokens.packing);
            rows = &rows + layer.attention.forward(normed, normed, &scores);
            if let (Some((norm, cross)), Some((memory, source))) = (&layer.cross, memory) {
                let normed = norm.forward(&rows);
                // A target attends to its whole source, so here the padding must be masked.
                let mask = source.packing.mask.to_kind(kind);
                rows = &rows + cross.forward((&normed, &tokens.packing), (memory, &source.packing), &mask);
            }
            rows = &rows + self.feed_forward(layer, &rows, tokens, routings);
        }
        for routing in &mut routings[first..] {
            routing.stack = usize::from(!stack.looks_ahead);
        }
        stack.norm.forward(&rows)
    }

    fn feed_forward(
        &self,
        layer: &SwitchLayer,
        rows: &Tensor,
        tokens: &Tokens,
        routings: &mut Vec<Routing>,
    ) -> Tensor {
        let normed = layer.feed_forward_norm.forward(rows);
        match &layer.feed_forward {
            SwitchFeedForward::Dense([up, down]) => {
                let packing = &tokens.packing;
                down.forward(&up.forward(&normed, packing).relu(), packing)
            }
            SwitchFeedForward::Sparse(sparse) => {
                let mut routing = sparse.0.forward(&normed, &self.config.moe, &tokens.packing);
                // With weight 0 the experts add nothing, so the residual alone carries the token.
                routing.weights *= self.within_capacity(&routing.chosen, &tokens.packing);
                let out = sparse.1.forward(&routing);
                routings.push(routing);
                out
            }
        }
    }

    /// 1 for tokens that come early enough in their text for their expert's capacity, otherwise 0; `[tokens,
    /// 1]`. Counted for each text, as in transformers, so no text depends on the batch around it.
    fn within_capacity(&self, chosen: &Tensor, packing: &Packing) -> Tensor {
        let experts = self.config.moe.experts as i64;
        let assigned = packing.spread(&chosen.squeeze_dim(1).one_hot(experts).to_kind(Kind::Float));
        // A running count: how many tokens of the text, up to and including this one, chose each expert.
        let place = assigned.view([packing.notes, packing.longest, experts]).cumsum(1, Kind::Float);
        let place = packing.pack(&place.view([-1, experts])).gather(1, chosen, false);
        place.le(self.config.capacity as f64).to_kind(Kind::Float)
    }
}

/// The embedding that the encoder and the decoder share, unless they have their own.
const EMBEDDING: &str = "shared.weight";

/// The embedding of the encoder or of the decoder. If it is not tied, each has its own. Releases of
/// transformers before 5 write none, and both share one.
fn read_embedding(
    loader: &Loader,
    config: &SwitchConfig,
    shared: &Tensor,
    stack: &str,
) -> Result<Tensor, ExpertsError> {
    let name = format!("{stack}.embed_tokens.weight");
    match config.tied || !loader.checkpoint.has(&name) {
        true => loader.tied(&name, EMBEDDING, shared),
        false => loader.tensor(&name, &[config.vocabulary, config.hidden]),
    }
}

/// The encoder or the decoder, by its name.
fn read_stack(
    loader: &Loader,
    config: &SwitchConfig,
    shared: &Tensor,
    name: &str,
) -> Result<Stack, ExpertsError> {
    let looks_ahead = name == "encoder";
    let sparse = if looks_ahead { &config.encoder } else { &config.decoder };
    let relative = format!("{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    Ok(Stack {
        embedding: read_embedding(loader, config, shared, name)?,
        layers: sparse
            .iter()
            .enumerate()
            .map(|(index, &sparse)| {
                read_layer(loader, config, &format!("{name}.block.{index}.layer"), sparse)
            })
            .collect::<Result<_, _>>()?,
        norm: loader.norm(&format!("{name}.final_layer_norm"), config.hidden, config.norm_epsilon)?,
        relative: loader.tensor(&relative, &[config.buckets, config.heads])?,
        looks_ahead,
    })
}

fn read_layer(
    loader: &Loader,
    config: &SwitchConfig,
    name: &str,
    sparse: bool,
) -> Result<SwitchLayer, ExpertsError> {
    let norm = |part| loader.norm(&format!("{name}.{part}.layer_norm"), config.hidden, config.norm_epsilon);
    let decodes = name.starts_with("decoder");
    // Parts are numbered: attention is 0, in the decoder attention to the encoder is 1, and the network is
    // last.
    let last = if decodes { 2 } else { 1 };
    let cross = match decodes {
        true => Some((norm(1)?, read_attention(loader, config, &format!("{name}.1.EncDecAttention"))?)),
        false => None,
    };
    let feed_forward = format!("{name}.{last}.mlp");
    Ok(SwitchLayer {
        attention_norm: norm(0)?,
        attention: read_attention(loader, config, &format!("{name}.0.SelfAttention"))?,
        cross,
        feed_forward_norm: norm(last)?,
        feed_forward: match sparse {
            true => SwitchFeedForward::Sparse(Box::new(read_sparse(loader, config, &feed_forward)?)),
            false => SwitchFeedForward::Dense([
                loader.projection(
                    &format!("{feed_forward}.wi"),
                    config.intermediate,
                    config.hidden,
                    false,
                )?,
                loader.projection(
                    &format!("{feed_forward}.wo"),
                    config.hidden,
                    config.intermediate,
                    false,
                )?,
            ]),
        },
    })
}

fn read_attention(
    loader: &Loader,
    config: &SwitchConfig,
    name: &str,
) -> Result<SwitchAttention, ExpertsError> {
    let wide = config.heads * config.head;
    let map = |part: &str| loader.projection(&format!("{name}.{part}"), wide, config.hidden, false);
    let output = loader.projection(&format!("{name}.o"), config.hidden, wide, false)?;
    Ok(SwitchAttention { maps: [map("q")?, map("k")?, map("v")?, output], head: config.head as i64 })
}

/// One map of all experts of a layer.
fn read_expert_map(
    loader: &Loader,
    experts: usize,
    name: &str,
    map: &str,
    (outputs, inputs): (usize, usize),
) -> Result<ExpertProjection, ExpertsError> {
    let names = |expert| vec![format!("{name}.experts.expert_{expert}.{map}.weight")];
    Ok(ExpertProjection::new(loader.stacked(experts, names, outputs, inputs)?))
}

/// The experts of a layer and their router.
fn read_sparse(
    loader: &Loader,
    config: &SwitchConfig,
    name: &str,
) -> Result<(Router, Experts), ExpertsError> {
    let (experts, hidden, intermediate) = (config.moe.experts, config.hidden, config.intermediate);
    let router = Router {
        frozen: loader.tensor(&format!("{name}.router.classifier.weight"), &[experts, hidden])?,
        trained: None,
        correction: None,
    };
    let up = read_expert_map(loader, experts, name, "wi", (intermediate, hidden))?;
    let down = read_expert_map(loader, experts, name, "wo", (hidden, intermediate))?;
    Ok((router, Experts { up, down, activation: Activation::Relu }))
}
