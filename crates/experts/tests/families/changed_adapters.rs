//! Adapters of PEFT of which a tensor is missing, has another shape, or is one too many.

use std::fs;
use std::path::Path;

use cloister_experts::families::adapter::write_merged;
use cloister_experts::families::{Adapter, Layout, PublishedModel};
use tch::Tensor;

use crate::common::{CLASSIFIERS, DECODERS, Scratch, fixture, open};

/// A file's name in an adapter's folder.
const WEIGHTS: &str = "adapter_model.safetensors";
/// The head over classes, whose number of rows the file alone determines.
const HEAD: &str = "base_model.model.score.weight";

/// Writes the file with these tensors, and says why the adapter cannot be read, if it cannot.
fn fault(folder: &Path, model: &mut PublishedModel, tensors: &[(String, Tensor)]) -> Option<String> {
    Tensor::write_safetensors(tensors, folder.join(WEIGHTS)).expect("the folder can be written");
    Adapter::read(folder, model).err().map(|error| error.to_string())
}

/// Every shape that differs from the tensor's in one dimension by one, or in the number of dimensions.
fn misshapen(tensor: &Tensor) -> Vec<Tensor> {
    let mut changed = vec![tensor.flatten(0, -1).shallow_clone(), tensor.unsqueeze(0), tensor.unsqueeze(-1)];
    for (dimension, size) in (0..).zip(tensor.size()) {
        changed.push(tensor.narrow(dimension, 0, size - 1));
        changed.push(tensor.narrow(dimension, 0, 0));
        changed.push(Tensor::cat(&[tensor, &tensor.narrow(dimension, 0, 1)], dimension));
    }
    changed.push(Tensor::from(1.0_f32));
    changed.retain(|changed| changed.size() != tensor.size());
    changed.into_iter().map(|changed| changed.contiguous()).collect()
}

/// Expects every change of one tensor of a folder's file to be an error that names the tensor.
fn expect_refusals(folder: &Path, model: &mut PublishedModel) {
    let tensors = Tensor::read_safetensors(folder.join(WEIGHTS)).expect("the adapter is whole");
    let rest = |place: usize| -> Vec<(String, Tensor)> {
        let others = tensors.iter().enumerate().filter(|(other, _)| *other != place);
        others.map(|(_, (name, tensor))| (name.clone(), tensor.shallow_clone())).collect()
    };
    assert_eq!(fault(folder, model, &tensors), None, "the control");
    for (place, (name, tensor)) in tensors.iter().enumerate() {
        let missing = fault(folder, model, &rest(place)).unwrap_or_else(|| panic!("{name} is not missed"));
        assert!(missing.contains(name.as_str()) && missing.contains("is missing"), "{name}: {missing}");
        for changed in misshapen(tensor) {
            let shape = changed.size();
            if name == HEAD && shape.len() == 2 && shape[0] > 1 && shape[1] == tensor.size()[1] {
                continue;
            }
            let mut all = rest(place);
            all.push((name.clone(), changed));
            let fault = fault(folder, model, &all)
                .unwrap_or_else(|| panic!("{name} is read with the shape {shape:?}"));
            assert!(fault.contains(name.as_str()), "{name} of the shape {shape:?}: {fault}");
        }
        let mut all = rest(usize::MAX);
        let stray = format!("{name}.stray");
        all.push((stray.clone(), tensor.shallow_clone()));
        let fault = fault(folder, model, &all).unwrap_or_else(|| panic!("{stray} is not seen"));
        assert!(fault.contains(&stray), "{fault}");
    }
}

/// Copies the two files of a fixture's adapter.
fn copied(family: &str, adapter: &str) -> Scratch {
    let scratch = Scratch::new(&format!("changed-{family}-{adapter}"));
    for name in ["adapter_config.json", WEIGHTS] {
        let source = fixture(family).join(adapter).join(name);
        fs::copy(source, scratch.0.join(name)).expect("the fixture is committed");
    }
    scratch
}

#[test]
fn a_tensor_that_is_missing_misshapen_or_unused_is_refused_by_name() {
    for family in DECODERS.into_iter().chain(["switch_transformers"]) {
        expect_refusals(&copied(family, "adapter").0, &mut open(family));
    }
    for family in CLASSIFIERS {
        expect_refusals(&copied(family, "classifier").0, &mut open(family));
    }
}

#[test]
fn a_tensor_of_an_adapter_of_single_experts_is_refused_by_name() {
    for family in ["olmoe", "mixtral", "deepseek_v3"] {
        let mut model = open(family);
        let adapter = Adapter::read(&fixture(family).join("adapter"), &mut model).expect(family);
        let scratch = Scratch::new(&format!("changed-single-{family}"));
        adapter.write(&scratch.0, model.family(), Layout::PerExpert).expect("the folder can be written");
        expect_refusals(&scratch.0, &mut model);
    }
}

