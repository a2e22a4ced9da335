//! Model folders that are not whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{DECODERS, difference, expected, fixture, logits, open, tensors, texts, variant};
use cloister_experts::Precision;
use cloister_experts::families::convert::pickled;
use cloister_experts::families::{Family, PublishedModel, upcycle};
use tch::{Device, Kind, Tensor};

/// A copy of a fixture's model, to be spoilt.
fn copy(family: &str, name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-checkpoints-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder can be made");
    for entry in fs::read_dir(fixture(family)).expect("the fixture is committed") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, folder.join(path.file_name().expect("a name"))).expect("a file can be copied");
        }
    }
    folder
}

fn open_error(folder: &Path) -> String {
    let error =
        PublishedModel::open(folder, Precision::Float32, Device::Cpu).err().expect("the folder is spoilt");
    fs::remove_dir_all(folder).expect("it was made above");
    error.to_string()
}

/// Changes the tensors of a folder that has one file of them.
fn change(folder: &Path, change: impl FnOnce(&mut Vec<(String, Tensor)>)) {
    let path = folder.join("model.safetensors");
    let mut tensors = Tensor::read_safetensors(&path).expect("a copy of a fixture");
    change(&mut tensors);
    Tensor::write_safetensors(&tensors, &path).expect("the folder can be written");
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = copy("mixtral", "missing");
    change(&folder, |tensors| tensors.retain(|(name, _)| !name.contains("experts.2.w3")));
    let error = open_error(&folder);
    assert!(
        error.contains("model.layers.0.block_sparse_moe.experts.2.w3.weight of shape [12, 16] is missing"),
        "{error}"
    );
}

#[test]
fn a_tensor_of_another_shape_or_kind_is_named() {
    let folder = copy("qwen3_moe", "shape");
    change(&folder, |tensors| {
        let found = tensors.iter_mut().find(|(name, _)| name == "model.norm.weight");
        found.expect("it is there").1 = Tensor::ones([15], (Kind::Float, Device::Cpu));
    });
    let error = open_error(&folder);
    assert!(error.contains("model.norm.weight must have the shape [16], not [15]"), "{error}");

    let folder = copy("qwen3_moe", "kind");
    change(&folder, |tensors| {
        let found = tensors.iter_mut().find(|(name, _)| name == "model.norm.weight");
        found.expect("it is there").1 = Tensor::ones([16], (Kind::Uint8, Device::Cpu));
    });
    let error = open_error(&folder);
    assert!(error.contains("model.norm.weight is stored as U8; only"), "{error}");
}

#[test]
fn quantised_weights_are_named_for_what_they_are() {
    let quantised = Tensor::ones([2, 16], (Kind::Int, Device::Cpu));
    let folder = copy("qwen3_moe", "gptq");
    change(&folder, |tensors| {
        tensors.retain(|(name, _)| name != "model.layers.0.self_attn.q_proj.weight");
        tensors.push(("model.layers.0.self_attn.q_proj.qweight".to_owned(), quantised));
    });
    let error = open_error(&folder);
    assert!(error.contains("q_proj.weight is quantised"), "{error}");
    assert!(!error.contains("fetch or write it again"), "{error}");
}

#[test]
fn files_that_are_cut_short_or_missing_are_named() {
    let folder = copy("llama", "cut");
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).expect("a copy of a fixture");
    fs::write(&path, &bytes[..bytes.len() - 4]).expect("the folder can be written");
    let error = open_error(&folder);
    assert!(error.contains("model.safetensors is not usable: it must have"), "{error}");

    let folder = copy("llama", "header");
    fs::write(folder.join("model.safetensors"), [255; 64]).expect("the folder can be written");
    assert!(open_error(&folder).contains("it is no safetensors file"));

    let folder = copy("olmoe", "shard");
    fs::remove_file(folder.join("model-00002-of-00003.safetensors")).expect("it was copied");
    let error = open_error(&folder);
    assert!(error.contains("model-00002-of-00003.safetensors"), "{error}");

    let folder = copy("olmoe", "outside");
    let index = folder.join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).expect("it was copied").replace("model-00002", "../model-00002");
    fs::write(index, text).expect("the folder can be written");
    assert!(open_error(&folder).contains("is no file name"));
}

