use std::path::PathBuf;

use candle_core::Tensor as Stored;
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use tch::Device;

use super::*;
use crate::device::Precision;
use crate::families::weights::Checkpoint;
use crate::families::{PublishedModel, Tokens};
use crate::texts::open_tokenizer;

const PARTS: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama")
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-gguf-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
}

fn config() -> Json {
    let text = fs::read_to_string(fixture().join("config.json")).expect("the fixture is whole");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Interleaves the rows of a head's two halves, as llama.cpp's own converter does.
fn neighbours(tensor: &Tensor, heads: i64) -> Tensor {
    let (rows, width) = (tensor.size()[0], tensor.size()[1]);
    let head = rows / heads;
    let mut order = Vec::new();
    for head_start in (0..rows).step_by(head as usize) {
        order.extend((0..head / 2).flat_map(|at| [head_start + at, head_start + head / 2 + at]));
    }
    tensor.index_select(0, &Tensor::from_slice(&order)).view([rows, width])
}

fn stored(tensor: &Tensor, halved: bool) -> QTensor {
    let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
    let values = crate::device::values(&tensor.to_kind(Kind::Float));
    let stored = Stored::from_vec(values, shape, &candle_core::Device::Cpu).expect("sound sizes");
    let kind = if halved { GgmlDType::F16 } else { GgmlDType::F32 };
    QTensor::quantize(&stored, kind).expect("sound sizes")
}

/// The fixture's Llama as a GGUF file; if `halved`, its embeddings are 16-bit floats.
fn write_gguf(path: &Path, halved: bool, changes: &[(&str, Value)]) {
    write_some(path, halved, changes, &|_| true);
}

/// The same, with only the tensors for which `keep` returns true.
fn write_some(path: &Path, halved: bool, changes: &[(&str, Value)], keep: &dyn Fn(&str) -> bool) {
    let (config, checkpoint) = (config(), Checkpoint::open(&fixture()).expect("the fixture is whole"));
    let number = |key: &str| config[key].as_u64().expect("the fixture says so");
    let take = |name: &str| checkpoint.take_any(name).expect("the fixture has it");
    let mut tensors = vec![("output_norm.weight".to_owned(), stored(&take("model.norm.weight"), false))];
    let whole = [("token_embd", "model.embed_tokens"), ("output", "lm_head")];
    for (name, theirs) in whole.iter().filter(|(_, theirs)| checkpoint.has(&format!("{theirs}.weight"))) {
        tensors.push((format!("{name}.weight"), stored(&take(&format!("{theirs}.weight")), halved)));
    }
    for layer in 0..number("num_hidden_layers") {
        for (name, theirs) in PARTS {
            let tensor = take(&format!("model.layers.{layer}.{theirs}.weight"));
            let tensor = match name {
                "attn_q" => neighbours(&tensor, number("num_attention_heads") as i64),
                "attn_k" => neighbours(&tensor, number("num_key_value_heads") as i64),
                _ => tensor,
            };
            tensors.push((format!("blk.{layer}.{name}.weight"), stored(&tensor, false)));
        }
    }
    let text = |text: &str| Value::String(text.to_owned());
    let whole = |key: &str| Value::U32(number(key) as u32);
    let scaling = config["rope_parameters"]["factor"].as_f64().expect("the fixture is stretched") as f32;
    let tokens = ["<s>", "a", "b", "Ġ", "ab"].map(text).to_vec();
    let mut metadata = vec![
        ("general.architecture", text("llama")),
        ("llama.attention.head_count", whole("num_attention_heads")),
        ("llama.attention.head_count_kv", whole("num_key_value_heads")),
        ("llama.embedding_length", whole("hidden_size")),
        ("llama.feed_forward_length", whole("intermediate_size")),
        ("llama.block_count", whole("num_hidden_layers")),
        ("llama.context_length", whole("max_position_embeddings")),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F32(config["rms_norm_eps"].as_f64().unwrap_or(1e-6) as f32),
        ),
        ("llama.rope.scaling.type", text("linear")),
        ("llama.rope.scaling.factor", Value::F32(scaling)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.token_type", Value::Array([3, 1, 1, 1, 1].map(Value::I32).to_vec())),
        ("tokenizer.ggml.merges", Value::Array(vec![text("a b")])),
        ("tokenizer.ggml.bos_token_id", Value::U32(0)),
    ];
    metadata.retain(|(key, _)| !changes.iter().any(|(changed, _)| changed == key));
    metadata.extend(changes.iter().cloned());
    tensors.retain(|(name, _)| keep(name));
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = File::create(path).expect("the folder is there");
    gguf_file::write(&mut file, &metadata, &tensors).expect("the file can be written");
}

fn logits(folder: &Path) -> Tensor {
    let model = PublishedModel::open(folder, Precision::Float32, Device::Cpu).expect("a sound model");
    let PublishedModel::Decoder(decoder) = &model else { panic!("llama is a decoder") };
    let tokens = Tokens::new(&[vec![1_i64, 5, 9, 2, 7, 3, 8]], Device::Cpu);
    tch::no_grad(|| decoder.logits(&decoder.hidden(&tokens).rows))
}

#[test]
fn a_model_computes_the_same_out_of_gguf() {
    let folder = scratch("same");
    let file = folder.join("model.gguf");
    let theirs = logits(&fixture());
    // All written weights are 16-bit floats, so logits differ from the fixture's by that rounding.
    for (halved, most) in [(false, 0.005), (true, 0.01)] {
        write_gguf(&file, halved, &[]);
        convert(&file, &folder.join("out")).expect("a sound file");
        let off = (logits(&folder.join("out")) - &theirs).abs().max().double_value(&[]);
        let size = theirs.abs().max().double_value(&[]);
        assert!(off < most * size, "halved {halved}: they differ by {off} of {size}");
    }
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn the_tokenizer_comes_along() {
    let folder = scratch("tokenizer");
    let file = folder.join("model.gguf");
    write_gguf(&file, false, &[("tokenizer.chat_template", Value::String("{{ messages }}".to_owned()))]);
    convert(&file, &folder.join("out")).expect("a sound file");
    let tokenizer = open_tokenizer(&folder.join("out/tokenizer.json")).expect("a sound tokenizer");
    let encoding = tokenizer.encode("ab<s> b", false).expect("plain text");
    assert_eq!(encoding.get_ids(), [4, 0, 3, 2]);
    let config = fs::read_to_string(folder.join("out/tokenizer_config.json")).expect("it was written");
    assert!(config.contains("\"bos_token\": \"<s>\"") && config.contains("{{ messages }}"), "{config}");
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn a_tokenizer_puts_first_and_last_what_the_file_asks_for() {
    let folder = scratch("around");
    let file = folder.join("model.gguf");
    let ids = |changes: &[(&str, Value)]| {
        write_gguf(&file, false, changes);
        convert(&file, &folder.join("out")).expect("a sound file");
        let tokenizer = open_tokenizer(&folder.join("out/tokenizer.json")).expect("a sound tokenizer");
        tokenizer.encode("a b", true).expect("plain text").get_ids().to_vec()
    };
    let (bos, eos) = ("tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token");
    assert_eq!(ids(&[]), [1, 3, 2]);
    assert_eq!(ids(&[(bos, Value::Bool(false))]), [1, 3, 2]);
    assert_eq!(ids(&[(bos, Value::Bool(true))]), [0, 1, 3, 2]);
    let last = ("tokenizer.ggml.eos_token_id", Value::U32(4));
    assert_eq!(ids(&[(bos, Value::Bool(true)), (eos, Value::Bool(true)), last]), [0, 1, 3, 2, 4]);
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn a_file_that_is_not_whole_leaves_nothing_behind() {
    let folder = scratch("parts");
    let (file, out) = (folder.join("model.gguf"), folder.join("out"));
    let refused = |expected: &str| {
        let error = convert(&file, &out).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!out.exists(), "nothing is written");
    };
    write_some(&file, false, &[], &|name| !name.starts_with("blk.1."));
    refused("its tensor blk.1.attn_k.weight is missing");
    write_some(&file, false, &[("llama.block_count", Value::U32(1))], &|_| true);
    refused("nothing is known of its tensor blk.1.");
    write_some(&file, false, &[("split.count", Value::U16(2))], &|_| true);
    refused("one of several files");
    write_gguf(&file, false, &[]);
    let bytes = fs::read(&file).expect("just written");
    fs::write(&file, &bytes[..bytes.len() - 64]).expect("the folder is there");
    refused("remaining in file");
    fs::write(&file, bytes).expect("the folder is there");
    convert(&file, &out).expect("the control: the whole file is read");
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn what_is_not_read_is_named() {
    let folder = scratch("refused");
    let file = folder.join("model.gguf");
    let text = |text: &str| Value::String(text.to_owned());
    let twos = || Value::Array(vec![Value::U32(2), Value::U32(2)]);
    let refusals = [
        (("llama.attention.head_count_kv", twos()), "head_count_kv is a list"),
        (("llama.attention.head_count_kv", text("2")), "head_count_kv is no whole number"),
        (("llama.attention.head_count", Value::U32(0)), "num_attention_heads must be at least 1"),
        (("llama.attention.key_length", Value::U32(8)), "key_length is 8"),
        (("llama.rope.dimension_count", Value::U32(2)), "dimension_count is 2"),
        (("llama.rope.scaling.attn_factor", Value::F32(2.0)), "setting llama.rope.scaling.attn_factor"),
        (("llama.rope.freq_base", text("high")), "freq_base is no number"),
        (("llama.expert_count", Value::U32(8)), "a mixture of experts"),
        (("llama.tensor_data_layout", text("other")), "“other”"),
        (("tokenizer.ggml.precompiled_charsmap", twos()), "setting tokenizer.ggml.precompiled_charsmap"),
        (("tokenizer.ggml.add_space_prefix", Value::Bool(true)), "adds a space before texts"),
        (("tokenizer.ggml.add_eos_token", Value::Bool(true)), "names none"),
        (("tokenizer.ggml.bos_token_id", Value::U32(5)), "bos_token_id is 5, but it has only 5 tokens"),
        (("tokenizer.ggml.token_type", twos()), "5 tokens with 2 types"),
        (("tokenizer.ggml.tokens", Value::Array(["a"; 5].map(text).to_vec())), "two of its tokens"),
        (("general.architecture", text("gemma")), "its architecture is “gemma”; only llama is read"),
        (("tokenizer.ggml.model", text("llama")), "its tokenizer is “llama”"),
        (("tokenizer.ggml.pre", text("qwen2")), "its tokenizer.ggml.pre is “qwen2”"),
        (("llama.rope.scaling.type", text("yarn")), "its llama.rope.scaling.type is “yarn”"),
        (("llama.block_count", text("two")), "llama.block_count is no whole number"),
    ];
    for (change, expected) in refusals {
        write_gguf(&file, false, &[change]);
        let error = convert(&file, &folder.join("out")).expect_err("it is not read").to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::write(&file, b"GGUF, but nothing more").expect("the folder is there");
    assert!(convert(&file, &folder.join("out")).is_err());
    fs::remove_dir_all(folder).expect("it was made above");
}