/// Without a list of modules that all have additions, the tensors tell which are trained. A single half is
/// still a fault.
#[test]
fn a_half_without_the_other_is_refused_where_patterns_choose_the_modules() {
    let (mut model, scratch) = (open("mixtral"), copied("mixtral", "adapter"));
    let path = scratch.0.join("adapter_config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("a file")).expect("it is JSON");
    config["target_modules"] = r".*\.self_attn\.[qv]_proj".into();
    fs::write(&path, config.to_string()).expect("the folder can be written");
    let module = "base_model.model.model.layers.0.self_attn.q_proj.";
    let all = Tensor::read_safetensors(scratch.0.join(WEIGHTS)).expect("the fixture is whole");
    let without = |dropped: &[&str]| -> Vec<(String, Tensor)> {
        let is_dropped = |name: &str| dropped.iter().any(|half| name == format!("{module}{half}.weight"));
        let kept = all.iter().filter(|(name, _)| !is_dropped(name));
        kept.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
    };
    assert_eq!(fault(&scratch.0, &mut model, &without(&["lora_A", "lora_B"])), None, "the control");
    for half in ["lora_A", "lora_B"] {
        let fault = fault(&scratch.0, &mut model, &without(&[half])).expect("half an addition is none");
        assert!(fault.contains(&format!("{module}{half}.weight is missing")), "{fault}");
    }
}

#[test]
fn a_rank_that_is_no_real_one_and_tensors_of_another_rank_are_refused() {
    let (mut model, scratch) = (open("olmoe"), copied("olmoe", "adapter"));
    let path = scratch.0.join("adapter_config.json");
    let config = fs::read_to_string(&path).expect("a file");
    for rank in ["1", "4", "18446744073709551615"] {
        let changed = config.replace(r#""r": 2"#, &format!(r#""r": {rank}"#));
        assert_ne!(changed, config);
        fs::write(&path, changed).expect("the folder can be written");
        let fault =
            Adapter::read(&scratch.0, &mut model).expect_err("its tensors have the rank 2").to_string();
        assert!(fault.contains(&format!("the rank {rank}, not")), "{fault}");
    }
}

#[test]
fn the_names_of_classes_are_as_many_as_the_head_has_rows() {
    let (mut model, scratch) = (open("mixtral"), copied("mixtral", "classifier"));
    let adapter = Adapter::read(&scratch.0, &mut model).expect("the fixture is whole");
    let names = |count: usize| -> String {
        let names = (0..count).map(|number| (number.to_string(), format!("class {number}").into()));
        serde_json::Value::Object(names.collect()).to_string()
    };
    for (count, is_read) in [(adapter.classes.len() - 1, false), (adapter.classes.len(), true), (9, false)] {
        fs::write(scratch.0.join("id2label.json"), names(count)).expect("the folder can be written");
        let read = Adapter::read(&scratch.0, &mut model);
        assert_eq!(read.is_ok(), is_read, "{count} names: {:?}", read.err().map(|error| error.to_string()));
    }
}

#[test]
fn an_adapter_of_a_model_of_another_shape_is_not_merged() {
    let scratch = Scratch::new("merged-elsewhere");
    let adapter =
        Adapter::read(&fixture("mixtral").join("adapter"), &mut open("mixtral")).expect("it is whole");
    let target = scratch.0.join("merged");
    for other in ["olmoe", "llama"] {
        let error =
            write_merged(&fixture(other), &adapter, &target).expect_err("its tensors differ").to_string();
        assert!(error.contains("the model has no tensor") || error.contains("has the shape"), "{error}");
        assert!(!target.exists(), "nothing is written");
    }
    write_merged(&fixture("mixtral"), &adapter, &target).expect("the control");
    // The same names, but experts of twice the width.
    let wide = scratch.0.join("wide");
    fs::create_dir_all(&wide).expect("the folder can be made");
    fs::copy(fixture("mixtral").join("config.json"), wide.join("config.json")).expect("a file");
    let mut tensors =
        Tensor::read_safetensors(fixture("mixtral").join("model.safetensors")).expect("it is whole");
    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name.ends_with(".w1.weight")) {
        *tensor = Tensor::cat(&[&*tensor, &*tensor], 0);
    }
    Tensor::write_safetensors(&tensors, wide.join("model.safetensors")).expect("it can be written");
    let error =
        write_merged(&wide, &adapter, &scratch.0.join("merged-wide")).expect_err("w1 differs").to_string();
    assert!(error.contains("w1.weight has the shape [24, 16]"), "{error}");
}
