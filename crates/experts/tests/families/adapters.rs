//! Adapters out and in, in every layout, and added to the weights for good.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{
    CLASSIFIERS, DECODERS, Scratch, difference, expected, fixture, logits, open, texts, variant,
};
use cloister_experts::Precision;
use cloister_experts::families::adapter::write_merged;
use cloister_experts::families::{Adapter, AdapterSettings, ExpertTraining, Layout, PublishedModel, upcycle};
use tch::{Device, Kind, Tensor};

fn all_families() -> impl Iterator<Item = &'static str> {
    DECODERS.into_iter().chain(["switch_transformers"])
}

/// The layouts in which adapters of a family are written.
fn layouts(family: &str) -> Vec<(&'static str, Layout)> {
    let mut layouts = vec![("peft-fused", Layout::PeftFused), ("per-expert", Layout::PerExpert)];
    layouts.retain(|(_, layout)| family != "qwen2_moe" || *layout != Layout::PerExpert);
    layouts
}

fn adapted_logits(model: &mut PublishedModel, adapter: &Adapter, texts: &[Vec<i64>]) -> Tensor {
    model.attach(adapter, 0.0).expect("the adapter is this model's");
    tch::no_grad(|| logits(model, texts))
}

#[test]
fn adapters_come_back_from_every_layout() {
    for family in all_families() {
        let scratch = Scratch::new(family);
        let mut model = open(family);
        let texts = texts(&expected(family));
        let adapter = Adapter::read(&fixture(family).join("adapter"), &mut model).expect(family);
        let before = adapted_logits(&mut model, &adapter, &texts);
        for (_, layout) in layouts(family) {
            adapter.write(&scratch.0, model.family(), layout).expect("the folder can be written");
            let back = Adapter::read(&scratch.0, &mut model).expect(family);
            assert_eq!(back.scale, adapter.scale);
            assert_eq!(back.tensors().len(), adapter.tensors().len());
            for ((name, ours), (other, theirs)) in adapter.tensors().into_iter().zip(back.tensors()) {
                assert_eq!(name, other);
                assert!(ours.equal(theirs), "{family}: {name} changed in {layout:?}");
            }
            assert_eq!(difference(&adapted_logits(&mut model, &back, &texts), &before), 0.0);
        }
    }
}

#[test]
fn merged_weights_compute_what_the_adapter_does() {
    for family in all_families() {
        // A sum that is stored in bfloat16 is rounded once more, which is compared with the weights that it is of.
        let most = if ["mixtral", "qwen3_moe", "deepseek_v3"].contains(&family) { 0.1 } else { 1e-4 };
        let scratch = Scratch::new(&format!("merged-{family}"));
        let mut model = open(family);
        let texts = texts(&expected(family));
        let adapter = Adapter::read(&fixture(family).join("adapter"), &mut model).expect(family);
        let before = adapted_logits(&mut model, &adapter, &texts);
        write_merged(&fixture(family), &adapter, &scratch.0).expect("the folder can be written");
        let merged = PublishedModel::open(&scratch.0, Precision::Float32, Device::Cpu).expect(family);
        let off = difference(&tch::no_grad(|| logits(&merged, &texts)), &before);
        assert!(off < most, "{family}: the merged model differs by {off}");
    }
}

/// Experts that lie in one tensor on disk are merged there, and whole ones start as they are.
#[test]
fn adapters_of_fused_experts_are_merged_where_they_lie() {
    let scratch = Scratch::new("fused");
    let folder = variant("fused-experts");
    let mut model = PublishedModel::open(&folder, Precision::Float32, Device::Cpu).expect("a sound model");
    let texts = texts(&expected("qwen3_moe"));
    let adapter =
        Adapter::read(&fixture("qwen3_moe").join("adapter"), &mut model).expect("the fixture is whole");
    let before = adapted_logits(&mut model, &adapter, &texts);
    write_merged(&folder, &adapter, &scratch.0).expect("the folder can be written");
    let merged = PublishedModel::open(&scratch.0, Precision::Float32, Device::Cpu).expect("just written");
    let off = difference(&tch::no_grad(|| logits(&merged, &texts)), &before);
    assert!(off < 0.1, "the merged model differs by {off}");
    model.detach();
    let plain = difference(&tch::no_grad(|| logits(&model, &texts)), &before);
    assert!(plain > 0.2, "the adapter changes the model by {plain}");
    let settings =
        AdapterSettings { experts: ExpertTraining::Whole, router: true, ..AdapterSettings::default() };
    let read = Adapter::from_folder(&folder, &settings, 7).expect("the settings are sound");
    let held = Adapter::new(&mut model, &settings, 7).expect("the settings are sound");
    for ((name, ours), (_, theirs)) in read.tensors().into_iter().zip(held.tensors()) {
        assert!(ours.equal(theirs), "{name}");
    }
}

