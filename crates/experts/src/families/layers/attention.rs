//! The two kinds of attention. Texts are padded on the right, so a causal mask is enough: a token looks only
//! at tokens before it, never at padding.

use tch::{Kind, Tensor};

use crate::families::config::{AttentionConfig, RopeScaling};
use crate::families::layers::projection::{Norm, Projection};
use crate::families::layers::rope::Rotation;
use crate::packing::Packing;

/// Attention of one layer.
pub(crate) enum DecoderAttention {
    Grouped(Grouped),
    Latent(Latent),
}

impl DecoderAttention {
    /// Packed rows `[tokens, hidden]` to the same.
    pub(crate) fn forward(&self, rows: &Tensor, packing: &Packing, rotation: &Rotation) -> Tensor {
        match self {
            Self::Grouped(attention) => attention.forward(rows, packing, rotation),
            Self::Latent(attention) => attention.forward(rows, packing, rotation),
        }
    }

    /// Each map with the last part of its name.
    pub(crate) fn projections(&mut self) -> Vec<(&'static str, &mut Projection)> {
        match self {
            Self::Grouped(grouped) => vec![
                ("q_proj", &mut grouped.query),
                ("k_proj", &mut grouped.key),
                ("v_proj", &mut grouped.value),
                ("o_proj", &mut grouped.output),
            ],
            Self::Latent(latent) => {
                let mut all = match &mut latent.query {
                    LatentQuery::Whole(query) => vec![("q_proj", query)],
                    LatentQuery::Squeezed { down, up, .. } => vec![("q_a_proj", down), ("q_b_proj", up)],
                };
                all.extend([
                    ("kv_a_proj_with_mqa", &mut latent.key_value_down),
                    ("kv_b_proj", &mut latent.key_value_up),
                    ("o_proj", &mut latent.output),
                ]);
                all
            }
        }
    }
}

/// Attention whose query heads share heads of keys and values.
pub(crate) struct Grouped {
    pub(crate) query: Projection,
    pub(crate) key: Projection,
    pub(crate) value: Projection,
    pub(crate) output: Projection,
    /// Normalisation of queries and of keys.
    pub(crate) norms: Option<(Norm, Norm)>,
    /// Whether they act head by head.
    pub(crate) per_head: bool,
    pub(crate) clip: Option<f64>,
    /// How many tokens each token attends to, itself included; `None` for all before it.
    pub(crate) window: Option<i64>,
    /// Width of a head.
    pub(crate) head: i64,
}

impl Grouped {
    fn forward(&self, rows: &Tensor, packing: &Packing, rotation: &Rotation) -> Tensor {
        let norms = self.norms.as_ref();
        let query = self.heads(&self.query, norms.map(|(query, _)| query), rows, packing);
        let key = self.heads(&self.key, norms.map(|(_, key)| key), rows, packing);
        let value = self.heads(&self.value, None, rows, packing);
        let (query, key) = (rotation.apply(&query), rotation.apply(&key));
        // A window that is longer than all texts has no effect. Without a mask, libtorch may use its causal
        // flash kernels.
        let attended = match self.window.filter(|&window| window < packing.longest) {
            None => attend(&query, &key, &value, None),
            Some(window) => attend_within(window, &query, &key, &value),
        };
        self.output.forward(&join(&attended, packing), packing)
    }

    /// `[texts, heads, longest, head]`.
    fn heads(&self, map: &Projection, norm: Option<&Norm>, rows: &Tensor, packing: &Packing) -> Tensor {
        let mut projected = map.forward(rows, packing);
        if let Some(norm) = norm {
            let split = self.per_head.then(|| projected.view([-1, self.head]));
            projected = norm.forward(split.as_ref().unwrap_or(&projected)).view(projected.size().as_slice());
        }
        // After the normalisation, as in OLMoE.
        if let Some(most) = self.clip {
            projected = projected.clamp(-most, most);
        }
        split_heads(&projected, packing, self.head)
    }
}

/// The maps that compute the queries of latent attention.
pub(crate) enum LatentQuery {
    Whole(Projection),
    Squeezed { down: Projection, norm: Norm, up: Projection },
}

