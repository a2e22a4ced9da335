//! Reads the `config.json` of each decoder family, in the spellings of transformers 4 and 5.

use std::path::Path;

use crate::error::ExpertsError;
use crate::families::config::{
    AttentionConfig, DecoderConfig, Family, FeedForwardConfig, GroupConfig, GroupScore, MoeConfig, QueryNorm,
    RopeConfig, RopeScaling, Scoring, SharedConfig,
};
use crate::families::fields::Fields;

const EXPERTS: &[&str] = &["num_experts", "num_local_experts", "n_routed_experts"];

/// The family that a `config.json` names.
///
/// # Errors
/// [`ExpertsError::Content`] for an unknown architecture, with those that are known.
pub(crate) fn read_family(path: &Path) -> Result<(Family, Fields), ExpertsError> {
    let fields = Fields::read(path)?;
    let name = fields.text(&["model_type"])?.unwrap_or_default();
    match Family::named(&name) {
        Some(family) => Ok((family, fields)),
        None => {
            let known: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
            Err(fields.wrong(format!(
                "model_type is “{name}”, an architecture that is not supported; supported are {}",
                known.join(", ")
            )))
        }
    }
}

/// The configuration of a decoder.
pub(crate) fn read_decoder(family: Family, fields: &Fields) -> Result<DecoderConfig, ExpertsError> {
    fields.demand("hidden_act", &["silu"])?;
    fields.demand_false("mlp_bias")?;
    let hidden = fields.size(&["hidden_size"])?;
    let heads = fields.size(&["num_attention_heads"])?;
    let attention = match family {
        Family::DeepseekV2 | Family::DeepseekV3 => latent(fields)?,
        _ => grouped(family, fields, hidden, heads)?,
    };
    let moe = if family == Family::Llama { None } else { Some(moe(family, fields)?) };
    Ok(DecoderConfig {
        family,
        vocabulary: fields.size(&["vocab_size"])?,
        hidden,
        heads,
        positions: positions(fields)?,
        norm_epsilon: fields.number(&["rms_norm_eps"])?.unwrap_or(1e-6),
        tied: fields.flag("tie_word_embeddings", false)?,
        rope: rope(family, fields, &attention)?,
        attention,
        layers: feed_forwards(family, fields)?,
        moe,
    })
}

/// A sliding window is not computed; texts that fit in it do not need it.
fn positions(fields: &Fields) -> Result<usize, ExpertsError> {
    let positions = fields.size(&["max_position_embeddings"])?;
    let window = fields.integer(&["sliding_window"])?.filter(|&window| window > 0);
    let slides = fields.flag("use_sliding_window", true)?;
    Ok(window.filter(|_| slides).map_or(positions, |window| window.min(positions)))
}

fn grouped(
    family: Family,
    fields: &Fields,
    hidden: usize,
    heads: usize,
) -> Result<AttentionConfig, ExpertsError> {
    let bias = fields.flag("attention_bias", false)?;
    let key_value_heads = fields.integer(&["num_key_value_heads"])?.unwrap_or(heads);
    if key_value_heads == 0 || !heads.is_multiple_of(key_value_heads) {
        return Err(fields.wrong(format!(
            "num_attention_heads, {heads}, must be a multiple of num_key_value_heads, {key_value_heads}"
        )));
    }
    let qkv_bias = fields.flag("qkv_bias", family == Family::Qwen2Moe)?;
    Ok(AttentionConfig::Grouped {
        key_value_heads,
        head: fields.integer(&["head_dim"])?.unwrap_or(hidden / heads),
        norm: match family {
            Family::Olmoe => QueryNorm::Whole,
            Family::Qwen3Moe => QueryNorm::PerHead,
            _ => QueryNorm::None,
        },
        bias: bias || qkv_bias,
        output_bias: bias,
        clip: fields.number(&["clip_qkv"])?,
    })
}

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

fn rope(family: Family, fields: &Fields, attention: &AttentionConfig) -> Result<RopeConfig, ExpertsError> {
    let inner = fields.inner(&["rope_parameters", "rope_scaling"]);
    let scaling = match &inner {
        Some(inner) => rope_scaling(family, inner)?,
        None => RopeScaling::None,
    };
    let own_theta = inner.map(|inner| inner.number(&["rope_theta"])).transpose()?.flatten();
    let default_theta = if family == Family::Mixtral { 1e6 } else { 1e4 };
    let latent = matches!(attention, AttentionConfig::Latent { .. });
    Ok(RopeConfig {
        theta: own_theta.or(fields.number(&["rope_theta"])?).unwrap_or(default_theta),
        width: match attention {
            AttentionConfig::Grouped { head, .. } => *head,
            AttentionConfig::Latent { rotary, .. } => *rotary,
        },
        interleaved: latent && (family == Family::DeepseekV2 || fields.flag("rope_interleave", true)?),
        scaling,
    })
}

