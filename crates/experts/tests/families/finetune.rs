//! Adapters learn.

use cloister_experts::Precision;
use cloister_experts::families::finetune::{Decay, Example, FineTuner, FineTuning, Question, Rule};
use cloister_experts::families::{Adapter, AdapterSettings, PublishedModel};
use tch::{Device, Tensor};

use crate::common::{expected, fixture, open, texts};

fn settings() -> AdapterSettings {
    AdapterSettings { rank: 4, alpha: 8.0, router: true, ..AdapterSettings::default() }
}

fn tuner_of(mut model: PublishedModel, settings: &AdapterSettings) -> FineTuner {
    let adapter = Adapter::new(&mut model, settings, 5).expect("sound settings");
    FineTuner::new(model, adapter).expect("the adapter is this model's")
}

fn tuner(family: &str) -> FineTuner {
    // Only one layer in two of a Switch Transformer has experts; the others' networks learn too.
    let modules: &[&str] = if family == "switch_transformers" { &["wi", "wo", "v", "o"] } else { &[] };
    let modules = modules.iter().map(|&module| module.to_owned()).collect();
    tuner_of(open(family), &AdapterSettings { modules, ..settings() })
}

/// Four texts whose second half follows from their first token.
fn examples() -> Vec<Example> {
    let text = |first: i64| Example::new(vec![first, 7, 9, first + 20, 30 - first, 2], 3);
    (3..7).map(text).collect()
}

fn fast() -> FineTuning {
    FineTuning { epochs: 12, batch_size: 4, learning_rate: 2e-2, ..FineTuning::default() }
}

fn train(tuner: &mut FineTuner, settings: &FineTuning) -> Vec<f64> {
    tuner.train(&examples(), settings, &mut |_| {}).expect("the examples are sound").losses
}

fn values(tuner: &FineTuner) -> Vec<(String, Tensor)> {
    tuner.adapter().tensors().into_iter().map(|(name, tensor)| (name, tensor.detach().copy())).collect()
}

#[test]
fn every_family_learns_and_equal_settings_give_equal_bits() {
    for family in ["olmoe", "mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3"]
        .into_iter()
        .chain(["switch_transformers"])
    {
        let mut fine_tuner = tuner(family);
        let before = fine_tuner.loss(&examples(), 2).expect("the examples are sound");
        let losses = train(&mut fine_tuner, &fast());
        let after = fine_tuner.loss(&examples(), 3).expect("the examples are sound");
        assert_eq!(losses.len(), 12);
        assert!((losses[0] - before).abs() < 1e-4, "{family}: {} is not {before}", losses[0]);
        let least = if family == "switch_transformers" { 0.92 } else { 0.7 };
        assert!(after < least * before, "{family}: {before} fell to {after} only");
        let mut again = tuner(family);
        assert_eq!(train(&mut again, &fast()), losses, "{family}");
        assert!(
            values(&fine_tuner).iter().zip(values(&again)).all(|((_, one), (_, other))| one.equal(&other))
        );
    }
}

#[test]
fn the_loss_is_that_of_peft() {
    let mut model = open("mixtral");
    let expected = expected("mixtral");
    let adapter =
        Adapter::read(&fixture("mixtral").join("adapter"), &mut model).expect("the fixture is whole");
    let tuner = FineTuner::new(model, adapter).expect("the adapter is this model's");
    let examples: Vec<Example> = texts(&expected).into_iter().map(|tokens| Example::new(tokens, 0)).collect();
    let loss = tuner.loss(&examples, 2).expect("the examples are sound");
    assert!((loss - expected["adapted.loss"].double_value(&[])).abs() < 1e-5);
}

#[test]
fn batches_that_are_accumulated_make_the_same_step() {
    let plain = FineTuning { balance: Some(0.0), ..fast() };
    let mut whole = tuner("olmoe");
    let mut parts = tuner("olmoe");
    train(&mut whole, &plain);
    train(&mut parts, &FineTuning { batch_size: 2, accumulate: 2, ..plain });
    for ((name, one), (_, other)) in values(&whole).iter().zip(&values(&parts)) {
        let off = (one - other).abs().max().double_value(&[]);
        assert!(off < 1e-3, "{name} differs by {off}");
    }
}

#[test]
fn layers_that_are_computed_twice_give_the_same_gradients() {
    for family in ["olmoe", "deepseek_v3", "qwen2_moe"] {
        let modules = vec!["o_proj".to_owned()];
        let settings = AdapterSettings { modules, ..settings() };
        let (mut kept, mut recomputed) =
            (tuner_of(open(family), &settings), tuner_of(open(family), &settings));
        let distribution = vec![1.0 / 8.0; kept.model().moe().expect("it has experts").experts];
        kept.publish(&vec![distribution.clone(); 2]);
        recomputed.publish(&vec![distribution; 2]);
        let plain = FineTuning { balance: Some(0.1), z: 0.1, batch_size: 2, accumulate: 2, ..fast() };
        let losses = train(&mut kept, &plain);
        let others = train(&mut recomputed, &FineTuning { recompute_layers: true, ..plain });
        for (one, other) in losses.iter().zip(&others) {
            assert!((one - other).abs() < 1e-3, "{family}: {losses:?} and {others:?}");
        }
        for ((name, one), (_, other)) in values(&kept).iter().zip(&values(&recomputed)) {
            let off = (one - other).abs().mean(tch::Kind::Float).double_value(&[]);
            assert!(off < 1e-3, "{family}: {name} differs by {off}");
        }
    }
    let settings = FineTuning { recompute_layers: true, ..fast() };
    let refused = tuner("switch_transformers").train(&examples(), &settings, &mut |_| {});
    assert!(refused.expect_err("it keeps all layers").to_string().contains("recompute_layers"));
    let dropout = FineTuning { dropout: 0.1, ..settings };
    assert!(tuner("olmoe").train(&examples(), &dropout, &mut |_| {}).is_err());
}

