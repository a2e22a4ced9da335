//! Configurations as they are published.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::families::config::RopeScaling;
use crate::families::config::switch::SwitchConfig;

/// Reads a configuration from text.
fn read(name: &str, json: &str) -> Result<DecoderConfig, String> {
    let path: PathBuf =
        std::env::temp_dir().join(format!("cloister-config-{}-{name}.json", std::process::id()));
    fs::write(&path, json).expect("a temporary file can be written");
    let config = read_family(&path).and_then(|(family, fields)| read_decoder(family, &fields));
    fs::remove_file(&path).expect("it was written above");
    config.map_err(|error| error.to_string())
}

const QWEN3_BEFORE_5: &str = r#"{
    "model_type": "qwen3_moe", "torch_dtype": "bfloat16", "vocab_size": 48, "hidden_size": 16,
    "intermediate_size": 20, "moe_intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 6, "hidden_act": "silu", "max_position_embeddings": 64,
    "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "rope_scaling": null, "num_experts": 6,
    "num_experts_per_tok": 3, "norm_topk_prob": true, "tie_word_embeddings": true, "sliding_window": null,
    "use_sliding_window": false, "decoder_sparse_step": 1, "mlp_only_layers": []
}"#;

fn fixture(family: &str) -> DecoderConfig {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family);
    let (family, fields) = read_family(&path.join("config.json")).expect("the fixture is committed");
    read_decoder(family, &fields).expect("the fixture is sound")
}

#[test]
fn the_spellings_of_transformers_4_mean_the_same() {
    assert_eq!(read("qwen3", QWEN3_BEFORE_5).expect("a sound configuration"), fixture("qwen3_moe"));
}