#[test]
fn pickled_weights_are_written_as_safetensors_and_not_run() {
    let folder = variant("pickled");
    let error =
        PublishedModel::open(&folder, Precision::Float32, Device::Cpu).err().expect("it is a program");
    assert!(error.to_string().contains("cloister experts convert"), "{error}");
    let target = std::env::temp_dir().join(format!("cloister-pickled-{}", std::process::id()));
    pickled::convert(&folder, &target).expect("a sound folder");
    let model = PublishedModel::open(&target, Precision::Float32, Device::Cpu).expect("just written");
    let expected = tensors(&folder.join("expected.safetensors"));
    let off = difference(&tch::no_grad(|| logits(&model, &texts(&expected))), &expected["logits"]);
    assert!(off < 1e-4, "the logits differ by {off}");
    assert!(!target.join("pytorch_model.bin").exists(), "the pickle stays behind");
    fs::remove_dir_all(&target).expect("it was written above");

    let broken = copy("mixtral", "pickled");
    fs::remove_file(broken.join("model.safetensors")).expect("it was copied");
    fs::write(broken.join("pytorch_model.bin"), b"cos\nsystem\n(S'ls'\ntR.")
        .expect("the folder can be written");
    let error = pickled::convert(&broken, &target).expect_err("no tensors").to_string();
    assert!(error.contains("it is no pickle of tensors"), "{error}");
    assert!(!target.exists(), "nothing is written");
    fs::remove_dir_all(broken).expect("it was made above");
}

/// A folder whose pickled weights lie in files of these names, with the index that names them.
fn split_pickle(name: &str, files: &[&str]) -> PathBuf {
    let folder = copy("variants/pickled", name);
    for file in files {
        fs::copy(folder.join("pytorch_model.bin"), folder.join(file)).expect("a file can be copied");
    }
    // Programs read whole files, so the index need not name each tensor.
    let map: BTreeMap<&str, &str> = ["a", "b"].into_iter().zip(files.iter().copied()).collect();
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    fs::write(folder.join("pytorch_model.bin.index.json"), index).expect("the folder can be written");
    folder
}

#[test]
fn an_index_that_names_one_pickle_makes_a_folder_that_can_be_read() {
    for file in ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin", "weights.pt"] {
        let folder = split_pickle("one-pickle", &[file][usize::from(file == "pytorch_model.bin")..]);
        let index = folder.join("pytorch_model.bin.index.json");
        fs::write(index, serde_json::json!({"weight_map": {"a": file}}).to_string())
            .expect("it can be written");
        let target = folder.join("../one-pickle-target");
        pickled::convert(&folder, &target).expect(file);
        let model = PublishedModel::open(&target, Precision::Float32, Device::Cpu).expect(file);
        let expected = tensors(&variant("pickled").join("expected.safetensors"));
        let off = difference(&tch::no_grad(|| logits(&model, &texts(&expected))), &expected["logits"]);
        assert!(off < 1e-4, "the logits differ by {off}");
        fs::remove_dir_all(target).expect("it was written above");
        fs::remove_dir_all(folder).expect("it was made above");
    }
}

#[test]
fn a_tensor_in_two_files_is_refused() {
    let files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    let folder = split_pickle("twice-pickled", &files);
    let target = folder.with_extension("target");
    let error = pickled::convert(&folder, &target).expect_err("both files have all tensors").to_string();
    assert!(error.contains("two of its files of weights have a tensor lm_head.weight"), "{error}");
    assert!(!target.exists(), "nothing is written");
    fs::remove_dir_all(folder).expect("it was made above");

    let folder = copy("olmoe", "twice");
    PublishedModel::open(&folder, Precision::Float32, Device::Cpu).expect("the control");
    let path = folder.join("model-00003-of-00003.safetensors");
    let mut tensors = Tensor::read_safetensors(&path).expect("a copy of a fixture");
    let name = "model.embed_tokens.weight";
    assert!(tensors.iter().all(|(other, _)| other != name), "it is in another file");
    tensors.push((name.to_owned(), Tensor::zeros([48, 16], (Kind::Float, Device::Cpu))));
    Tensor::write_safetensors(&tensors, &path).expect("the folder can be written");
    assert!(open_error(&folder).contains(&format!("two of its files of weights have a tensor {name}")));
}

#[test]
fn an_index_that_names_no_files_is_refused() {
    for map in [serde_json::json!({}), serde_json::json!({"a": 3}), serde_json::json!({"a": "."})] {
        let folder = copy("olmoe", "nameless");
        let index = serde_json::json!({"weight_map": map}).to_string();
        fs::write(folder.join("model.safetensors.index.json"), index).expect("the folder can be written");
        let error = open_error(&folder);
        assert!(error.contains("weight_map"), "{error}");
    }
}

