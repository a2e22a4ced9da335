//! Upcycling (Komatsuzaki et al. 2022): turns a dense Llama-like model into a Mixture-of-Experts whose
//! experts all start as copies of the dense network.
//!
//! A Llama with experts in every layer has the architecture of Mixtral, so a Mixtral is written, which any
//! tool loads. Because the weights of Mixtral's experts sum to 1 and all experts are equal, it computes at
//! first exactly what the dense model computes.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use tch::Tensor;

use crate::draw::{Draw, DrawPurpose};
use crate::error::ExpertsError;
use crate::families::config::read::{read_decoder, read_family};
use crate::families::config::{AttentionConfig, DecoderConfig, Family};
use crate::families::weights::target::check_target;
use crate::families::weights::write::{StoredTensor, copy_others, stored, write, write_json};
use crate::families::weights::{Checkpoint, INDEX, SINGLE};
use crate::model_files::{read_file, unsupported, unusable};

/// Initial router weights are uniform between minus this and this: of the size of Llama's
/// `initializer_range`. With weights of 0, all logits would be equal and every token would choose the same
/// experts.
const ROUTER_BOUND: f32 = 0.02;

/// Writes the dense model of the folder `dense` as a Mixtral into the folder `target`.
///
/// Every token uses `chosen` of `experts` experts. Routers are drawn from the seed.
///
/// # Errors
/// [`ExpertsError::Settings`] if `chosen` is 0 or more than `experts`, [`ExpertsError::Unsupported`] if the
/// model is not a dense Llama or has attention biases, which Mixtral does not have, [`ExpertsError::Target`] if
/// that would overwrite the dense model, [`ExpertsError::Content`] or [`ExpertsError::File`].
pub fn upcycle(
    dense: &Path,
    target: &Path,
    experts: usize,
    chosen: usize,
    seed: u64,
) -> Result<(), ExpertsError> {
    check_target(dense, target)?;
    if chosen == 0 || chosen > experts {
        let reason =
            format!("a token cannot use {chosen} of {experts} experts; it uses at least 1 and at most all");
        return Err(ExpertsError::Settings(reason));
    }
    let config = read_dense(dense)?;
    let checkpoint = Checkpoint::open(dense)?;
    copy_others(dense, target)?;
    let mut index = BTreeMap::new();
    for (path, names) in checkpoint.shards() {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or(SINGLE);
        let parts = upcycled(&checkpoint, &names, &config, experts, seed)?;
        write(&parts, &target.join(file))?;
        index.extend(parts.iter().flat_map(StoredTensor::names).map(|name| (name.clone(), file.to_owned())));
    }
    if index.values().any(|file| file != SINGLE) {
        // Overwrites the dense model's index, which was copied and has other names.
        let index = json!({"metadata": {}, "weight_map": index});
        write_json(&target.join(INDEX), &index)?;
    }
    let path = dense.join("config.json");
    let mut json: Value =
        serde_json::from_slice(&read_file(&path)?).map_err(|error| unusable(&path, error.to_string()))?;
    let object =
        json.as_object_mut().ok_or_else(|| unusable(&path, "it must hold a JSON object".to_owned()))?;
    name_all(object, &config);
    object.insert("num_local_experts".to_owned(), experts.into());
    object.insert("num_experts_per_tok".to_owned(), chosen.into());
    write_json(&target.join("config.json"), &json)
}

/// Turns a Llama's settings into a Mixtral's. Settings that a Llama's file leaves out have other defaults in
/// Mixtral, so all are written. Settings that Mixtral does not have are removed.
fn name_all(settings: &mut Map<String, Value>, config: &DecoderConfig) {
    const ONLY_LLAMA: [&str; 6] = [
        "attention_bias",
        "is_llama_config",
        "mlp_bias",
        "pretraining_tp",
        "rope_interleaved",
        "sliding_window",
    ];
    for name in ONLY_LLAMA {
        settings.remove(name);
    }
    let mut mixtral: Vec<(&str, Value)> = vec![
        ("model_type", "mixtral".into()),
        ("architectures", json!(["MixtralForCausalLM"])),
        ("hidden_act", "silu".into()),
        ("rms_norm_eps", config.norm_epsilon.into()),
        ("tie_word_embeddings", config.tied.into()),
        ("sliding_window", Value::Null),
    ];
    if let AttentionConfig::Grouped { key_value_heads, head, .. } = config.attention {
        mixtral.push(("num_key_value_heads", key_value_heads.into()));
        mixtral.push(("head_dim", head.into()));
    }
    settings.extend(mixtral.into_iter().map(|(name, value)| (name.to_owned(), value)));
    // transformers 5 has the base of positions inside `rope_parameters`, older releases beside
    // `rope_scaling`.
    match settings.get_mut("rope_parameters").and_then(Value::as_object_mut) {
        Some(positions) => positions.insert("rope_theta".to_owned(), config.rope.theta.into()),
        None => settings.insert("rope_theta".to_owned(), config.rope.theta.into()),
    };
}

/// The configuration of the dense model, if it can be upcycled.
fn read_dense(folder: &Path) -> Result<DecoderConfig, ExpertsError> {
    let path = folder.join("config.json");
    let (family, fields) = read_family(&path)?;
    if family != Family::Llama {
        let reason = format!("only llama can be made a mixture of experts, not {}", family.name());
        return Err(unsupported(&path, reason));
    }
    let config = read_decoder(family, &fields)?;
    match config.attention {
        AttentionConfig::Grouped { bias: true, .. } => {
            Err(unsupported(&path, "its attention has biases, which Mixtral does not have".to_owned()))
        }
        _ => Ok(config),
    }
}

/// The tensors of one file: those of feed-forward networks once for each expert, and beside each network a
/// router.
fn upcycled(
    checkpoint: &Checkpoint,
    names: &[&str],
    config: &DecoderConfig,
    experts: usize,
    seed: u64,
) -> Result<Vec<StoredTensor>, ExpertsError> {
    let mut parts = Vec::new();
    for &name in names {
        let tensor = checkpoint.take_any(name)?;
        let map = [("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")]
            .into_iter()
            .find_map(|(dense, sparse)| Some((name.strip_suffix(&format!(".mlp.{dense}.weight"))?, sparse)));
        let Some((layer, map)) = map else {
            parts.push(stored(vec![name.to_owned()], &tensor));
            continue;
        };
        let block = format!("{layer}.block_sparse_moe");
        let copies = (0..experts).map(|expert| format!("{block}.experts.{expert}.{map}.weight")).collect();
        parts.push(stored(copies, &tensor));
        // Each layer has one `w1`, so each layer gets one router, in the file of its experts.
        if map == "w1" {
            let number = layer.rsplit('.').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            // By the number of the layer, so that the routers do not depend on how the checkpoint is split
            // into files.
            let mut draw = Draw::new(seed, DrawPurpose::Router, number);
            let values = draw.symmetric(experts * config.hidden, ROUTER_BOUND);
            let router = Tensor::from_slice(&values).view([experts as i64, config.hidden as i64]);
            parts.push(stored(vec![format!("{block}.gate.weight")], &router.to_kind(tensor.kind())));
        }
    }
    Ok(parts)
}
