//! Reads the `config.json` of each decoder family, in the spellings of transformers 4 and 5.
//!
//! Each setting of a file is read, is known to change nothing here ([`harmless`]), or is rejected, so that
//! no setting is silently ignored.

mod defaults;
pub(crate) mod harmless;
mod rope;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::error::ExpertsError;
use crate::families::config::fields::Fields;
use crate::families::config::{
    AttentionConfig, DecoderConfig, Family, FeedForwardConfig, GroupConfig, GroupScore, MoeConfig, QueryNorm,
    Scoring, SharedConfig,
};

/// The names that families have for the number of experts.
const EXPERTS: &[&str] = &["num_experts", "num_local_experts", "n_routed_experts"];

/// The most layers of a model. No real model comes near it; a wrong number would otherwise allocate any size.
const MOST_LAYERS: usize = 10_000;

/// The family that a `config.json` names.
///
/// # Errors
/// [`ExpertsError::Unsupported`] for an unknown architecture; the message lists those that are known.
pub(crate) fn read_family(path: &Path) -> Result<(Family, Fields), ExpertsError> {
    let fields = Fields::read(path)?;
    let name = fields.text(&["model_type"])?.unwrap_or_default();
    match Family::named(&name) {
        Some(family) => Ok((family, fields)),
        None => {
            let known: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
            Err(fields.unsupported(format!(
                "its model_type is “{name}”, but only these are supported: {}",
                known.join(", ")
            )))
        }
    }
}

/// The configuration of a decoder.
pub(crate) fn read_decoder(family: Family, fields: &Fields) -> Result<DecoderConfig, ExpertsError> {
    refuse_quantised(fields)?;
    fields.demand("hidden_act", &["silu"])?;
    fields.demand_false("mlp_bias")?;
    fields.demand_false("is_encoder_decoder")?;
    let hidden = fields.size(&["hidden_size"])?;
    let heads = fields.size(&["num_attention_heads"])?;
    let attention = match family {
        Family::DeepseekV2 | Family::DeepseekV3 => latent(fields)?,
        _ => grouped(family, fields, hidden, heads)?,
    };
    let moe = if family == Family::Llama { None } else { Some(moe(family, fields)?) };
    let config = DecoderConfig {
        family,
        vocabulary: fields.size(&["vocab_size"])?,
        hidden,
        heads,
        positions: positions(family, fields)?,
        norm_epsilon: fields
            .number(&["rms_norm_eps"])?
            .unwrap_or(defaults::family_defaults(family).norm_epsilon),
        tied: fields.flag("tie_word_embeddings", false)?,
        rope: rope::read(family, fields, &attention)?,
        attention,
        layers: feed_forwards(family, fields)?,
        moe,
    };
    harmless::refuse_others(family, fields)?;
    Ok(config)
}

/// Rejects quantised weights. Their scales are stored beside them, in a different way for each method.
pub(crate) fn refuse_quantised(fields: &Fields) -> Result<(), ExpertsError> {
    let Some(inner) = fields.inner(&["quantization_config", "compression_config"])? else { return Ok(()) };
    let method = inner.text(&["quant_method"])?.unwrap_or_else(|| "a method without a name".to_owned());
    Err(fields.unsupported(format!(
        "its weights are quantised ({method}); only F32, F16 and BF16 are read, so use the model's unquantised release"
    )))
}

/// The sliding window: how many tokens each token attends to, itself included, in layers that have one.
fn window(family: Family, fields: &Fields) -> Result<Option<usize>, ExpertsError> {
    let slides = match family {
        Family::Mixtral => true,
        // Qwen's files name a window even if it is off.
        Family::Qwen2Moe | Family::Qwen3Moe => fields.flag("use_sliding_window", false)?,
        _ => false,
    };
    if !slides {
        return Ok(None);
    }
    // `null` is Python's `None`, which means no window. An absent field has the class's default instead.
    let window = match fields.has("sliding_window") {
        true => fields.integer(&["sliding_window"])?,
        false => defaults::family_defaults(family).window,
    };
    match window {
        Some(0) => Err(fields.wrong("its sliding_window must be at least 1, or null for none".to_owned())),
        // transformers fails at the first text: it makes layers with a window of `None`.
        None if family == Family::Qwen2Moe => Err(fields.wrong(
            "its use_sliding_window is true and its sliding_window null; set the window, or set use_sliding_window to false"
                .to_owned(),
        )),
        window => Ok(window),
    }
}

/// Whether releases of transformers disagree in which layers have a sliding window. They do for Qwen2-MoE.
/// For Qwen3-MoE, early releases leave out the first `max_window_layers`, and later ones none.
fn window_is_disputed(family: Family, fields: &Fields) -> Result<bool, ExpertsError> {
    Ok(match family {
        Family::Qwen2Moe => true,
        Family::Qwen3Moe => fields.integer(&["max_window_layers"])?.is_some_and(|layers| layers > 0),
        _ => false,
    })
}