#[test]
fn a_layout_that_peft_reads_wrongly_is_not_written() {
    let scratch = Scratch::new("misread");
    let mut model = open("qwen2_moe");
    let adapter =
        Adapter::read(&fixture("qwen2_moe").join("adapter"), &mut model).expect("the fixture is whole");
    let error = adapter.write(&scratch.0, model.family(), Layout::PerExpert).expect_err("PEFT misreads it");
    assert!(error.to_string().contains("peft-fused"), "{error}");
    // Without experts there is nothing to misread.
    let settings = AdapterSettings {
        modules: vec!["q_proj".to_owned()],
        experts: ExpertTraining::Frozen,
        ..AdapterSettings::default()
    };
    let adapter = Adapter::new(&mut model, &settings, 7).expect("the settings are sound");
    adapter.write(&scratch.0, model.family(), Layout::PerExpert).expect("the folder can be written");
}

#[test]
fn a_routers_bias_goes_along_and_must_be_the_models() {
    let scratch = Scratch::new("correction");
    let mut model = open("deepseek_v3");
    let name = "base_model.model.model.layers.1.mlp.gate.e_score_correction_bias";
    let settings = AdapterSettings { router: true, ..AdapterSettings::default() };
    let fresh = [
        Adapter::new(&mut model, &settings, 7).expect("the settings are sound"),
        Adapter::from_folder(&fixture("deepseek_v3"), &settings, 7).expect("the settings are sound"),
    ];
    let path = scratch.0.join("adapter_model.safetensors");
    for adapter in fresh {
        adapter.write(&scratch.0, model.family(), Layout::PeftFused).expect("the folder can be written");
        let written: std::collections::BTreeMap<String, Tensor> =
            Tensor::read_safetensors(&path).expect("just written").into_iter().collect();
        let theirs =
            Tensor::read_safetensors(fixture("deepseek_v3").join("adapter/adapter_model.safetensors"));
        let theirs = theirs.expect("the fixture is whole").into_iter().find(|(saved, _)| saved == name);
        assert!(written[name].equal(&theirs.expect("PEFT saves the bias").1));
        Adapter::read(&scratch.0, &mut model).expect("the bias is the model's");
    }
    let base = copied_model("deepseek_v3");
    let file = base.0.join("model.safetensors");
    let mut weights = Tensor::read_safetensors(&file).expect("a copy of a fixture");
    for (_, bias) in weights.iter_mut().filter(|(name, _)| name.ends_with("e_score_correction_bias")) {
        *bias = bias.to_kind(Kind::Float) + 0.001;
    }
    Tensor::write_safetensors(&weights, &file).expect("the folder can be written");
    let biases = |precision| {
        let mut model = PublishedModel::open(&base.0, precision, Device::Cpu).expect("a sound model");
        Adapter::new(&mut model, &settings, 7).expect("the settings are sound").corrections
    };
    let (exact, rough) = (biases(Precision::Float32), biases(Precision::Bfloat16));
    assert!(exact.iter().zip(&rough).all(|((_, ours), (_, theirs))| ours.equal(theirs)), "it is not rounded");

    let mut tensors = Tensor::read_safetensors(&path).expect("just written");
    let bias = tensors.iter_mut().find(|(saved, _)| saved == name).expect("it is there");
    bias.1 = &bias.1 + 0.5;
    Tensor::write_safetensors(&tensors, &path).expect("the folder can be written");
    let error = Adapter::read(&scratch.0, &mut model).expect_err("another bias chooses other experts");
    assert!(error.to_string().contains("differs from the model's"), "{error}");
}