#[test]
fn what_is_frozen_does_not_move() {
    let mut fine_tuner = tuner("olmoe");
    let before = values(&fine_tuner);
    train(
        &mut fine_tuner,
        &FineTuning { experts: vec![1, 3], first_halves: false, weight_decay: 0.1, ..fast() },
    );
    let mut moved = 0;
    for ((name, before), (_, after)) in before.iter().zip(&values(&fine_tuner)) {
        if name.ends_with("lora_A") {
            assert!(before.equal(after), "{name} is a first half");
        } else if before.dim() == 3 {
            for expert in 0..6 {
                let same = before.get(expert).equal(&after.get(expert));
                assert!(same || [1, 3].contains(&expert), "{name} of expert {expert} moved");
                moved += usize::from(!same);
            }
        }
    }
    assert!(moved > 0, "nothing was trained");
}

#[test]
fn bfloat16_plain_descent_dropout_and_a_constant_rate_learn_too() {
    let model = PublishedModel::open(&fixture("mixtral"), Precision::Bfloat16, Device::Cpu)
        .expect("the fixture is whole");
    let modules = vec!["q_proj".to_owned(), "o_proj".to_owned()];
    let mut fine_tuner = tuner_of(model, &AdapterSettings { modules, ..settings() });
    let before = fine_tuner.loss(&examples(), 4).expect("the examples are sound");
    let settings = FineTuning {
        rule: Rule::Sgd { momentum: 0.9 },
        decay: Decay::Constant,
        learning_rate: 0.1,
        dropout: 0.1,
        z: 1e-3,
        ..fast()
    };
    train(&mut fine_tuner, &settings);
    let after = fine_tuner.loss(&examples(), 4).expect("the examples are sound");
    assert!(after < 0.8 * before, "{before} fell to {after} only");
    assert!(
        values(&fine_tuner).iter().all(|(_, tensor)| tensor.kind() == tch::Kind::Float),
        "masters are 32-bit floats"
    );
}

#[test]
fn a_published_distribution_acts_on_the_routers_and_zeros_do_not() {
    let losses = |published: &[Vec<f32>], routing_penalty| {
        let mut fine_tuner = tuner("qwen3_moe");
        fine_tuner.publish(published);
        let losses = train(&mut fine_tuner, &FineTuning { routing_penalty, ..fast() });
        (losses, fine_tuner.routing(&examples(), 2).expect("the examples are sound").distributions)
    };
    let target = vec![vec![0.4, 0.3, 0.2, 0.05, 0.03, 0.02]; 2];
    let free = losses(&[], 5.0);
    assert_eq!(losses(&vec![vec![0.0; 6]; 2], 5.0), free);
    assert_eq!(losses(&target, 0.0), free);
    let (pulled, distributions) = losses(&target, 5.0);
    assert_eq!(pulled[0], free.0[0], "the task's loss is told without the regulariser");
    assert_ne!(distributions, free.1);
}

#[test]
fn routing_is_summed_over_all_tokens() {
    let tuner = tuner("deepseek_v3");
    let summary = tuner.routing(&examples(), 3).expect("the examples are sound");
    assert_eq!((summary.distributions.len(), summary.margins.len(), summary.regions.len()), (1, 1, 8));
    assert!((summary.distributions[0].iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let tokens: u64 = summary.regions.iter().map(|region| region.tokens).sum();
    assert_eq!(tokens, 4 * 6 * 3, "each of 24 tokens goes to 3 experts");
    assert!(summary.regions.iter().all(|region| region.mean_hidden.len() == 16));
}

#[test]
fn the_likeliest_option_a_token_is_chosen() {
    let mut fine_tuner = tuner("mixtral");
    train(&mut fine_tuner, &FineTuning { epochs: 30, ..fast() });
    for example in examples() {
        let (prompt, right) = example.tokens.split_at(3);
        let options = vec![vec![40, 41], right.to_vec(), vec![44, 45, 46, 47, 11]];
        let question = Question { prompt: prompt.to_vec(), options };
        let shorter = Question { options: question.options[..2].to_vec(), ..question.clone() };
        assert_eq!(fine_tuner.choose(&[shorter, question], 2).expect("sound options"), [1, 1]);
    }
}

#[test]
fn examples_and_settings_that_make_no_sense_are_named() {
    let mut fine_tuner = tuner("mixtral");
    let mut refusal = |tokens: Vec<i64>, given, settings: FineTuning| {
        fine_tuner
            .train(&[Example::new(tokens, given)], &settings, &mut |_| {})
            .expect_err("no sense")
            .to_string()
    };
    let sound = FineTuning::default;
    assert!(
        refusal(vec![5, 99], 1, sound())
            .contains("example 1 (counted from 1): its text has the token number 99")
    );
    assert!(refusal(vec![5, 6], 2, sound()).contains("nothing to learn"));
    assert!(refusal(vec![5; 65], 1, sound()).contains("it has 65 tokens; the model reads 64"));
    assert!(
        refusal(vec![5, 6], 1, FineTuning { experts: vec![4], ..sound() }).contains("there is no expert 4")
    );
    assert!(refusal(vec![5, 6], 1, FineTuning { dropout: 1.0, ..sound() }).contains("below 1"));
    assert!(refusal(vec![5, 6], 1, FineTuning { accumulate: 0, ..sound() }).contains("at least 1"));
    assert!(fine_tuner.train(&[], &sound(), &mut |_| {}).is_err());
}