#[test]
fn stretched_positions_of_transformers_4_mean_the_same() {
    let scaling = |spelling: &str, kind: &str, theta: &str| {
        let scaling = format!(
            r#""{spelling}": {{"{kind}": "yarn", {theta} "factor": 4.0, "original_max_position_embeddings": 16,
            "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.7}}"#
        );
        let json = QWEN3_BEFORE_5.replace(r#""rope_scaling": null"#, &scaling);
        read(spelling, &json).expect("a sound configuration").rope
    };
    let before = scaling("rope_scaling", "type", "");
    assert_eq!(before, scaling("rope_parameters", "rope_type", r#""rope_theta": 10000.0,"#));
    assert!(matches!(before.scaling, RopeScaling::Yarn { factor, .. } if factor == 4.0));
}

/// The window that is computed and the longest text of a family's fixture with other settings; absent ones
/// are those that are `null` here.
fn windows(family: &str, changed: Value) -> Result<(Option<usize>, usize), String> {
    let mut settings = settings(family);
    let object = settings.as_object_mut().expect("an object");
    for name in ["sliding_window", "use_sliding_window", "max_window_layers", "layer_types"] {
        object.remove(name);
    }
    object.insert("max_position_embeddings".to_owned(), json!(9000));
    object.extend(changed.as_object().expect("an object").clone());
    // Tests run at the same time, each with its own file.
    let name = format!("window-{:?}", std::thread::current().id());
    let config = read(&name, &settings.to_string())?;
    match config.attention {
        AttentionConfig::Grouped { window, .. } => Ok((window, config.positions)),
        AttentionConfig::Latent { .. } => panic!("{family} has grouped attention"),
    }
}

#[test]
fn a_window_counts_where_it_is_used_and_bounds_texts_where_releases_disagree_about_it() {
    let off = json!({"sliding_window": 32, "use_sliding_window": false, "max_window_layers": 28});
    let on = json!({"sliding_window": 32, "use_sliding_window": true});
    let from_layer =
        |layer| json!({"sliding_window": 32, "use_sliding_window": true, "max_window_layers": layer});
    let expected = [
        ("qwen3_moe", off.clone(), (None, 9000)),
        ("qwen3_moe", on.clone(), (Some(32), 9000)),
        // Releases of transformers 4 have no window in the first 28 layers.
        ("qwen3_moe", from_layer(28), (None, 32)),
        ("qwen3_moe", from_layer(0), (Some(32), 9000)),
        ("qwen2_moe", off, (None, 9000)),
        ("qwen2_moe", on, (None, 32)),
        ("qwen2_moe", from_layer(0), (None, 32)),
        ("mixtral", json!({"sliding_window": 8}), (Some(8), 9000)),
    ];
    for (family, settings, expected) in expected {
        assert_eq!(windows(family, settings.clone()), Ok(expected), "{family}: {settings}");
    }
}

/// The defaults of the configuration classes of transformers 5.23: 4096 for both families of Qwen, of which
/// `null` is another value, and none for Mixtral.
#[test]
fn a_window_that_is_absent_or_null_is_what_transformers_makes_of_it() {
    let absent = json!({"use_sliding_window": true});
    let null = json!({"use_sliding_window": true, "sliding_window": null});
    assert_eq!(windows("qwen3_moe", absent.clone()), Ok((Some(4096), 9000)));
    assert_eq!(windows("qwen3_moe", null.clone()), Ok((None, 9000)));
    assert_eq!(windows("qwen2_moe", absent), Ok((None, 4096)));
    let fault = windows("qwen2_moe", null).expect_err("transformers fails with it");
    assert!(fault.contains("its sliding_window null"), "{fault}");
    assert_eq!(windows("mixtral", json!({})), Ok((None, 9000)));
    assert_eq!(windows("mixtral", json!({"sliding_window": null})), Ok((None, 9000)));
    for family in ["mixtral", "qwen2_moe", "qwen3_moe"] {
        let mut settings = json!({"sliding_window": 0});
        if family != "mixtral" {
            settings["use_sliding_window"] = json!(true);
        }
        let fault = windows(family, settings).expect_err("a token attends at least to itself");
        assert!(fault.contains("sliding_window must be at least 1"), "{fault}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let refusals = [
        ("qwen3_moe", "gpt_oss", "its model_type is “gpt_oss”, but only these are supported: llama"),
        (r#""silu""#, r#""gelu""#, "hidden_act is “gelu”"),
        (
            r#""num_experts": 6"#,
            r#""num_experts": 2"#,
            "num_experts_per_tok, 3, must be at most the number of its experts, 2",
        ),
        (r#""num_experts": 6,"#, "", "num_experts or num_local_experts or n_routed_experts is missing"),
        (
            r#""num_key_value_heads": 2"#,
            r#""num_key_value_heads": 3"#,
            "must be a multiple of its num_key_value_heads",
        ),
        (r#""rope_scaling": null"#, r#""rope_scaling": {"type": "longrope"}"#, "rope_type is “longrope”"),
    ];
    for (from, to, expected) in refusals {
        let error = read("refused", &QWEN3_BEFORE_5.replace(from, to)).expect_err(to);
        assert!(error.contains(expected), "{error}");
    }
}

/// The settings of a family's fixture.
fn settings(family: &str) -> Value {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family).join("config.json");
    serde_json::from_str(&fs::read_to_string(path).expect("the fixture is committed")).expect("it is JSON")
}

/// Reads settings of any family, and says what is wrong with them.
fn fault(name: &str, settings: &Value) -> Option<String> {
    let path = std::env::temp_dir().join(format!("cloister-settings-{}-{name}.json", std::process::id()));
    fs::write(&path, settings.to_string()).expect("a temporary file can be written");
    let read = read_family(&path).and_then(|(family, fields)| match family {
        Family::SwitchTransformers => SwitchConfig::read(&fields).map(|_| ()),
        _ => read_decoder(family, &fields).map(|_| ()),
    });
    fs::remove_file(&path).expect("it was written above");
    read.err().map(|error| error.to_string())
}

#[test]
fn published_settings_are_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/published_configs.json");
    let text = fs::read_to_string(path).expect("the fixture is committed");
    let published: Value = serde_json::from_str(&text).expect("it is JSON");
    for (name, settings) in published.as_object().expect("an object") {
        assert_eq!(fault("published", settings), None, "{name}");
    }
}

#[test]
fn a_setting_that_nobody_knows_is_refused_in_every_family() {
    for family in Family::ALL {
        let mut settings = settings(family.name());
        settings["mystery"] = json!(null);
        assert_eq!(fault("known", &settings), None, "{family:?}");
        settings["mystery"] = json!(false);
        let fault = fault("unknown", &settings).expect("nobody knows it");
        assert!(fault.contains("nothing is known of its setting mystery"), "{fault}");
    }
}

#[test]
fn settings_that_change_something_are_refused_by_name() {
    let refusals = [
        ("llama", "sliding_window", json!(4), "sliding_window"),
        ("llama", "clip_qkv", json!(1.0), "clip_qkv"),
        (
            "llama",
            "rope_parameters",
            json!({"rope_type": "default", "partial_rotary_factor": 0.5}),
            "partial_rotary_factor is 0.5",
        ),
        (
            "llama",
            "rope_parameters",
            json!({"rope_type": "linear", "factor": 2.0, "mscale": 1.0}),
            "setting mscale",
        ),
        (
            "llama",
            "rope_parameters",
            json!({"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 4, "high_freq_factor": 4}),
            "must be below",
        ),
        ("llama", "rope_parameters", json!("yarn"), "must be an object"),
        ("llama", "rope_scaling", json!({"rope_type": "default"}), "rope_parameters and rope_scaling"),
        ("llama", "pruned_heads", json!({"0": [1]}), "pruned_heads is set"),
        ("llama", "is_encoder_decoder", json!(true), "is_encoder_decoder is true"),
        ("mixtral", "attention_bias", json!(true), "attention_bias is true"),
        ("mixtral", "quantization_config", json!({"quant_method": "gptq", "bits": 4}), "quantised (gptq)"),
        ("qwen2_moe", "layer_types", json!(["sliding_attention", "full_attention"]), "“sliding_attention”"),
        ("qwen3_moe", "qkv_bias", json!(true), "qkv_bias"),
        ("deepseek_v2", "scoring_func", json!("sigmoid"), "scoring_func is “sigmoid”"),
        ("deepseek_v2", "moe_layer_freq", json!(2), "moe_layer_freq is 2"),
        ("deepseek_v2", "topk_method", json!("noaux_tc"), "topk_method is “noaux_tc”"),
        ("deepseek_v2", "rope_interleave", json!(false), "rope_interleave"),
        ("deepseek_v3", "scoring_func", json!("softmax"), "scoring_func is “softmax”"),
        ("deepseek_v3", "topk_method", json!("greedy"), "topk_method is “greedy”"),
        ("deepseek_v3", "quantization_config", json!({"quant_method": "fp8"}), "quantised (fp8)"),
        ("switch_transformers", "router_dtype", json!("bfloat16"), "router_dtype is “bfloat16”"),
        ("switch_transformers", "is_gated_act", json!(true), "is_gated_act is true"),
        ("switch_transformers", "is_encoder_decoder", json!(false), "is_encoder_decoder is false"),
    ];
    for (family, setting, value, expected) in refusals {
        let mut settings = settings(family);
        assert_eq!(fault("sound", &settings), None, "{family} is sound without it");
        settings[setting] = value;
        let fault = fault("refused", &settings).unwrap_or_else(|| panic!("{family} takes {setting}"));
        assert!(fault.contains(expected), "{fault}");
    }
}

/// The defaults of the configuration classes in transformers.
#[test]
fn absent_settings_are_the_familys_own_defaults() {
    let usual = (1e-6, 1e4, false, 1.0, Some(0.001), 0);
    let expected = [
        ("llama", usual),
        ("olmoe", (1e-5, 1e4, false, 1.0, Some(0.01), 0)),
        ("mixtral", (1e-5, 1e6, true, 1.0, Some(0.001), 0)),
        ("qwen2_moe", usual),
        ("qwen3_moe", usual),
        ("deepseek_v2", (1e-6, 1e4, false, 1.0, None, 0)),
        ("deepseek_v3", (1e-6, 1e4, true, 2.5, None, 3)),
    ];
    for (family, expected) in expected {
        let mut settings = settings(family);
        let absent = [
            "rms_norm_eps",
            "rope_parameters",
            "norm_topk_prob",
            "routed_scaling_factor",
            "router_aux_loss_coef",
            "first_k_dense_replace",
            "mlp_only_layers",
            "use_sliding_window",
        ];
        absent.iter().for_each(|name| settings[name] = Value::Null);
        settings["num_hidden_layers"] = json!(5);
        settings["layer_types"] = Value::Null;
        let config = read("defaults", &settings.to_string()).expect(family);
        let dense = config.layers.iter().filter(|layer| **layer != FeedForwardConfig::Sparse).count();
        let moe = config.moe.as_ref();
        let got = (
            config.norm_epsilon,
            config.rope.theta,
            moe.is_some_and(|moe| moe.normalised),
            moe.map_or(1.0, |moe| moe.scale),
            moe.map_or(Some(0.001), |moe| moe.balance),
            if moe.is_none() { 0 } else { dense },
        );
        assert_eq!(got, expected, "{family}");
    }
}

#[test]
fn heads_of_keys_and_values_that_are_not_named_are_the_familys_own() {
    let heads = |family: &str, heads: usize| {
        let mut settings = settings(family);
        settings.as_object_mut().expect("an object").remove("num_key_value_heads");
        settings["num_attention_heads"] = json!(heads);
        match read("heads", &settings.to_string()).expect(family).attention {
            AttentionConfig::Grouped { key_value_heads, .. } => key_value_heads,
            AttentionConfig::Latent { .. } => panic!("{family} has grouped attention"),
        }
    };
    let expected = [("llama", 32), ("olmoe", 32), ("mixtral", 8), ("qwen2_moe", 16), ("qwen3_moe", 4)];
    expected.iter().for_each(|(family, expected)| assert_eq!(heads(family, 32), *expected, "{family}"));
}
