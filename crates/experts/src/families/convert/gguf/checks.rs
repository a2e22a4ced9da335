//! The requirements on a GGUF file. They ensure that the written folder computes what llama.cpp computes with
//! the file.
//!
//! Each setting is read, is known to change nothing, or is rejected. Each tensor that the settings require is
//! present, and there is no other.

use std::collections::BTreeMap;

use crate::error::ExpertsError;
use crate::families::config::{AttentionConfig, DecoderConfig, FeedForwardConfig};
use crate::families::convert::gguf::Gguf;
use crate::model_files::{unsupported, unusable};

/// Settings of the model that become its configuration, or that this module checks.
const READ: [&str; 17] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.factor",
    "rope.scaling.type",
    "tensor_data_layout",
    "vocab_size",
];

/// Settings of the model that only describe its origin. The original length acts only with YaRN, which is
/// rejected.
const HARMLESS: [&str; 2] = ["rope.scaling.finetuned", "rope.scaling.original_context_length"];

/// Settings of the tokenizer that [`super::tokenizer`] reads, or that do not change the tokens of a text.
/// Settings that hold the number of a token or a chat template are known too.
const OF_TOKENIZER: [&str; 9] = [
    "add_bos_token",
    "add_eos_token",
    "add_space_prefix",
    "merges",
    "model",
    "pre",
    "scores",
    "token_type",
    "tokens",
];

/// Rejects files that are a part of a model, and settings that are unknown or not implemented.
pub(super) fn settings(gguf: &Gguf<'_>) -> Result<(), ExpertsError> {
    if gguf.optional("split.count", Gguf::whole)?.is_some_and(|count| count > 1) {
        let reason =
            "it is one of several files of a model; join them with llama.cpp (llama-gguf-split --merge)";
        return Err(unsupported(gguf.path, reason.to_owned()));
    }
    // Sorted, so that the same file always gives the same error.
    let mut keys: Vec<&String> = gguf.content.metadata.keys().collect();
    keys.sort();
    if let Some(unknown) = keys.into_iter().find(|key| !is_known(key)) {
        let reason =
            format!("nothing is known of its setting {unknown}, so its effect would not be computed");
        return Err(unsupported(gguf.path, reason));
    }
    let mut has_experts = gguf.content.tensor_infos.keys().any(|name| name.contains("_exps."));
    for experts in ["llama.expert_count", "llama.expert_used_count"] {
        has_experts |= gguf.optional(experts, Gguf::whole)?.is_some_and(|count| count > 0);
    }
    if has_experts {
        let reason = "it is a mixture of experts; only dense models are read from GGUF, so use the model's Hugging Face \
                      folder"
            .to_owned();
        return Err(unsupported(gguf.path, reason));
    }
    match gguf.optional("llama.tensor_data_layout", Gguf::text)? {
        None | Some("Meta AI original pth") => Ok(()),
        Some(layout) => {
            let reason = format!("its llama.tensor_data_layout is “{layout}”, which is not supported");
            Err(unsupported(gguf.path, reason))
        }
    }
}

/// Whether a setting is read or changes nothing. Settings outside of the model and its tokenizer describe the
/// file.
fn is_known(key: &str) -> bool {
    match (key.strip_prefix("llama."), key.strip_prefix("tokenizer.ggml.")) {
        (Some(setting), _) => READ.contains(&setting) || HARMLESS.contains(&setting),
        (_, Some(setting)) => OF_TOKENIZER.contains(&setting) || setting.ends_with("_token_id"),
        _ => true,
    }
}

/// Checks sizes that a file states although they follow from others.
pub(super) fn sizes(gguf: &Gguf<'_>, config: &DecoderConfig) -> Result<(), ExpertsError> {
    let AttentionConfig::Grouped { head, .. } = config.attention else { return Ok(()) };
    let expected = [
        ("llama.attention.key_length", head),
        ("llama.attention.value_length", head),
        ("llama.rope.dimension_count", head),
        ("llama.vocab_size", config.vocabulary),
    ];
    for (key, expected) in expected {
        if let Some(size) = gguf.optional(key, Gguf::whole)?.filter(|&size| size != expected as u64) {
            let reason = format!("its {key} is {size}; with its other sizes only {expected} is supported");
            return Err(unsupported(gguf.path, reason));
        }
    }
    Ok(())
}

/// Checks that the file has every tensor of the model, in its shape, and no other tensor.
pub(super) fn tensors(gguf: &Gguf<'_>, config: &DecoderConfig) -> Result<(), ExpertsError> {
    // Each layer has tensors, so there are fewer layers than tensors. Without this check, a wrong number of
    // layers would make the list of expected tensors arbitrarily long.
    let (layers, found) = (config.layers.len(), gguf.content.tensor_infos.len());
    if layers > found {
        let reason = format!(
            "it has {found} tensors, too few for its {layers} layers; it may have been split or cut short"
        );
        return Err(unusable(gguf.path, reason));
    }
    let expected = expected(config);
    for (name, shape) in &expected {
        let Some(info) = gguf.content.tensor_infos.get(name) else {
            let reason = format!("its tensor {name} is missing; the file may have been split or cut short");
            return Err(unusable(gguf.path, reason));
        };
        if info.shape.dims() != shape {
            let reason = format!("{name} must have the shape {shape:?}, not {:?}", info.shape.dims());
            return Err(unusable(gguf.path, reason));
        }
    }
    let mut names: Vec<&String> = gguf.content.tensor_infos.keys().collect();
    names.sort();
    // A tensor can change the result as a setting can: llama.cpp stores the factors of Llama 3.1's rotary
    // positions as `rope_freqs.weight`, and biases of attention are tensors too.
    match names.into_iter().find(|name| !expected.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(unsupported(gguf.path, format!("nothing is known of its tensor {name}"))),
    }
}

/// The tensors of a model with their shapes, by their names in a GGUF file.
fn expected(config: &DecoderConfig) -> BTreeMap<String, Vec<usize>> {
    let (hidden, vocabulary) = (config.hidden, config.vocabulary);
    let (head, key_value_heads) = match config.attention {
        AttentionConfig::Grouped { head, key_value_heads, .. } => (head, key_value_heads),
        AttentionConfig::Latent { .. } => unreachable!("a Llama has grouped attention"),
    };
    let mut all = vec![
        ("token_embd.weight".to_owned(), vec![vocabulary, hidden]),
        ("output_norm.weight".to_owned(), vec![hidden]),
    ];
    if !config.tied {
        all.push(("output.weight".to_owned(), vec![vocabulary, hidden]));
    }
    for (layer, network) in config.layers.iter().enumerate() {
        let FeedForwardConfig::Dense(width) = *network else { continue };
        let (wide, narrow) = (config.heads * head, key_value_heads * head);
        let parts = [
            ("attn_norm", vec![hidden]),
            ("ffn_norm", vec![hidden]),
            ("attn_q", vec![wide, hidden]),
            ("attn_k", vec![narrow, hidden]),
            ("attn_v", vec![narrow, hidden]),
            ("attn_output", vec![hidden, wide]),
            ("ffn_gate", vec![width, hidden]),
            ("ffn_up", vec![width, hidden]),
            ("ffn_down", vec![hidden, width]),
        ];
        all.extend(parts.map(|(part, shape)| (format!("blk.{layer}.{part}.weight"), shape)));
    }
    all.into_iter().collect()
}
