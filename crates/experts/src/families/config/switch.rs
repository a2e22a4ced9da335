//! The configuration of Switch Transformers.

use crate::error::ExpertsError;
use crate::families::config::fields::Fields;
use crate::families::config::limits::Limits;
use crate::families::config::read::{harmless, refuse_quantised};
use crate::families::config::{Family, MoeConfig, Scoring};

/// A T5 encoder and decoder with top-1 experts in some layers (Fedus et al. 2022).
#[derive(Clone, PartialEq, Debug)]
pub struct SwitchConfig {
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Width of hidden states.
    pub hidden: usize,
    /// How many heads attention has.
    pub heads: usize,
    /// Width of a head. `heads · head` need not be the hidden width.
    pub head: usize,
    /// Intermediate width of every feed-forward network.
    pub intermediate: usize,
    /// For each layer of the encoder whether it has experts.
    pub encoder: Vec<bool>,
    /// For each layer of the decoder whether it has experts.
    pub decoder: Vec<bool>,
    /// Most tokens of a text that one expert processes. Later tokens for the expert skip the layer.
    pub capacity: usize,
    /// How many buckets relative positions have.
    pub buckets: usize,
    /// Distance from which on all positions share one bucket.
    pub distance: usize,
    /// Added to variances in normalisations.
    pub norm_epsilon: f64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// The token that the decoder starts with.
    pub start: i64,
    /// Weight of the z loss in the model's own training. Fine-tuning has a setting of its own, which is 0 by
    /// default.
    pub z: f64,
    /// The experts.
    pub moe: MoeConfig,
}

impl SwitchConfig {
    /// The limits of its models' inputs, with a head over so many classes (0 without a head).
    pub(crate) fn limits(&self, classes: usize) -> Limits {
        // Relative positions have no largest one: all far distances share a bucket.
        Limits { vocabulary: self.vocabulary, positions: None, has_encoder: true, classes }
    }

    pub(crate) fn read(fields: &Fields) -> Result<Self, ExpertsError> {
        refuse_quantised(fields)?;
        fields.demand("dense_act_fn", &["relu"])?;
        fields.demand("feed_forward_proj", &["relu"])?;
        fields.demand_false("is_gated_act")?;
        fields.demand_false("router_bias")?;
        fields.demand_false("batch_prioritized_routing")?;
        fields.demand("router_type", &["tokens_masked"])?;
        // Routers compute in 32-bit floats here, whatever the rest computes in.
        fields.demand("router_dtype", &["float32"])?;
        if !fields.flag("is_encoder_decoder", true)? {
            return Err(fields.unsupported(
                "its is_encoder_decoder is false, but only an encoder together with a decoder is supported"
                    .to_owned(),
            ));
        }
        let intermediate = fields.size(&["d_ff"])?;
        let layers = fields.size(&["num_layers"])?;
        let decoder_layers = fields.integer(&["num_decoder_layers"])?.unwrap_or(layers);
        // 3 is the default of transformers.
        let sparse_encoder = fields.integer(&["num_sparse_encoder_layers"])?.unwrap_or(3);
        let sparse_decoder = fields.integer(&["num_sparse_decoder_layers"])?.unwrap_or(3);
        let config = Self {
            vocabulary: fields.size(&["vocab_size"])?,
            hidden: fields.size(&["d_model"])?,
            heads: fields.size(&["num_heads"])?,
            head: fields.size(&["d_kv"])?,
            intermediate,
            encoder: sparse_layers(layers, sparse_encoder),
            decoder: sparse_layers(decoder_layers, sparse_decoder),
            capacity: fields.size(&["expert_capacity"])?,
            buckets: fields.size(&["relative_attention_num_buckets"])?,
            distance: fields.integer(&["relative_attention_max_distance"])?.unwrap_or(128),
            norm_epsilon: fields.number(&["layer_norm_epsilon"])?.unwrap_or(1e-6),
            tied: fields.flag("tie_word_embeddings", true)?,
            // T5 starts its decoder with the padding token, so a file without the first setting means the
            // second.
            start: fields.integer(&["decoder_start_token_id", "pad_token_id"])?.unwrap_or(0) as i64,
            z: fields.number(&["router_z_loss_coef"])?.unwrap_or(0.001),
            moe: MoeConfig {
                experts: fields.size(&["num_experts"])?,
                chosen: 1,
                intermediate,
                scoring: Scoring::Softmax,
                // Normalised, the weight of a single expert would always be 1, and the router would get no
                // gradient from the task (Switch Transformers, section 2.1).
                normalised: false,
                scale: 1.0,
                groups: None,
                correction: false,
                shared: None,
                balance: fields.number(&["router_aux_loss_coef"])?.or(Some(0.001)),
            },
        };
        harmless::refuse_others(Family::SwitchTransformers, fields)?;
        Ok(config)
    }
}

/// Which of `layers` layers are sparse if `sparse` of them are to be: every `layers / sparse`-th, from the
/// second on. The same rule as in transformers, including its edge case: `sparse` = 0 makes the only layer of
/// a model with one layer sparse.
fn sparse_layers(layers: usize, sparse: usize) -> Vec<bool> {
    let step = layers.checked_div(sparse).unwrap_or(layers);
    (0..layers).map(|layer| step == 1 || (step > 0 && layer % step == 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_layer_of_the_base_model_is_sparse() {
        let sparse = sparse_layers(12, 6);
        assert_eq!(sparse.iter().filter(|&&sparse| sparse).count(), 6);
        assert!(!sparse[0] && sparse[1] && sparse[11]);
    }
}
