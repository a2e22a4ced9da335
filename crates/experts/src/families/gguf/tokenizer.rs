//! The tokenizer inside a GGUF file, as Hugging Face writes byte-level BPE.

use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json, json};

use crate::error::ExpertsError;
use crate::families::gguf::Gguf;
use crate::minilm::unusable;

/// Types of tokens, as GGUF numbers them: control tokens and those that a user has defined are never split.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// `tokenizer.json` and `tokenizer_config.json`.
pub(super) fn read(gguf: &Gguf<'_>) -> Result<(Json, Json), ExpertsError> {
    let model = gguf.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        let reason = format!("its tokenizer is “{model}”; only byte-level BPE (“gpt2”) is read");
        return Err(unusable(gguf.path, reason));
    }
    let tokens = texts(gguf, "tokenizer.ggml.tokens")?;
    let types = numbers(gguf, "tokenizer.ggml.token_type")?;
    let merges = texts(gguf, "tokenizer.ggml.merges")?;
    let added =
        tokens.iter().zip(&types).enumerate().filter(|(_, (_, own))| [CONTROL, USER_DEFINED].contains(own));
    let added: Vec<Json> = added.map(|(id, (token, own))| added_token(id, token, *own == CONTROL)).collect();
    let vocabulary: Map<String, Json> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer(gguf)?,
        "post_processor": null,
        "decoder": byte_level(),
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    });
    let special = |which: &str| {
        let id = gguf.whole(&format!("tokenizer.ggml.{which}_token_id")).ok()?;
        tokens.get(id as usize).copied()
    };
    let config = json!({
        "bos_token": special("bos"),
        "eos_token": special("eos"),
        "pad_token": special("padding"),
        "chat_template": gguf.text("tokenizer.chat_template").ok(),
    });
    Ok((tokenizer, config))
}

fn added_token(id: usize, token: &str, special: bool) -> Json {
    json!({
        "id": id, "content": token, "special": special,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

/// How text is cut before it is merged, as llama.cpp names it.
fn pre_tokenizer(gguf: &Gguf<'_>) -> Result<Json, ExpertsError> {
    match gguf.text("tokenizer.ggml.pre")? {
        "gpt-2" => Ok(byte_level()),
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            Ok(json!({"type": "Sequence", "pretokenizers": [digits, byte_level()]}))
        }
        other => {
            let reason = format!("its text is cut as “{other}” has it; only gpt-2 and smollm are known");
            Err(unusable(gguf.path, reason))
        }
    }
}

fn byte_level() -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}

fn list<'a>(gguf: &'a Gguf<'_>, key: &str) -> Result<&'a Vec<Value>, ExpertsError> {
    gguf.value(key)?.to_vec().map_err(|_| unusable(gguf.path, format!("{key} is no list")))
}

fn texts<'a>(gguf: &'a Gguf<'_>, key: &str) -> Result<Vec<&'a str>, ExpertsError> {
    let text = |value: &'a Value| value.to_string().map(String::as_str);
    let all: Result<_, _> = list(gguf, key)?.iter().map(text).collect();
    all.map_err(|_| unusable(gguf.path, format!("{key} holds what is no text")))
}

fn numbers(gguf: &Gguf<'_>, key: &str) -> Result<Vec<i64>, ExpertsError> {
    let number = |value: &Value| value.to_i32().map(i64::from);
    let all: Result<_, _> = list(gguf, key)?.iter().map(number).collect();
    all.map_err(|_| unusable(gguf.path, format!("{key} holds what is no whole number")))
}