fn rope_scaling(family: Family, fields: &Fields) -> Result<RopeScaling, ExpertsError> {
    match fields.text(&["rope_type", "type"])?.as_deref() {
        None | Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear(fields.required("factor")?)),
        Some("yarn") => yarn(family, fields),
        Some(other) => {
            Err(fields.wrong(format!("rope_type is “{other}”; only default, linear and yarn are supported")))
        }
    }
}

/// As `_compute_yarn_parameters` and `yarn_apply_mscale` of transformers have it.
fn yarn(family: Family, fields: &Fields) -> Result<RopeScaling, ExpertsError> {
    let factor = fields.required("factor")?;
    let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let part = fields.number(&["mscale"])?.unwrap_or(0.0);
    let whole = fields.number(&["mscale_all_dim"])?.unwrap_or(0.0);
    let inferred = match part != 0.0 && whole != 0.0 {
        true => magnitude(part) / magnitude(whole),
        false => magnitude(1.0),
    };
    let latent = matches!(family, Family::DeepseekV2 | Family::DeepseekV3);
    Ok(RopeScaling::Yarn {
        factor,
        original_positions: fields.required("original_max_position_embeddings")?,
        beta_fast: fields.number(&["beta_fast"])?.unwrap_or(32.0),
        beta_slow: fields.number(&["beta_slow"])?.unwrap_or(1.0),
        magnitude: fields.number(&["attention_factor"])?.unwrap_or(inferred),
        score_magnitude: if latent && whole != 0.0 { magnitude(whole).powi(2) } else { 1.0 },
    })
}

fn feed_forwards(family: Family, fields: &Fields) -> Result<Vec<FeedForwardConfig>, ExpertsError> {
    let layers = fields.size(&["num_hidden_layers"])?;
    let dense_first = fields.integer(&["first_k_dense_replace"])?.unwrap_or(0);
    let step = fields.integer(&["decoder_sparse_step"])?.unwrap_or(1).max(1);
    let dense_too = fields.integers("mlp_only_layers")?;
    let sparse = |layer: usize| match family {
        Family::Llama => false,
        Family::DeepseekV2 | Family::DeepseekV3 => layer >= dense_first,
        Family::Qwen2Moe | Family::Qwen3Moe => {
            (layer + 1).is_multiple_of(step) && !dense_too.contains(&layer)
        }
        _ => true,
    };
    let dense = FeedForwardConfig::Dense(fields.size(&["intermediate_size"])?);
    Ok((0..layers).map(|layer| if sparse(layer) { FeedForwardConfig::Sparse } else { dense }).collect())
}

fn moe(family: Family, fields: &Fields) -> Result<MoeConfig, ExpertsError> {
    let own_width = !matches!(family, Family::Olmoe | Family::Mixtral);
    let intermediate =
        fields.size(&[if own_width { "moe_intermediate_size" } else { "intermediate_size" }])?;
    let deepseek = matches!(family, Family::DeepseekV2 | Family::DeepseekV3);
    let moe = MoeConfig {
        experts: fields.size(EXPERTS)?,
        chosen: fields.size(&["num_experts_per_tok"])?,
        intermediate,
        scoring: if family == Family::DeepseekV3 { Scoring::Sigmoid } else { Scoring::Softmax },
        normalised: family == Family::Mixtral || fields.flag("norm_topk_prob", false)?,
        scale: fields.number(&["routed_scaling_factor"])?.unwrap_or(1.0),
        groups: if deepseek { groups(family, fields)? } else { None },
        correction: family == Family::DeepseekV3,
        shared: shared(family, fields, intermediate)?,
        balance: if deepseek { None } else { fields.number(&["router_aux_loss_coef"])?.or(Some(0.001)) },
    };
    check_moe(family, &moe, fields)?;
    Ok(moe)
}

fn check_moe(family: Family, moe: &MoeConfig, fields: &Fields) -> Result<(), ExpertsError> {
    if moe.chosen > moe.experts {
        return Err(fields.wrong(format!(
            "num_experts_per_tok, {}, is more than the {} experts",
            moe.chosen, moe.experts
        )));
    }
    // transformers ignores the field here, DeepSeek's own code does not: whoever sets it would get either.
    if family == Family::DeepseekV2 && moe.normalised {
        return Err(
            fields.wrong("norm_topk_prob is true, which has no agreed meaning in deepseek_v2".to_owned())
        );
    }
    match moe.groups {
        Some(GroupConfig { groups, chosen, .. })
            if chosen > groups || !moe.experts.is_multiple_of(groups) =>
        {
            Err(fields.wrong(format!(
                "topk_group, {chosen}, must be at most n_group, {groups}, which must divide the {} experts",
                moe.experts
            )))
        }
        _ => Ok(()),
    }
}

