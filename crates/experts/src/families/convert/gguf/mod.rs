//! Converts Llama-like models in GGUF files, the format of llama.cpp, to Hugging Face folders.
//!
//! `candle-core` reads quantised weights, which are written as 16-bit floats; the precision that quantisation
//! lost does not come back. llama.cpp orders the rows of queries and keys so that rotary positions rotate
//! neighbours. Hugging Face rotates the two halves of a head, so the rows are put back in that order.

mod checks;
mod tokenizer;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use serde_json::{Value as Json, json};
use tch::{Kind, Tensor};

use crate::error::ExpertsError;
use crate::families::config::fields::Fields;
use crate::families::config::read::read_decoder;
use crate::families::config::{AttentionConfig, DecoderConfig, Family};
use crate::families::convert::first_line;
use crate::families::weights::SINGLE;
use crate::families::weights::target::check_target;
use crate::families::weights::write::{StoredTensor, stored, write, write_json};
use crate::model_files::{unsupported, unusable};

/// An open GGUF file with its header.
struct Gguf<'a> {
    path: &'a Path,
    file: BufReader<File>,
    content: Content,
}

/// Writes the model of a GGUF file into the folder `target`: `model.safetensors`, `config.json`,
/// `tokenizer.json` and `tokenizer_config.json`.
///
/// # Errors
/// [`ExpertsError::Target`] if that would overwrite the file; [`ExpertsError::File`];
/// [`ExpertsError::Content`] for a file that is no GGUF file, or not a whole one;
/// [`ExpertsError::Unsupported`] for an architecture other than `llama`, for a tokenizer that is not
/// byte-level BPE, and for settings that are not implemented. Then nothing is written.
pub fn convert(file: &Path, target: &Path) -> Result<(), ExpertsError> {
    check_target(file, target)?;
    let mut gguf = Gguf::open(file)?;
    let Header { config, tokenizer, tokenizer_config, decoder } = gguf.header()?;
    // All of the file is read before anything is written, so a rejected file leaves no folder behind.
    let parts = gguf.weights(&decoder)?;
    fs::create_dir_all(target).map_err(|source| ExpertsError::File { path: target.to_owned(), source })?;
    write(&parts, &target.join(SINGLE))?;
    write_json(&target.join("config.json"), &config)?;
    write_json(&target.join("tokenizer.json"), &tokenizer)?;
    write_json(&target.join("tokenizer_config.json"), &tokenizer_config)
}

/// The header of a GGUF file, as the contents of Hugging Face's files.
struct Header {
    config: Json,
    tokenizer: Json,
    tokenizer_config: Json,
    decoder: DecoderConfig,
}

/// Checks the header of a GGUF file as [`convert`] does before it reads the weights.
///
/// # Errors
/// As [`convert`].
pub fn check_header(file: &Path) -> Result<(), ExpertsError> {
    Gguf::open(file)?.header().map(|_| ())
}

impl<'a> Gguf<'a> {
    fn open(path: &'a Path) -> Result<Self, ExpertsError> {
        let file = File::open(path).map_err(|source| ExpertsError::File { path: path.to_owned(), source })?;
        let mut file = BufReader::new(file);
        let content = Content::read(&mut file).map_err(|error| {
            unusable(path, format!("it cannot be read as a GGUF file: {}", first_line(&error)))
        })?;
        Ok(Self { path, file, content })
    }

    /// A value of the header that must be present.
    fn value(&self, key: &str) -> Result<&Value, ExpertsError> {
        let value = self.content.metadata.get(key);
        value.ok_or_else(|| unusable(self.path, format!("its header lacks {key}")))
    }