/// Releases of transformers take either for the head, so nobody knows what is meant.
#[test]
fn a_head_that_is_said_to_be_the_embedding_and_is_not_is_refused() {
    for (family, embedding, twin) in [
        ("llama", "model.embed_tokens.weight", "lm_head.weight"),
        ("switch_transformers", "shared.weight", "lm_head.weight"),
        ("switch_transformers", "shared.weight", "encoder.embed_tokens.weight"),
    ] {
        let folder = copy(family, "twin");
        let add = |folder: &Path, by: f64| {
            change(folder, |tensors| {
                tensors.retain(|(name, _)| name != twin);
                let found = tensors.iter().find(|(name, _)| name == embedding).expect("it is there");
                let twin_values = &found.1 + by;
                tensors.push((twin.to_owned(), twin_values));
            });
        };
        add(&folder, 0.0);
        let model =
            PublishedModel::open(&folder, Precision::Float32, Device::Cpu).expect("both are the same");
        assert!(model.ignored().is_empty(), "{:?}", model.ignored());
        add(&folder, 0.5);
        let error = open_error(&folder);
        assert!(error.contains(&format!("{twin} has other values than {embedding}")), "{error}");
        assert!(!error.contains("fetch or write it again"), "{error}");
    }
}

#[test]
fn tensors_that_no_model_takes_are_told() {
    let folder = copy("deepseek_v3", "more");
    change(&folder, |tensors| {
        tensors.push((
            "model.layers.2.eh_proj.weight".to_owned(),
            Tensor::ones([2], (Kind::Float, Device::Cpu)),
        ));
    });
    let model = PublishedModel::open(&folder, Precision::Float32, Device::Cpu).expect("more is no harm");
    assert_eq!(model.ignored(), ["model.layers.2.eh_proj.weight"]);
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn bfloat16_computes_nearly_the_same() {
    for family in DECODERS.into_iter().chain(["switch_transformers"]) {
        let texts = texts(&expected(family));
        let exact = logits(&open(family), &texts);
        let model = PublishedModel::open(&fixture(family), Precision::Bfloat16, Device::Cpu).expect(family);
        let rough = logits(&model, &texts);
        // A router that is near a tie may choose otherwise, so the typical difference is bounded, not the largest.
        let typical = |one: &Tensor, other: &Tensor| {
            let difference = (one - other).abs().median().double_value(&[]);
            difference / exact.abs().mean(Kind::Float).double_value(&[])
        };
        let off = typical(&rough, &exact);
        assert!(off > 0.0 && off < 0.05, "{family}: the logits differ by {off} of their size");
        // Both programs round, each in its own places: ours is as near to exact logits as that of transformers.
        let theirs = &expected(family)["bfloat16.logits"];
        let (between, of_theirs) = (typical(&rough, theirs), typical(theirs, &exact));
        println!("{family}: ours {off:.4}, theirs {of_theirs:.4}, between both {between:.4}");
        assert!(off < 1.5 * of_theirs, "{family}: ours is off by {off}, theirs by {of_theirs}");
        assert!(between < 2.0 * of_theirs, "{family}: ours is off theirs by {between}");
    }
}

#[test]
fn an_upcycled_model_computes_what_the_dense_one_does() {
    let folder = std::env::temp_dir().join(format!("cloister-upcycled-{}", std::process::id()));
    upcycle(&fixture("llama"), &folder, 4, 2, 1).expect("a Llama can be upcycled");
    let model = PublishedModel::open(&folder, Precision::Float32, Device::Cpu).expect("just written");
    assert_eq!(model.family(), Family::Mixtral);
    assert_eq!(model.moe().map(|moe| (moe.experts, moe.chosen)), Some((4, 2)));
    let expected = expected("llama");
    let off = difference(&logits(&model, &texts(&expected)), &expected["logits"]);
    assert!(off < 1e-4, "the upcycled model differs by {off}");
    fs::remove_dir_all(&folder).expect("it was written above");

    // What an old file leaves out has other defaults in Mixtral.
    upcycle(&variant("old-llama"), &folder, 4, 2, 1).expect("a Llama can be upcycled");
    let model = PublishedModel::open(&folder, Precision::Float32, Device::Cpu).expect("just written");
    let expected = tensors(&variant("old-llama").join("expected.safetensors"));
    let off = difference(&logits(&model, &texts(&expected)), &expected["logits"]);
    assert!(off < 1e-4, "the upcycled model differs by {off}");
    fs::remove_dir_all(&folder).expect("it was written above");

    let error = upcycle(&fixture("olmoe"), &folder, 4, 2, 1).expect_err("it has experts").to_string();
    assert!(error.contains("only llama can be made a mixture of experts, not olmoe"), "{error}");
    let error = upcycle(&fixture("llama"), &folder, 2, 3, 1).expect_err("too few experts").to_string();
    assert!(error.contains("cannot use 3 of 2 experts"), "{error}");
}