#[test]
fn separate_first_halves_of_gate_and_up_become_one_of_twice_the_rank() {
    let scratch = Scratch::new("separate");
    let mut model = open("olmoe");
    let texts = texts(&expected("olmoe"));
    let adapter = Adapter::read(&fixture("olmoe").join("adapter"), &mut model).expect("the fixture is whole");
    adapter.write(&scratch.0, model.family(), Layout::PerExpert).expect("the folder can be written");
    let path = scratch.0.join("adapter_model.safetensors");
    let mut tensors = Tensor::read_safetensors(&path).expect("just written");
    // Scaling A up and B down leaves each product as it was, and makes the halves of gate and up differ.
    for (name, tensor) in &mut tensors {
        if name.contains(".up_proj.lora_A") {
            *tensor = &*tensor * 2.0;
        } else if name.contains(".up_proj.lora_B") {
            *tensor = &*tensor * 0.5;
        }
    }
    Tensor::write_safetensors(&tensors, &path).expect("the folder can be written");
    let back = Adapter::read(&scratch.0, &mut model).expect("the layout is known");
    assert_eq!(back.rank(), 2 * adapter.rank());
    let before = adapted_logits(&mut model, &adapter, &texts);
    assert!(difference(&adapted_logits(&mut model, &back, &texts), &before) < 1e-5);
    back.write(&scratch.0, model.family(), Layout::PeftFused).expect("the folder can be written");
    let again = Adapter::read(&scratch.0, &mut model).expect("ranks are made equal");
    assert!(difference(&adapted_logits(&mut model, &again, &texts), &before) < 1e-5);
}

#[test]
fn a_fresh_adapter_changes_nothing_and_is_equal_for_equal_seeds() {
    let mut model = open("qwen3_moe");
    let texts = texts(&expected("qwen3_moe"));
    let before = logits(&model, &texts);
    let settings =
        AdapterSettings { modules: vec!["q_proj".to_owned()], router: true, ..AdapterSettings::default() };
    let adapter = Adapter::new(&mut model, &settings, 7).expect("the settings are sound");
    assert_eq!(difference(&adapted_logits(&mut model, &adapter, &texts), &before), 0.0);
    let same = Adapter::new(&mut model, &settings, 7).expect("the settings are sound");
    let other = Adapter::new(&mut model, &settings, 8).expect("the settings are sound");
    let first = |adapter: &Adapter| adapter.tensors()[0].1.shallow_clone();
    assert!(first(&adapter).equal(&first(&same)) && !first(&adapter).equal(&first(&other)));
    let wrong = AdapterSettings { modules: vec!["c_attn".to_owned()], ..settings };
    let error = Adapter::new(&mut model, &wrong, 7).expect_err("there is no such module");
    assert!(error.to_string().contains("no module c_attn"), "{error}");
}

#[test]
fn whole_experts_are_not_read_from_peft() {
    let scratch = Scratch::new("saved-experts");
    let (from, to) = (r#""mlp.gate""#, r#""mlp.experts""#);
    with_config(&scratch.0, "olmoe", from, to);
    let error = Adapter::read(&scratch.0, &mut open("olmoe")).expect_err("PEFT would replace a whole module");
    assert!(error.to_string().contains("the merged layout"), "{error}");
}

/// A copy of a fixture's model that has one file of weights, to be changed.
fn copied_model(family: &str) -> Scratch {
    let scratch = Scratch::new(&format!("copied-{family}"));
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture(family).join(name), scratch.0.join(name)).expect("the fixture is committed");
    }
    scratch
}

/// Copies an adapter's files with its configuration changed.
fn with_config(scratch: &Path, family: &str, from: &str, to: &str) {
    let source = fixture(family).join("adapter");
    fs::copy(source.join("adapter_model.safetensors"), scratch.join("adapter_model.safetensors"))
        .expect("a file");
    let config = fs::read_to_string(source.join("adapter_config.json")).expect("a file");
    assert!(config.contains(from), "the fixture says {from}");
    fs::write(scratch.join("adapter_config.json"), config.replace(from, to))
        .expect("the folder can be written");
}

