//! Settings that do not change what is computed here: names and versions, how texts are generated, how a
//! model was initialised, and what acts only in transformers' own training (dropout, jitter, how much of the
//! output it returns).

use crate::error::ExpertsError;
use crate::families::config::Family;
use crate::families::config::fields::Fields;

/// Harmless in every family.
const EVERYWHERE: &[&str] = &[
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "auto_map",
    "chunk_size_feed_forward",
    "dtype",
    "finetuning_task",
    "id2label",
    "is_decoder",
    "label2id",
    "model_type",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "prefix",
    "problem_type",
    "return_dict",
    "task_specific_params",
    "tf_legacy_loss",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// Numbers of special tokens. The task says which token ends a text, and the token with which the decoder of
/// Switch starts is read.
const TOKENS: &[&str] =
    &["bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id", "sep_token_id"];

/// How texts are generated, which older releases kept among a model's settings.
const GENERATION: &[&str] = &[
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_past",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// Harmless in all decoders.
const DECODERS: &[&str] = &["attention_dropout", "initializer_range", "pretraining_tp"];

/// Harmless in one family.
fn family_settings(family: Family) -> &'static [&'static str] {
    match family {
        // SmolLM2 has these two. The first names its kind, and transformers does not read the second.
        Family::Llama => &["is_llama_config", "rope_interleaved"],
        Family::Olmoe => &[],
        Family::Mixtral => &["router_jitter_noise"],
        // Present in files whose window is off, where they have no effect. `window` and `positions` read
        // those that act.
        Family::Qwen2Moe => &["layer_types", "max_window_layers", "sliding_window"],
        Family::Qwen3Moe => &["max_window_layers", "sliding_window"],
        // The load balance of DeepSeek's own training, widths that follow from others (transformers
        // overwrites `head_dim` and `qk_head_dim`), and layers that predict several tokens.
        Family::DeepseekV2 => &[
            "aux_loss_alpha",
            "ep_size",
            "head_dim",
            "n_group",
            "num_key_value_heads",
            "qk_head_dim",
            "seq_aux",
            "topk_group",
        ],
        Family::DeepseekV3 => &[
            "aux_loss_alpha",
            "ep_size",
            "head_dim",
            "num_key_value_heads",
            "num_mtp_layers",
            "num_nextn_predict_layers",
            "qk_head_dim",
            "seq_aux",
        ],
        Family::SwitchTransformers => &[
            "add_router_probs",
            "decoder_sparse_step",
            "dropout_rate",
            "encoder_sparse_step",
            "initializer_factor",
            "n_positions",
            "router_ignore_padding_tokens",
            "router_jitter_noise",
        ],
    }
}

/// Rejects settings that were not read and may change what is computed.
pub(crate) fn refuse_others(family: Family, fields: &Fields) -> Result<(), ExpertsError> {
    // Older releases wrote these as `false` or empty. Set, they change the architecture.
    for setting in ["add_cross_attention", "pruned_heads", "tie_encoder_decoder"] {
        fields.demand_empty(setting)?;
    }
    // A Switch Transformer has its own names for these, so there the decoders' names stay unknown.
    let decoders = if family == Family::SwitchTransformers { &[][..] } else { DECODERS };
    fields.refuse_others(&[EVERYWHERE, TOKENS, GENERATION, decoders, family_settings(family)])
}
