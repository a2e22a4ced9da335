//! Logits, choices of routers and gradients of adapters (`tests/fixtures/generate.py` makes what is expected).

use std::collections::BTreeMap;

use crate::common::{
    DECODERS, difference, expected, fixture, logits, open, tensors, texts, trained, variant,
};
use cloister_experts::Precision;
use cloister_experts::families::{Adapter, PublishedModel, Routing, Tokens};
use tch::{Device, Kind, Reduction, Tensor};

fn assert_choices(family: &str, routers: &[String], routings: &[Routing]) {
    let expected = expected(family);
    assert_eq!(routers.len(), routings.len(), "{family}");
    assert_eq!(routers.len(), expected.keys().filter(|key| key.starts_with("chosen.")).count(), "{family}");
    for (router, routing) in routers.iter().zip(routings) {
        // What is beyond an expert's capacity counts as nothing, and is −1 in the fixture.
        let beyond = routing.weights.eq(0.0);
        let chosen = routing.chosen.masked_fill(&beyond, -1).sort(-1, false).0;
        let others = &expected[&format!("chosen.{router}")];
        assert!(chosen.equal(others), "{family}: {router} chooses other experts");
        let sums = routing.probabilities.sum_dim_intlist(-1, false, Kind::Float);
        assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-5);
    }
}

#[test]
fn logits_and_choices_of_every_decoder_are_those_of_transformers() {
    for family in DECODERS {
        let PublishedModel::Decoder(model) = open(family) else { panic!("{family} is a decoder") };
        let expected = expected(family);
        let hidden = tch::no_grad(|| model.hidden(&Tokens::new(&texts(&expected), Device::Cpu)));
        let off = difference(&tch::no_grad(|| model.logits(&hidden.rows)), &expected["logits"]);
        assert!(off < 1e-4, "{family}: the logits differ by {off}");
        assert!(model.ignored().is_empty(), "{family} ignores {:?}", model.ignored());
        let layers = model.config().sparse_layers();
        let routers: Vec<String> =
            layers.iter().map(|layer| format!("model.layers.{layer}.mlp.gate")).collect();
        assert_choices(family, &routers, &hidden.routings);
    }
}

#[test]
fn logits_and_choices_of_switch_are_those_of_transformers() {
    let family = "switch_transformers";
    let PublishedModel::Switch(model) = open(family) else { panic!("it is a Switch Transformer") };
    let expected = expected(family);
    let tokens = Tokens::new(&texts(&expected), Device::Cpu);
    let output = tch::no_grad(|| model.forward(&tokens, &tokens));
    let off = difference(&output.logits, &expected["logits"]);
    assert!(off < 1e-4, "the logits differ by {off}");
    assert!(model.ignored().is_empty(), "{:?} are ignored", model.ignored());
    let routers = ["encoder.block.1.layer.1.mlp.router", "decoder.block.1.layer.2.mlp.router"];
    assert_choices(family, &routers.map(str::to_owned), &output.routings);
    let beyond = output.routings[0].weights.eq(0.0).any().int64_value(&[]);
    assert_eq!(beyond, 1, "the fixture has tokens beyond an expert's capacity");
}

#[test]
fn settings_and_files_of_other_published_kinds_compute_what_transformers_does() {
    for name in [
        "llama3-positions",
        "yarn-between-pairs",
        "untied-switch",
        "fused-experts",
        "sliding-window",
        "old-llama",
    ] {
        let model = PublishedModel::open(&variant(name), Precision::Float32, Device::Cpu).expect(name);
        let expected = tensors(&variant(name).join("expected.safetensors"));
        let off = difference(&tch::no_grad(|| logits(&model, &texts(&expected))), &expected["logits"]);
        assert!(off < 1e-4, "{name}: the logits differ by {off}");
        assert!(model.ignored().is_empty(), "{name} ignores {:?}", model.ignored());
    }
}