    /// A value that may be absent; if it is present, `read` must be able to read it.
    fn optional<'b, T>(
        &'b self,
        key: &str,
        read: fn(&'b Self, &str) -> Result<T, ExpertsError>,
    ) -> Result<Option<T>, ExpertsError> {
        match self.content.metadata.contains_key(key) {
            true => read(self, key).map(Some),
            false => Ok(None),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, ExpertsError> {
        self.value(key)?
            .to_bool()
            .map_err(|_| unusable(self.path, format!("{key} is neither true nor false")))
    }

    fn text(&self, key: &str) -> Result<&str, ExpertsError> {
        let text = self.value(key)?.to_string();
        text.map(String::as_str).map_err(|_| unusable(self.path, format!("{key} is no text")))
    }

    fn whole(&self, key: &str) -> Result<u64, ExpertsError> {
        let value = self.value(key)?;
        if matches!(value, Value::Array(_)) {
            let reason = format!(
                "its {key} is a list, with a number for each layer; only one number for all layers is supported"
            );
            return Err(unsupported(self.path, reason));
        }
        whole(value).ok_or_else(|| unusable(self.path, format!("{key} is no whole number")))
    }

    fn number(&self, key: &str) -> Result<f64, ExpertsError> {
        match *self.value(key)? {
            Value::F32(number) => Ok(f64::from(number)),
            Value::F64(number) => Ok(number),
            _ => Err(unusable(self.path, format!("{key} is no number"))),
        }
    }

    /// Reads everything but the weights, and checks that the file has the tensors that the settings require.
    fn header(&self) -> Result<Header, ExpertsError> {
        let architecture = self.text("general.architecture")?;
        if architecture != "llama" {
            let reason = format!("its architecture is “{architecture}”; only llama is read from GGUF");
            return Err(unsupported(self.path, reason));
        }
        checks::settings(self)?;
        let config = self.config()?;
        // Read back as any folder's `config.json`, so that the same settings are accepted and rejected.
        let fields = Fields::from_object(self.path, config.as_object().cloned().unwrap_or_default());
        let decoder = read_decoder(Family::Llama, &fields)?;
        checks::sizes(self, &decoder)?;
        checks::tensors(self, &decoder)?;
        let (tokenizer, tokenizer_config) = tokenizer::read(self, decoder.vocabulary)?;
        Ok(Header { config, tokenizer, tokenizer_config, decoder })
    }

    /// The `config.json` of Hugging Face's `llama`.
    fn config(&self) -> Result<Json, ExpertsError> {
        let heads = self.whole("llama.attention.head_count")?;
        let embedding = self.content.tensor_infos.get("token_embd.weight");
        let rows = embedding.and_then(|info| info.shape.dims().first().copied());
        Ok(json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.whole("llama.embedding_length")?,
            "intermediate_size": self.whole("llama.feed_forward_length")?,
            "num_hidden_layers": self.whole("llama.block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": self.optional("llama.attention.head_count_kv", Self::whole)?.unwrap_or(heads),
            "max_position_embeddings": self.whole("llama.context_length")?,
            "rms_norm_eps": self.number("llama.attention.layer_norm_rms_epsilon")?,
            // The default of llama.cpp.
            "rope_theta": self.optional("llama.rope.freq_base", Self::number)?.unwrap_or(10_000.0),
            "rope_scaling": self.rope_scaling()?,
            // From the tensor, because a file need not state it. If it does, `checks::sizes` compares both.
            "vocab_size": rows.unwrap_or(0),
            // llama.cpp too uses the embedding if there is no `output.weight`.
            "tie_word_embeddings": !self.content.tensor_infos.contains_key("output.weight"),
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": self.special("bos")?,
            "eos_token_id": self.special("eos")?,
            "dtype": "float16",
        }))
    }

    /// The number of a special token, if there is one.
    fn special(&self, which: &str) -> Result<Option<u64>, ExpertsError> {
        self.optional(&format!("tokenizer.ggml.{which}_token_id"), Self::whole)
    }

    /// How rotary positions are stretched, if they are.
    fn rope_scaling(&self) -> Result<Json, ExpertsError> {
        match self.optional("llama.rope.scaling.type", Self::text)?.unwrap_or("none") {
            "none" => Ok(Json::Null),
            "linear" => Ok(json!({"type": "linear", "factor": self.number("llama.rope.scaling.factor")?})),
            other => {
                let reason =
                    format!("its llama.rope.scaling.type is “{other}”; only none and linear are supported");
                Err(unsupported(self.path, reason))
            }
        }
    }

    /// All tensors, with the names and the order of rows of Hugging Face.
    fn weights(&mut self, config: &DecoderConfig) -> Result<Vec<StoredTensor>, ExpertsError> {
        let AttentionConfig::Grouped { key_value_heads, .. } = config.attention else {
            unreachable!("a Llama has grouped attention")
        };
        let mut names: Vec<String> = self.content.tensor_infos.keys().cloned().collect();
        names.sort();
        let mut parts = Vec::with_capacity(names.len());
        for name in names {
            let Some(target) = hugging_face_name(&name) else {
                return Err(unsupported(self.path, format!("nothing is known of its tensor {name}")));
            };
            let tensor = self.tensor(&name)?;
            let placed = match name.rsplit('.').nth(1) {
                Some("attn_q") => halves(&tensor, config.heads as i64),
                Some("attn_k") => halves(&tensor, key_value_heads as i64),
                _ => tensor,
            };
            // F16 has a smaller range than F32 and BF16: values beyond it would silently become infinite.
            let halved = placed.to_kind(Kind::Half);
            if halved.isfinite().all().int64_value(&[]) == 0 {
                let reason = format!("its tensor {name} has values that do not fit into 16-bit floats");
                return Err(unsupported(self.path, reason));
            }
            parts.push(stored(vec![target], &halved));
        }
        Ok(parts)
    }

    /// A tensor of the file in 32-bit floats, its rows in the order of the file.
    fn tensor(&mut self, name: &str) -> Result<Tensor, ExpertsError> {
        let host = candle_core::Device::Cpu;
        let read = self.content.tensor(&mut self.file, name, &host).and_then(|tensor| {
            let tensor = tensor.dequantize(&host)?;
            Ok((tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1::<f32>()?))
        });
        let (shape, values) =
            read.map_err(|error| unusable(self.path, format!("{name}: {}", first_line(&error))))?;
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        Ok(Tensor::from_slice(&values).view(shape.as_slice()))
    }
}

/// A whole number of at least 0. Programs that write GGUF choose different widths for the same key.
fn whole(value: &Value) -> Option<u64> {
    match *value {
        Value::U8(number) => Some(number.into()),
        Value::U16(number) => Some(number.into()),
        Value::U32(number) => Some(number.into()),
        Value::U64(number) => Some(number),
        Value::I8(number) => number.try_into().ok(),
        Value::I16(number) => number.try_into().ok(),
        Value::I32(number) => number.try_into().ok(),
        Value::I64(number) => number.try_into().ok(),
        _ => None,
    }
}

/// Reorders the rows of queries or keys: from neighbours that are rotated together to halves that are.
fn halves(weight: &Tensor, heads: i64) -> Tensor {
    let size = weight.size();
    weight.view([heads, size[0] / heads / 2, 2, size[1]]).transpose(1, 2).reshape([size[0], size[1]])
}

/// The name that Hugging Face has for a tensor of llama.cpp; `None` if it is unknown.
fn hugging_face_name(name: &str) -> Option<String> {
    let whole = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(whole.to_owned());
    }
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let part = match part.strip_suffix(".weight")? {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.weight"))
}

#[cfg(test)]
mod tests;