/// The longest text. If releases of transformers disagree in which layers have a sliding window, texts longer
/// than the window are rejected: for texts that fit into it, it has no effect.
fn positions(family: Family, fields: &Fields) -> Result<usize, ExpertsError> {
    let positions = fields.size(&["max_position_embeddings"])?;
    match window(family, fields)? {
        Some(window) if window_is_disputed(family, fields)? => Ok(window.min(positions)),
        None if family == Family::Qwen2Moe => refuse_other_layers(fields).map(|()| positions),
        _ => Ok(positions),
    }
}

/// Rejects layers whose attention differs from that of the rest.
fn refuse_other_layers(fields: &Fields) -> Result<(), ExpertsError> {
    match fields.texts("layer_types")?.iter().find(|&kind| kind != "full_attention") {
        None => Ok(()),
        Some(kind) => Err(fields.unsupported(format!(
            "its layer_types contain “{kind}” although it has no sliding window; only full_attention is supported there"
        ))),
    }
}

/// Attention whose query heads share heads of keys and values.
fn grouped(
    family: Family,
    fields: &Fields,
    hidden: usize,
    heads: usize,
) -> Result<AttentionConfig, ExpertsError> {
    let bias = fields.flag("attention_bias", false)?;
    // transformers has no such setting in these families and would ignore the biases.
    if bias && matches!(family, Family::Mixtral | Family::Qwen2Moe) {
        return Err(
            fields.unsupported(format!("its attention_bias is true, but {} has no such bias", family.name()))
        );
    }
    let missing = defaults::family_defaults(family).key_value_heads.unwrap_or(heads);
    // `null` is Python's `None`, for which transformers takes the number of attention heads. An absent field
    // has the class's default instead, which is another number in some families.
    let key_value_heads = match fields.has("num_key_value_heads") {
        true => fields.integer(&["num_key_value_heads"])?.unwrap_or(heads),
        false => missing,
    };
    if key_value_heads == 0 || !heads.is_multiple_of(key_value_heads) {
        return Err(fields.wrong(format!(
            "its num_attention_heads, {heads}, must be a multiple of its num_key_value_heads, {key_value_heads}"
        )));
    }
    let qkv_bias = family == Family::Qwen2Moe && fields.flag("qkv_bias", true)?;
    Ok(AttentionConfig::Grouped {
        key_value_heads,
        // Heads need not divide the hidden width: Qwen3-MoE's are wider than their share of it.
        head: fields.integer(&["head_dim"])?.unwrap_or(hidden / heads),
        norm: match family {
            Family::Olmoe => QueryNorm::Whole,
            Family::Qwen3Moe => QueryNorm::PerHead,
            _ => QueryNorm::None,
        },
        bias: bias || qkv_bias,
        output_bias: bias,
        clip: if family == Family::Olmoe { fields.number(&["clip_qkv"])? } else { None },
        window: if window_is_disputed(family, fields)? { None } else { window(family, fields)? },
    })
}

/// Multi-head latent attention.
fn latent(fields: &Fields) -> Result<AttentionConfig, ExpertsError> {
    Ok(AttentionConfig::Latent {
        query_rank: fields.integer(&["q_lora_rank"])?,
        key_value_rank: fields.size(&["kv_lora_rank"])?,
        rotary: fields.size(&["qk_rope_head_dim"])?,
        plain: fields.size(&["qk_nope_head_dim"])?,
        value: fields.size(&["v_head_dim"])?,
        bias: fields.flag("attention_bias", false)?,
    })
}

/// The feed-forward network of each layer.
fn feed_forwards(family: Family, fields: &Fields) -> Result<Vec<FeedForwardConfig>, ExpertsError> {
    let layers = fields.size(&["num_hidden_layers"])?;
    // Before the lists of a value for each layer are built.
    if layers > MOST_LAYERS {
        return Err(fields.wrong(format!("num_hidden_layers must be at most {MOST_LAYERS}, not {layers}")));
    }
    // Each family has its own fields for the same thing; those of another family stay unread and are
    // rejected.
    let sparse: Vec<bool> = match family {
        Family::Llama => vec![false; layers],
        Family::DeepseekV2 | Family::DeepseekV3 => {
            // DeepSeek's own code makes every n-th layer sparse, transformers all. With 1 they agree.
            fields.demand_number("moe_layer_freq", 1.0)?;
            let dense = fields
                .integer(&["first_k_dense_replace"])?
                .unwrap_or(defaults::family_defaults(family).dense_first);
            (0..layers).map(|layer| layer >= dense).collect()
        }
        Family::Qwen2Moe | Family::Qwen3Moe => {
            let step = fields.integer(&["decoder_sparse_step"])?.unwrap_or(1).max(1);
            let dense = fields.integers("mlp_only_layers")?;
            (0..layers).map(|layer| (layer + 1).is_multiple_of(step) && !dense.contains(&layer)).collect()
        }
        _ => vec![true; layers],
    };
    let dense = FeedForwardConfig::Dense(fields.size(&["intermediate_size"])?);
    Ok(sparse.into_iter().map(|sparse| if sparse { FeedForwardConfig::Sparse } else { dense }).collect())
}

