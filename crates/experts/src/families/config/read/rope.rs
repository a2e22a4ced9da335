//! Reads the settings of rotary positions.

use std::cmp::Ordering;

use super::defaults;
use crate::error::ExpertsError;
use crate::families::config::fields::Fields;
use crate::families::config::{AttentionConfig, Family, RopeConfig, RopeScaling};

/// The rotary positions of a decoder.
pub(super) fn read(
    family: Family,
    fields: &Fields,
    attention: &AttentionConfig,
) -> Result<RopeConfig, ExpertsError> {
    if fields.inner(&["rope_parameters"])?.is_some() && fields.inner(&["rope_scaling"])?.is_some() {
        return Err(fields.unsupported(
            "it has both rope_parameters and rope_scaling; remove the one that does not apply".to_owned(),
        ));
    }
    let inner = fields.inner(&["rope_parameters", "rope_scaling"])?;
    let theta = inner.as_ref().map(|inner| inner.number(&["rope_theta"])).transpose()?.flatten();
    let scaling = match &inner {
        Some(inner) => rope_scaling(family, inner, fields)?,
        None => RopeScaling::None,
    };
    let latent = matches!(attention, AttentionConfig::Latent { .. });
    Ok(RopeConfig {
        // `or` and not `or_else`: the outer `rope_theta` must count as read even if the inner one has
        // precedence.
        theta: theta.or(fields.number(&["rope_theta"])?).unwrap_or(defaults::family_defaults(family).theta),
        width: match attention {
            AttentionConfig::Grouped { head, .. } => *head,
            AttentionConfig::Latent { rotary, .. } => *rotary,
        },
        interleaved: match family {
            Family::DeepseekV3 => fields.flag("rope_interleave", true)?,
            // DeepSeek-V2 always rotates neighbours; only DeepSeek-V3 has a setting for it.
            _ => latent,
        },
        scaling,
    })
}

/// How rotary positions are stretched. `inner` is the object of these settings, `fields` the whole file.
fn rope_scaling(family: Family, inner: &Fields, fields: &Fields) -> Result<RopeScaling, ExpertsError> {
    inner.demand_number("partial_rotary_factor", 1.0)?;
    let scaling = match inner.text(&["rope_type", "type"])?.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear(inner.required("factor")?),
        Some("yarn") => yarn(family, inner, fields)?,
        Some("llama3") => llama3(inner, fields)?,
        Some(other) => {
            return Err(inner.unsupported(format!(
                "its rope_type is “{other}”, but only default, linear, llama3 and yarn are supported"
            )));
        }
    };
    // `type` is the older name of `rope_type`. It may be present beside it, so it counts as read.
    inner.text(&["type"])?;
    inner.refuse_others(&[])?;
    Ok(scaling)
}

/// The positions of the original model. If the file does not say, they are those of this model, as in
/// transformers.
fn original_positions(inner: &Fields, fields: &Fields) -> Result<f64, ExpertsError> {
    match inner.number(&["original_max_position_embeddings"])? {
        Some(positions) => Ok(positions),
        None => fields.required("max_position_embeddings"),
    }
}

/// Reads what `_compute_llama3_parameters` of transformers reads.
fn llama3(inner: &Fields, fields: &Fields) -> Result<RopeScaling, ExpertsError> {
    let (low, high) = (inner.required("low_freq_factor")?, inner.required("high_freq_factor")?);
    if low.partial_cmp(&high) != Some(Ordering::Less) {
        return Err(
            inner.wrong(format!("its low_freq_factor, {low}, must be below its high_freq_factor, {high}"))
        );
    }
    Ok(RopeScaling::Llama3 {
        factor: inner.required("factor")?,
        original_positions: original_positions(inner, fields)?,
        low,
        high,
    })
}

/// Reads what `_compute_yarn_parameters` and `yarn_apply_mscale` of transformers read.
fn yarn(family: Family, inner: &Fields, fields: &Fields) -> Result<RopeScaling, ExpertsError> {
    let factor = inner.required("factor")?;
    let part = inner.number(&["mscale"])?.unwrap_or(0.0);
    let whole = inner.number(&["mscale_all_dim"])?.unwrap_or(0.0);
    // A 0 counts as absent here, because transformers tests both numbers as truth values.
    let inferred = match part != 0.0 && whole != 0.0 {
        true => yarn_magnitude(factor, part) / yarn_magnitude(factor, whole),
        false => yarn_magnitude(factor, 1.0),
    };
    let latent = matches!(family, Family::DeepseekV2 | Family::DeepseekV3);
    Ok(RopeScaling::Yarn {
        factor,
        original_positions: original_positions(inner, fields)?,
        // transformers reads a 0 as the default.
        beta_fast: inner.number(&["beta_fast"])?.filter(|&turns| turns != 0.0).unwrap_or(32.0),
        beta_slow: inner.number(&["beta_slow"])?.filter(|&turns| turns != 0.0).unwrap_or(1.0),
        truncated: inner.flag("truncate", true)?,
        magnitude: inner.number(&["attention_factor"])?.unwrap_or(inferred),
        // DeepSeek scales the scores, which are products of queries and keys, so the factor is squared.
        score_magnitude: if latent && whole != 0.0 { yarn_magnitude(factor, whole).powi(2) } else { 1.0 },
    })
}

/// How much YaRN enlarges rotated vectors that are stretched by this factor: `yarn_get_mscale` of
/// transformers.
fn yarn_magnitude(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}