#[test]
fn what_cannot_be_read_exactly_is_refused() {
    let scratch = Scratch::new("refused");
    let mut model = open("olmoe");
    let refusals = [
        (r#""peft_type": "LORA""#, r#""peft_type": "IA3""#, "peft_type is “IA3”"),
        (r#""use_dora": false"#, r#""use_dora": true"#, "use_dora is true"),
        (r#""rank_pattern": {}"#, r#""rank_pattern": {"q_proj": 4}"#, "rank_pattern is set"),
        (r#""peft_version": "0.21.2""#, r#""peft_version": "0.18.1""#, "PEFT 0.19 or newer"),
        (r#""r": 2"#, r#""r": "two""#, "r must be a whole number"),
        (r#""init_lora_weights": false"#, r#""init_lora_weights": "pissa""#, "init_lora_weights is “pissa”"),
        (r#""init_lora_weights": false"#, r#""init_lora_weights": "olora""#, "init_lora_weights is “olora”"),
        (r#""init_lora_weights": false"#, r#""init_lora_weights": "corda""#, "init_lora_weights is “corda”"),
        (
            r#""init_lora_weights": false"#,
            r#""init_lora_weights": "lora_ga""#,
            "init_lora_weights is “lora_ga”",
        ),
        (
            r#""alora_invocation_tokens": null"#,
            r#""alora_invocation_tokens": [5]"#,
            "alora_invocation_tokens is set",
        ),
        (r#""layer_replication": null"#, r#""layer_replication": [[0, 2]]"#, "layer_replication is set"),
        (
            r#""trainable_token_indices": null"#,
            r#""trainable_token_indices": [3]"#,
            "trainable_token_indices is set",
        ),
        (r#""loftq_config": {}"#, r#""loftq_config": {"loftq_bits": 4}"#, "loftq_config is set"),
        (r#""revision": null"#, r#""use_mystery": true"#, "nothing is known of its setting use_mystery"),
    ];
    for harmless in [r#""init_lora_weights": "gaussian""#, r#""init_lora_weights": true"#] {
        with_config(&scratch.0, "olmoe", r#""init_lora_weights": false"#, harmless);
        Adapter::read(&scratch.0, &mut model).expect(harmless);
    }
    for (from, to, expected) in refusals {
        with_config(&scratch.0, "olmoe", from, to);
        let error = Adapter::read(&scratch.0, &mut model).expect_err(to).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = Adapter::read(&fixture("mixtral").join("adapter"), &mut model).expect_err("another model's");
    assert!(error.to_string().contains("adapter_model.safetensors"), "{error}");
    let error =
        Adapter::read(&fixture("llama").join("adapter"), &mut open("qwen3_moe")).expect_err("other shapes");
    assert!(error.to_string().contains("must have the shape"), "{error}");
}

/// Writes the fixtures' adapters in every layout for `cargo xtask fixtures --check`, which has PEFT load them.
#[test]
fn adapters_are_written_for_peft_to_load() {
    let Some(folder) = std::env::var_os("CLOISTER_WRITE_ADAPTERS").map(PathBuf::from) else {
        eprintln!("SKIPPED: CLOISTER_WRITE_ADAPTERS names no folder to write to");
        return;
    };
    for family in all_families() {
        let mut model = open(family);
        let adapter = Adapter::read(&fixture(family).join("adapter"), &mut model).expect(family);
        for (name, layout) in layouts(family) {
            adapter
                .write(&folder.join(family).join(name), model.family(), layout)
                .expect("the folder can be written");
        }
        write_merged(&fixture(family), &adapter, &folder.join(family).join("merged"))
            .expect("the folder can be written");
    }
    for family in CLASSIFIERS {
        let mut model = open(family);
        let adapter = Adapter::read(&fixture(family).join("classifier"), &mut model).expect(family);
        let family_folder = folder.join(family);
        adapter
            .write(&family_folder.join("classifier"), model.family(), Layout::PeftFused)
            .expect("it can be written");
        write_merged(&fixture(family), &adapter, &family_folder.join("classifier-merged"))
            .expect("it can be written");
    }
    upcycle(&fixture("llama"), &folder.join("llama/upcycled"), 4, 2, 1).expect("the folder can be written");
}
