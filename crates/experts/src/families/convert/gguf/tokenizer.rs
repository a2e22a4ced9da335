//! Converts the tokenizer inside a GGUF file to Hugging Face's files for byte-level BPE.

use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json, json};

use crate::error::ExpertsError;
use crate::families::convert::gguf::{Gguf, whole};
use crate::model_files::{unsupported, unusable};

/// GGUF's numbers of token types. Control tokens and user-defined tokens are never split.
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
    // There may be fewer tokens than rows: makers round the size of the embedding up.
    if types.len() != tokens.len() || tokens.len() > rows {
        let reason = format!(
            "it has {} tokens with {} types, and {rows} rows of the embedding; each token must have a type and a row",
            tokens.len(),
            types.len()
        );
        return Err(unusable(gguf.path, reason));
    }
    let mut added = Vec::new();
    for (id, (token, &kind)) in tokens.iter().zip(&types).enumerate() {
        if [CONTROL, USER_DEFINED].contains(&kind) {
            added.push(added_token(id, token, kind == CONTROL));
        }
    }
    let vocabulary: Map<String, Json> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    // In a map by name, the later of two equal tokens would silently replace the earlier one.
    if vocabulary.len() != tokens.len() {
        return Err(unusable(gguf.path, "two of its tokens are the same".to_owned()));
    }
    if gguf.optional("tokenizer.ggml.add_space_prefix", Gguf::flag)?.unwrap_or(false) {
        return Err(unsupported(
            gguf.path,
            "its tokenizer adds a space before texts (add_space_prefix), which is not supported".to_owned(),
        ));
    }
    let around = [adds_token(gguf, "bos")?, adds_token(gguf, "eos")?];
    let ends = [special(gguf, &tokens, "bos")?, special(gguf, &tokens, "eos")?];
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
        "pad_token": special(gguf, &tokens, "padding")?.map(|(_, token)| token),
        "add_bos_token": around[0],
        "add_eos_token": around[1],
        "chat_template": gguf.optional("tokenizer.chat_template", Gguf::text)?,
    });
    Ok((tokenizer, config))
}

/// A token with its number.
type Numbered<'a> = (u64, &'a str);

/// Whether the tokenizer adds the special token to texts.
fn adds_token(gguf: &Gguf<'_>, which: &str) -> Result<bool, ExpertsError> {
    let flag = gguf.optional(&format!("tokenizer.ggml.add_{which}_token"), Gguf::flag)?;
    // The default of llama.cpp for byte-level BPE.
    Ok(flag.unwrap_or(false))
}

/// A special token, if the file names it.
fn special<'a>(
    gguf: &Gguf<'_>,
    tokens: &[&'a str],
    which: &str,
) -> Result<Option<Numbered<'a>>, ExpertsError> {
    let Some(id) = gguf.special(which)? else { return Ok(None) };
    match tokens.get(id as usize) {
        Some(token) => Ok(Some((id, token))),
        None => {
            let reason = format!("its {which}_token_id is {id}, but it has only {} tokens", tokens.len());
            Err(unusable(gguf.path, reason))
        }
    }
}

/// The post-processor that adds the first and the last token to texts, if the file asks for it; otherwise
/// `null`. `around` says for first and last whether it is added, and `ends` which token it is.
fn post_processor(
    gguf: &Gguf<'_>,
    around: [bool; 2],
    ends: [Option<Numbered<'_>>; 2],
) -> Result<Json, ExpertsError> {
    let mut pieces = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut special = Map::new();
    for (place, (_, end)) in around.into_iter().zip(ends).enumerate().filter(|(_, (asked, _))| *asked) {
        let Some((id, token)) = end else {
            let which = ["bos", "eos"][place];
            let reason =
                format!("it adds a token to texts (add_{which}_token), but names none ({which}_token_id)");
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

/// An entry of `added_tokens`.
fn added_token(id: usize, token: &str, special: bool) -> Json {
    json!({
        "id": id, "content": token, "special": special,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

/// How text is split before pieces are merged, by llama.cpp's name for the rule.
fn pre_tokenizer(gguf: &Gguf<'_>) -> Result<Json, ExpertsError> {
    match gguf.text("tokenizer.ggml.pre")? {
        "gpt-2" => Ok(byte_level()),
        "smollm" => {
            // SmolLM2 splits numbers into single digits before it splits words.
            let digits = json!({"type": "Digits", "individual_digits": true});
            Ok(json!({"type": "Sequence", "pretokenizers": [digits, byte_level()]}))
        }
        other => {
            let reason = format!("its tokenizer.ggml.pre is “{other}”; only gpt-2 and smollm are supported");
            Err(unsupported(gguf.path, reason))
        }
    }
}

fn byte_level() -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}

/// A list in the header.
fn list<'a>(gguf: &'a Gguf<'_>, key: &str) -> Result<&'a Vec<Value>, ExpertsError> {
    gguf.value(key)?.to_vec().map_err(|_| unusable(gguf.path, format!("{key} is no list")))
}

/// A list of texts in the header.
fn texts<'a>(gguf: &'a Gguf<'_>, key: &str) -> Result<Vec<&'a str>, ExpertsError> {
    let texts: Result<_, _> =
        list(gguf, key)?.iter().map(|value| value.to_string().map(String::as_str)).collect();
    texts.map_err(|_| unusable(gguf.path, format!("{key} must hold texts only")))
}

/// A list of whole numbers in the header.
fn numbers(gguf: &Gguf<'_>, key: &str) -> Result<Vec<u64>, ExpertsError> {
    let numbers: Option<_> = list(gguf, key)?.iter().map(whole).collect();
    numbers.ok_or_else(|| unusable(gguf.path, format!("{key} must hold whole numbers only")))
}
