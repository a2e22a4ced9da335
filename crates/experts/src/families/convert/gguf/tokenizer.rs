//! The tokenizer inside a GGUF file, as Hugging Face writes byte-level BPE.

use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json, json};

use crate::error::ExpertsError;
use crate::families::convert::gguf::{Gguf, whole};
use crate::model_files::{unsupported, unusable};

/// Types of tokens, as GGUF numbers them: control tokens and those that a user has defined are never split.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// `tokenizer.json` and `tokenizer_config.json` for a model with so many rows of the embedding.
pub(super) fn read(gguf: &Gguf<'_>, rows: usize) -> Result<(Json, Json), ExpertsError> {
    let model = gguf.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        let reason = format!("its tokenizer is “{model}”; only byte-level BPE (“gpt2”) is read");
        return Err(unsupported(gguf.path, reason));
    }
    let tokens = texts(gguf, "tokenizer.ggml.tokens")?;
    let types = numbers(gguf, "tokenizer.ggml.token_type")?;
    let merges = texts(gguf, "tokenizer.ggml.merges")?;
    if types.len() != tokens.len() || tokens.len() > rows {
        let reason = format!(
            "it has {} tokens with {} types, for {rows} rows of the embedding",
            tokens.len(),
            types.len()
        );
        return Err(unusable(gguf.path, reason));
    }
    let added =
        tokens.iter().zip(&types).enumerate().filter(|(_, (_, kind))| [CONTROL, USER_DEFINED].contains(kind));
    let added: Vec<Json> =
        added.map(|(id, (token, kind))| added_token(id, token, *kind == CONTROL)).collect();
    let vocabulary: Map<String, Json> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    if vocabulary.len() != tokens.len() {
        return Err(unusable(gguf.path, "two of its tokens are the same".to_owned()));
    }
    if gguf.optional("tokenizer.ggml.add_space_prefix", Gguf::flag)?.unwrap_or(false) {
        return Err(unsupported(gguf.path, "its tokenizer puts a blank before texts".to_owned()));
    }
    let special = |which: &str| special(gguf, &tokens, which);
    let adds = |which: &str| gguf.optional(&format!("tokenizer.ggml.add_{which}_token"), Gguf::flag);
    let around = [adds("bos")?.unwrap_or(false), adds("eos")?.unwrap_or(false)];
    let ends = [special("bos")?, special("eos")?];
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer(gguf)?,
        "post_processor": post_processor(gguf, around, ends)?,
        "decoder": byte_level(),
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    });
    let config = json!({
        "bos_token": ends[0].map(|(_, token)| token),
        "eos_token": ends[1].map(|(_, token)| token),
        "pad_token": special("padding")?.map(|(_, token)| token),
        "add_bos_token": around[0],
        "add_eos_token": around[1],
        "chat_template": gguf.optional("tokenizer.chat_template", Gguf::text)?,
    });
    Ok((tokenizer, config))
}

/// A token with its number.
type Numbered<'a> = (u64, &'a str);

/// A special token that the file names, if it does.
fn special<'a>(
    gguf: &Gguf<'_>,
    tokens: &[&'a str],
    which: &str,
) -> Result<Option<Numbered<'a>>, ExpertsError> {
    let Some(id) = gguf.special(which)? else { return Ok(None) };
    match tokens.get(id as usize) {
        Some(token) => Ok(Some((id, token))),
        None => {
            let reason = format!("its {which}_token_id is {id}, and it has {} tokens", tokens.len());
            Err(unusable(gguf.path, reason))
        }
    }
}

/// What puts the first and the last token around texts, where the file asks for it.
fn post_processor(
    gguf: &Gguf<'_>,
    around: [bool; 2],
    ends: [Option<Numbered<'_>>; 2],
) -> Result<Json, ExpertsError> {
    let mut pieces = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut special = Map::new();
    for (place, (_, end)) in around.into_iter().zip(ends).enumerate().filter(|(_, (asked, _))| *asked) {
        let Some((id, token)) = end else {
            let reason = "it asks for a token around texts, and names none".to_owned();
            return Err(unusable(gguf.path, reason));
        };
        let at = if place == 0 { 0 } else { pieces.len() };
        pieces.insert(at, json!({"SpecialToken": {"id": token, "type_id": 0}}));
        special.insert(token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}));
    }
    if special.is_empty() {
        return Ok(Json::Null);
    }
    let mut pair = pieces.clone();
    pair.push(json!({"Sequence": {"id": "B", "type_id": 1}}));
    Ok(json!({"type": "TemplateProcessing", "single": pieces, "pair": pair, "special_tokens": special}))
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
            Err(unsupported(gguf.path, reason))
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

fn numbers(gguf: &Gguf<'_>, key: &str) -> Result<Vec<u64>, ExpertsError> {
    let all: Option<_> = list(gguf, key)?.iter().map(whole).collect();
    all.ok_or_else(|| unusable(gguf.path, format!("{key} holds what is no whole number")))
}