/// Multi-head latent attention. Keys and values are expanded to full width, because training has no cache to
/// keep small.
pub(crate) struct Latent {
    pub(crate) query: LatentQuery,
    pub(crate) key_value_down: Projection,
    pub(crate) key_value_norm: Norm,
    pub(crate) key_value_up: Projection,
    pub(crate) output: Projection,
    /// Widths of a head's parts: without positions, rotated, values.
    pub(crate) plain: i64,
    pub(crate) rotary: i64,
    pub(crate) value: i64,
    /// Factor of the scores.
    pub(crate) scale: f64,
}

impl Latent {
    fn forward(&self, rows: &Tensor, packing: &Packing, rotation: &Rotation) -> Tensor {
        let query = match &self.query {
            LatentQuery::Whole(query) => query.forward(rows, packing),
            LatentQuery::Squeezed { down, norm, up } => {
                up.forward(&norm.forward(&down.forward(rows, packing)), packing)
            }
        };
        let query = split_heads(&query, packing, self.plain + self.rotary);
        let rotated = rotation.apply(&query.narrow(-1, self.plain, self.rotary));
        let query = Tensor::cat(&[query.narrow(-1, 0, self.plain), rotated], -1);

        let squeezed = self.key_value_down.forward(rows, packing);
        let rank = squeezed.size()[1] - self.rotary;
        let latent = self.key_value_norm.forward(&squeezed.narrow(1, 0, rank).contiguous());
        let expanded =
            split_heads(&self.key_value_up.forward(&latent, packing), packing, self.plain + self.value);
        // The rotated part of the keys comes from the hidden state, past the latent, and all heads share it.
        let shared =
            rotation.apply(&split_heads(&squeezed.narrow(1, rank, self.rotary), packing, self.rotary));
        let mut shape = expanded.size();
        shape[3] = self.rotary;
        let key = Tensor::cat(&[expanded.narrow(-1, 0, self.plain), shared.expand(shape, false)], -1);
        let value = expanded.narrow(-1, self.plain, self.value);
        self.output.forward(&join(&attend(&query, &key, &value, Some(self.scale)), packing), packing)
    }
}

/// The factor of the scores in latent attention.
pub(crate) fn latent_scale(config: &AttentionConfig, scaling: &RopeScaling) -> f64 {
    let AttentionConfig::Latent { plain, rotary, .. } = config else {
        return 1.0;
    };
    let magnitude = match scaling {
        RopeScaling::Yarn { score_magnitude, .. } => *score_magnitude,
        _ => 1.0,
    };
    magnitude / ((plain + rotary) as f64).sqrt()
}

/// Attention that looks back only; heads of keys may be fewer than of queries.
fn attend(query: &Tensor, key: &Tensor, value: &Tensor, scale: Option<f64>) -> Tensor {
    let shared = query.size()[1] != key.size()[1];
    Tensor::scaled_dot_product_attention(query, key, value, None::<&Tensor>, 0.0, true, scale, shared)
}

/// The same, but each token attends to at most `window` tokens, itself included.
fn attend_within(window: i64, query: &Tensor, key: &Tensor, value: &Tensor) -> Tensor {
    let shared = query.size()[1] != key.size()[1];
    let longest = query.size()[2];
    let open = Tensor::ones([longest, longest], (Kind::Bool, query.device()));
    let open = open.tril(0).logical_and(&open.triu(1 - window));
    Tensor::scaled_dot_product_attention(query, key, value, Some(&open), 0.0, false, None, shared)
}

/// Packed rows `[tokens, heads · width]` as `[texts, heads, longest, width]`.
fn split_heads(rows: &Tensor, packing: &Packing, width: i64) -> Tensor {
    packing.spread(rows).view([packing.notes, packing.longest, -1, width]).transpose(1, 2)
}

/// The inverse of [`split_heads`].
fn join(heads: &Tensor, packing: &Packing) -> Tensor {
    let joined = heads.transpose(1, 2).reshape([packing.notes * packing.longest, -1]);
    packing.pack(&joined)
}