fn groups(family: Family, fields: &Fields) -> Result<Option<GroupConfig>, ExpertsError> {
    fields.demand("topk_method", &["greedy", "group_limited_greedy", "noaux_tc"])?;
    let greedy = fields.text(&["topk_method"])?.is_none_or(|method| method == "greedy");
    if family == Family::DeepseekV2 && greedy {
        return Ok(None);
    }
    Ok(Some(GroupConfig {
        groups: fields.size(&["n_group"])?,
        chosen: fields.size(&["topk_group"])?,
        score: if family == Family::DeepseekV3 { GroupScore::BestTwo } else { GroupScore::Best },
    }))
}

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
            intermediate: intermediate * fields.size(&["n_shared_experts"])?,
            gated: false,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// Reads a configuration from text.
    fn read(name: &str, json: &str) -> Result<DecoderConfig, String> {
        let path: PathBuf =
            std::env::temp_dir().join(format!("cloister-config-{}-{name}.json", std::process::id()));
        fs::write(&path, json).expect("a temporary file can be written");
        let config = read_family(&path).and_then(|(family, fields)| read_decoder(family, &fields));
        fs::remove_file(&path).expect("it was written above");
        config.map_err(|error| error.to_string())
    }

    const QWEN3_BEFORE_5: &str = r#"{
        "model_type": "qwen3_moe", "torch_dtype": "bfloat16", "vocab_size": 48, "hidden_size": 16,
        "intermediate_size": 20, "moe_intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 6, "hidden_act": "silu", "max_position_embeddings": 64,
        "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "rope_scaling": null, "num_experts": 6,
        "num_experts_per_tok": 3, "norm_topk_prob": true, "tie_word_embeddings": true, "sliding_window": null,
        "use_sliding_window": false, "decoder_sparse_step": 1, "mlp_only_layers": []
    }"#;

    fn fixture(family: &str) -> DecoderConfig {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family);
        let (family, fields) = read_family(&path.join("config.json")).expect("the fixture is committed");
        read_decoder(family, &fields).expect("the fixture is sound")
    }

    #[test]
    fn the_spellings_of_transformers_4_mean_the_same() {
        assert_eq!(read("qwen3", QWEN3_BEFORE_5).expect("a sound configuration"), fixture("qwen3_moe"));
    }

    #[test]
    fn stretched_positions_of_transformers_4_mean_the_same() {
        let scaling = |spelling: &str, kind: &str, theta: &str| {
            let scaling = format!(
                r#""{spelling}": {{"{kind}": "yarn", {theta} "factor": 4.0, "original_max_position_embeddings": 16,
                "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.7}}"#
            );
            let json = QWEN3_BEFORE_5.replace(r#""rope_scaling": null"#, &scaling);
            read(spelling, &json).expect("a sound configuration").rope
        };
        let before = scaling("rope_scaling", "type", "");
        assert_eq!(before, scaling("rope_parameters", "rope_type", r#""rope_theta": 10000.0,"#));
        assert!(matches!(before.scaling, RopeScaling::Yarn { factor, .. } if factor == 4.0));
    }

    #[test]
    fn a_window_bounds_the_length_of_texts_only_where_it_is_used() {
        let json = QWEN3_BEFORE_5.replace(r#""sliding_window": null"#, r#""sliding_window": 32"#);
        assert_eq!(read("unused", &json).expect("sound").positions, 64);
        let json = json.replace(r#""use_sliding_window": false"#, r#""use_sliding_window": true"#);
        assert_eq!(read("used", &json).expect("sound").positions, 32);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refusals = [
            ("qwen3_moe", "gpt_oss", "“gpt_oss”, an architecture that is not supported; supported are llama"),
            (r#""silu""#, r#""gelu""#, "hidden_act is “gelu”"),
            (
                r#""num_experts": 6"#,
                r#""num_experts": 2"#,
                "num_experts_per_tok, 3, is more than the 2 experts",
            ),
            (r#""num_experts": 6,"#, "", "num_experts or num_local_experts or n_routed_experts is missing"),
            (
                r#""num_key_value_heads": 2"#,
                r#""num_key_value_heads": 3"#,
                "must be a multiple of num_key_value_heads",
            ),
            (r#""rope_scaling": null"#, r#""rope_scaling": {"type": "longrope"}"#, "rope_type is “longrope”"),
        ];
        for (from, to, expected) in refusals {
            let error = read("refused", &QWEN3_BEFORE_5.replace(from, to)).expect_err(to);
            assert!(error.contains(expected), "{error}");
        }
    }
}