/// The experts of sparse layers.
fn moe(family: Family, fields: &Fields) -> Result<MoeConfig, ExpertsError> {
    let width_field = match family {
        // All networks of these families are experts, so they have only one width.
        Family::Olmoe | Family::Mixtral => "intermediate_size",
        _ => "moe_intermediate_size",
    };
    let intermediate = fields.size(&[width_field])?;
    let deepseek = matches!(family, Family::DeepseekV2 | Family::DeepseekV3);
    let missing = defaults::family_defaults(family);
    if deepseek {
        // transformers ignores this field and computes the family's own function, so any other value would
        // mean different results in DeepSeek's code and in transformers.
        fields.demand("scoring_func", &[if family == Family::DeepseekV3 { "sigmoid" } else { "softmax" }])?;
    }
    let scale = if deepseek { fields.number(&["routed_scaling_factor"])? } else { None };
    let moe = MoeConfig {
        experts: fields.size(EXPERTS)?,
        chosen: fields.size(&["num_experts_per_tok"])?,
        intermediate,
        scoring: if family == Family::DeepseekV3 { Scoring::Sigmoid } else { Scoring::Softmax },
        // Mixtral always normalises and has no such setting, so a file of Mixtral that has one is rejected.
        normalised: family == Family::Mixtral || fields.flag("norm_topk_prob", missing.normalised)?,
        scale: scale.unwrap_or(missing.scale),
        groups: if deepseek { groups(family, fields)? } else { None },
        correction: family == Family::DeepseekV3,
        shared: shared(family, fields, intermediate)?,
        balance: match deepseek {
            true => None,
            false => Some(fields.number(&["router_aux_loss_coef"])?.unwrap_or(missing.balance)),
        },
    };
    check_moe(family, &moe, fields)?;
    Ok(moe)
}

/// Checks that the numbers of experts and groups fit together.
fn check_moe(family: Family, moe: &MoeConfig, fields: &Fields) -> Result<(), ExpertsError> {
    if moe.chosen > moe.experts {
        return Err(fields.wrong(format!(
            "its num_experts_per_tok, {}, must be at most the number of its experts, {}",
            moe.chosen, moe.experts
        )));
    }
    // transformers ignores the field here, DeepSeek's own code does not, so no result would be the right one.
    if family == Family::DeepseekV2 && moe.normalised {
        let reason =
            "its norm_topk_prob is true, which transformers and DeepSeek's own code interpret differently";
        return Err(fields.unsupported(reason.to_owned()));
    }
    match moe.groups {
        Some(GroupConfig { groups, chosen, .. })
            if chosen > groups || !moe.experts.is_multiple_of(groups) =>
        {
            Err(fields.wrong(format!(
                "its topk_group, {chosen}, must be at most its n_group, {groups}, which must divide its {} experts",
                moe.experts
            )))
        }
        _ => Ok(()),
    }
}

/// The groups from which a router of DeepSeek chooses first, if it does.
fn groups(family: Family, fields: &Fields) -> Result<Option<GroupConfig>, ExpertsError> {
    if family == Family::DeepseekV3 {
        // transformers ignores this field for DeepSeek-V3 and always computes `noaux_tc`.
        fields.demand("topk_method", &["noaux_tc"])?;
    } else {
        fields.demand("topk_method", &["greedy", "group_limited_greedy"])?;
        // `greedy` is the default of transformers. It chooses among all experts, so the numbers of groups
        // that files still have do not apply.
        if fields.text(&["topk_method"])?.is_none_or(|method| method == "greedy") {
            return Ok(None);
        }
    }
    Ok(Some(GroupConfig {
        groups: fields.size(&["n_group"])?,
        chosen: fields.size(&["topk_group"])?,
        score: if family == Family::DeepseekV3 { GroupScore::BestTwo } else { GroupScore::Best },
    }))
}

/// The experts that every token uses, if the family has them.
fn shared(
    family: Family,
    fields: &Fields,
    intermediate: usize,
) -> Result<Option<SharedConfig>, ExpertsError> {
    Ok(match family {
        Family::Qwen2Moe => Some(SharedConfig {
            intermediate: fields.size(&["shared_expert_intermediate_size"])?,
            gated: true,
        }),
        Family::DeepseekV2 | Family::DeepseekV3 => Some(SharedConfig {
            // Checkpoints store all shared experts as one network of their joint width.
            intermediate: intermediate * fields.size(&["n_shared_experts"])?,
            gated: false,
        }),
        _ => None,
    })
}