/// Mean cross-entropy of the next token of a decoder, or of each target token of a Switch Transformer.
fn loss(model: &PublishedModel, logits: &Tensor, texts: &[Vec<i64>]) -> Tensor {
    let (mut rows, mut targets): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    let mut start = 0;
    for text in texts {
        let shift = if matches!(model, PublishedModel::Decoder(_)) { 1 } else { 0 };
        rows.extend((0..text.len() - shift).map(|place| (start + place) as i64));
        targets.extend(&text[shift..]);
        start += text.len();
    }
    let logits = logits.index_select(0, &Tensor::from_slice(&rows));
    let targets = Tensor::from_slice(&targets);
    logits.cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}

/// A gradient of ours in the layout of PEFT's tensor of the same name.
fn gradient_name(name: &str) -> String {
    let name = name.replace(".gate_up_proj.", ".base_layer.").replace(".down_proj.", ".");
    let name = if name.ends_with(".weight") { name } else { format!("{name}.weight") };
    format!("gradient.base_model.model.{name}")
}

/// Compares a gradient with that of a fixture.
pub(crate) fn assert_gradient(
    expected: &BTreeMap<String, Tensor>,
    family: &str,
    (name, gradient): (&str, &Tensor),
) {
    let switch_expert = name.contains(".experts.w");
    for expert in 0..if switch_expert { gradient.size()[0] } else { 1 } {
        let (key, computed) = match (gradient.dim(), switch_expert) {
            (3, true) => {
                let key = name.replace(".experts.", &format!(".experts.expert_{expert}."));
                (gradient_name(&key), gradient.get(expert))
            }
            (3, false) if name.ends_with("lora_A") => {
                (gradient_name(name), gradient.reshape([-1, gradient.size()[2]]))
            }
            (3, false) => {
                (gradient_name(name), gradient.permute([1, 2, 0]).reshape([gradient.size()[1], -1]))
            }
            _ => (gradient_name(name), gradient.shallow_clone()),
        };
        let other = expected.get(&key).unwrap_or_else(|| panic!("{family}: no gradient {key}"));
        let off = difference(&computed, other);
        assert!(
            off < 1e-3 * other.abs().max().double_value(&[]).max(1.0),
            "{family}: {key} differs by {off}"
        );
    }
}

#[test]
fn adapters_of_peft_are_read_and_their_gradients_are_those_of_peft() {
    for family in DECODERS.into_iter().chain(["switch_transformers"]) {
        let mut model = open(family);
        let expected = expected(family);
        let texts = texts(&expected);
        let adapter = Adapter::read(&fixture(family).join("adapter"), &mut model).expect(family);
        let parameters = trained(&adapter);
        model.attach(&adapter, 0.0).expect("the adapter is this model's");
        let logits = logits(&model, &texts);
        let off = difference(&logits, &expected["adapted.logits"]);
        assert!(off < 1e-4, "{family}: the adapted logits differ by {off}");
        let loss = loss(&model, &logits, &texts);
        assert!(difference(&loss, &expected["adapted.loss"]) < 1e-5, "{family}");
        let tensors: Vec<&Tensor> = parameters.iter().map(|(_, tensor)| tensor).collect();
        let gradients = Tensor::run_backward(&[loss], &tensors, false, false);
        for ((name, _), gradient) in parameters.iter().zip(&gradients) {
            assert_gradient(&expected, family, (name, gradient));
        }
    }
}

#[test]
fn an_adapter_that_is_detached_leaves_no_trace() {
    let mut model = open("mixtral");
    let texts = texts(&expected("mixtral"));
    let before = logits(&model, &texts);
    let adapter =
        Adapter::read(&fixture("mixtral").join("adapter"), &mut model).expect("the fixture is whole");
    model.attach(&adapter, 0.0).expect("the adapter is this model's");
    assert!(difference(&logits(&model, &texts), &before) > 1e-2, "an adapter changes the model");
    model.detach();
    assert_eq!(difference(&logits(&model, &texts), &before), 0.0);
}
