//! What a GGUF file must be like, so that the folder that is written computes what llama.cpp does with the file.
//!
//! Each setting is read, is one that changes nothing, or is refused; each tensor that the settings ask for is there, and no
//! other.

use std::collections::BTreeMap;

use crate::error::ExpertsError;
use crate::families::config::{AttentionConfig, DecoderConfig, FeedForwardConfig};
use crate::families::convert::gguf::Gguf;
use crate::model_files::{unsupported, unusable};

/// Settings of the model that the configuration is made of, or that [`settings`] compares.
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

/// Settings of the model that say how it came about.
const HARMLESS: [&str; 2] = ["rope.scaling.finetuned", "rope.scaling.original_context_length"];

/// Settings of the tokenizer that change nothing of what it makes of a text, or that [`super::tokenizer`] reads; beside
/// those that number a token, or hold a template.
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

/// Refuses a part of a model, settings that are not known, and those that ask for what is not computed.
pub(super) fn settings(gguf: &Gguf<'_>) -> Result<(), ExpertsError> {
    if gguf.optional("split.count", Gguf::whole)?.is_some_and(|count| count > 1) {
        let reason =
            "it is one of several files of a model; join them with llama.cpp (llama-gguf-split --merge)";
        return Err(unsupported(gguf.path, reason.to_owned()));
    }
    let is_known = |key: &str| match (key.strip_prefix("llama."), key.strip_prefix("tokenizer.ggml.")) {
        (Some(setting), _) => READ.contains(&setting) || HARMLESS.contains(&setting),
        (_, Some(setting)) => OF_TOKENIZER.contains(&setting) || setting.ends_with("_token_id"),
        _ => true,
    };
    let mut keys: Vec<&String> = gguf.content.metadata.keys().collect();
    keys.sort();
    if let Some(unknown) = keys.into_iter().find(|key| !is_known(key)) {
        let reason =
            format!("nothing is known of its setting {unknown}, and what it changes would not be computed");
        return Err(unsupported(gguf.path, reason));
    }
    let mut has_experts = gguf.content.tensor_infos.keys().any(|name| name.contains("_exps."));
    for experts in ["llama.expert_count", "llama.expert_used_count"] {
        has_experts |= gguf.optional(experts, Gguf::whole)?.is_some_and(|count| count > 0);
    }
    if has_experts {
        let reason = "it is a mixture of experts; only dense models are read from GGUF".to_owned();
        return Err(unsupported(gguf.path, reason));
    }
    match gguf.optional("llama.tensor_data_layout", Gguf::text)? {
        None | Some("Meta AI original pth") => Ok(()),
        Some(layout) => {
            Err(unsupported(gguf.path, format!("its tensors lie as “{layout}” has it, which is not known")))
        }
    }
}

/// Compares the sizes that a file has twice.
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
            return Err(unsupported(gguf.path, format!("its {key} is {size}; only {expected} is computed")));
        }
    }
    Ok(())
}

/// Every tensor of the model with its shape, by its name in the file.
pub(super) fn tensors(gguf: &Gguf<'_>, config: &DecoderConfig) -> Result<(), ExpertsError> {
    // Each layer has tensors. More layers than that would be listed by the file's word alone.
    let (layers, found) = (config.layers.len(), gguf.content.tensor_infos.len());
    if layers > found {
        let reason = format!(
            "it has {found} tensors, too few for its {layers} layers, as of a file that was split or cut"
        );
        return Err(unusable(gguf.path, reason));
    }
    let expected = expected(config);
    for (name, shape) in &expected {
        let Some(info) = gguf.content.tensor_infos.get(name) else {
            let reason = format!("its tensor {name} is missing, as of a file that was split or cut");
            return Err(unusable(gguf.path, reason));
        };
        if info.shape.dims() != shape {
            let reason = format!("{name} must have the shape {shape:?}, not {:?}", info.shape.dims());
            return Err(unusable(gguf.path, reason));
        }
    }
    let mut names: Vec<&String> = gguf.content.tensor_infos.keys().collect();
    names.sort();
    match names.into_iter().find(|name| !expected.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(unsupported(gguf.path, format!("nothing is known of its tensor {name}"))),
    }
}

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
