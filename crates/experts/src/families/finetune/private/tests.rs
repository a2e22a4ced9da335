use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tch::{Device, Kind};

use super::*;

use crate::device::Precision;
use crate::families::finetune::learner::AdapterLearner;
use crate::families::{Adapter, AdapterSettings, ExpertTraining, PublishedModel};
use crate::training::descent::BatchLearner;
use crate::training::private::steps::clipped_sum;

const FAMILIES: [(&str, &[&str]); 7] = [
    ("olmoe", &["q_proj", "k_proj", "v_proj", "o_proj"]),
    ("mixtral", &["q_proj", "v_proj", "o_proj"]),
    ("qwen2_moe", &["q_proj", "k_proj", "o_proj"]),
    ("qwen3_moe", &["q_proj", "k_proj", "v_proj", "o_proj"]),
    ("deepseek_v2", &["kv_b_proj", "o_proj"]),
    ("deepseek_v3", &["kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]),
    ("switch_transformers", &["q", "k", "v", "o", "wi", "wo"]),
];

/// Texts of different lengths, of which different parts are learnt.
fn examples() -> Vec<Example> {
    let token = |number: usize, place: usize| ((7 * number + place * place + 3) % 40) as i64;
    let text = |number: usize| {
        Example::new((0..5 + 2 * number).map(|place| token(number, place)).collect(), 2 + number % 3)
    };
    (0..5).map(text).collect()
}

/// The same texts with a class each.
fn classified() -> Vec<Example> {
    let of_class = |(number, text): (usize, Example)| Example::for_class(text.tokens, number % 3);
    examples().into_iter().enumerate().map(of_class).collect()
}

/// A tuner whose adapter is not 0 anywhere, and that trains everything except for a head.
fn tuner(family: (&str, &[&str])) -> FineTuner {
    tuner_of(family, ExpertTraining::LowRank, &[])
}

fn tuner_of((family, modules): (&str, &[&str]), experts: ExpertTraining, classes: &[&str]) -> FineTuner {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family);
    let mut model = PublishedModel::open(&folder, Precision::Float32, Device::Cpu).expect(family);
    let [modules, classes] =
        [modules, classes].map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let settings = AdapterSettings { rank: 4, alpha: 8.0, experts, router: true, modules, classes };
    let adapter = Adapter::new(&mut model, &settings, 5).expect("sound settings");
    // Not from libtorch's generator, which tests beside this one draw from.
    for (_, tensor) in adapter.tensors() {
        let mut tensor = tensor.shallow_clone();
        let waves = Tensor::arange(tensor.numel() as i64, (Kind::Float, Device::Cpu)) * 0.7;
        tensor += waves.sin().view(tensor.size().as_slice()) * 0.07;
    }
    let mut fine_tuner = FineTuner::new(model, adapter).expect("the adapter is this model's");
    let moe = fine_tuner.model.moe().expect("it has experts");
    let distribution: Vec<f32> = (1..=moe.experts).map(|expert| expert as f32).collect();
    fine_tuner.publish(&vec![distribution; 4]);
    fine_tuner
}

fn settings() -> FineTuning {
    FineTuning { batch_size: 3, balance: Some(0.3), z: 0.1, routing_penalty: 0.3, ..FineTuning::default() }
}

fn private() -> PrivateTraining {
    PrivateTraining { clipping_norm: 1.0, noise_multiplier: 0.05, sampling_probability: 0.8, steps: 30 }
}

/// Each example's gradients: from one pass of private training over all examples, and from a pass of
/// plain training over that example alone.
fn both(fine_tuner: &mut FineTuner, settings: &FineTuning) -> (Vec<String>, Vec<Tensor>, Vec<Vec<Tensor>>) {
    let (learning, _) = fine_tuner.learning(settings).expect("sound settings");
    let examples = if fine_tuner.adapter.classes.is_empty() { examples() } else { classified() };
    let mut plain = AdapterLearner::new(fine_tuner, &examples, settings, &learning, None);
    let alone = (0..examples.len()).map(|example| {
        let mut gradients = plain.gradients(&[example], false).gradients;
        plain.mask(&mut gradients);
        gradients
    });
    let alone = alone.collect();
    let tape = Tape::default();
    let recorder = |module: &str| tape.recorder(module.to_owned());
    fine_tuner.model.attach_recorded(&fine_tuner.adapter, 0.0, &recorder).expect("the adapter fits");
    let names = learning.parameters.iter().map(|(name, _)| name.clone()).collect();
    let mut together = PrivateAdapterLearner::new(fine_tuner, &examples, settings, &learning, &tape);
    let (_, together) = together.example_gradients(&[0, 1, 2, 3, 4]);
    (names, together, alone)
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

/// PRIV-10
#[test]
fn in_every_family_the_gradients_of_a_batch_are_those_of_each_example_alone() {
    let kinds = [ExpertTraining::LowRank, ExpertTraining::Whole].map(|experts| (experts, [].as_slice()));
    let kinds = kinds.into_iter().chain([(ExpertTraining::LowRank, ["a", "b", "c"].as_slice())]);
    let cases = kinds.flat_map(|(experts, classes)| FAMILIES.map(|family| (family, experts, classes)));
    let has_no_head = |family: &str, classes: &[&str]| family.starts_with("switch") && !classes.is_empty();
    for (family, experts, classes) in cases.filter(|(family, _, classes)| !has_no_head(family.0, classes)) {
        let (names, together, alone) = both(&mut tuner_of(family, experts, classes), &settings());
        assert_eq!(names.iter().any(|name| name == "score.weight"), !classes.is_empty());
        let mut moving = 0;
        for (example, alone) in alone.iter().enumerate() {
            for ((name, batched), alone) in names.iter().zip(&together).zip(alone) {
                let off = largest(&(batched.get(example as i64) - alone));
                assert!(off < 1e-5, "{}, {experts:?}: {name} of {example} differs by {off}", family.0);
                moving += usize::from(largest(alone) > 1e-3);
            }
        }
        assert!(moving > alone.len() * names.len() / 2, "{}: gradients to compare", family.0);
    }
}

/// PRIV-10: a token whose embedding is not finite breaks its text and no other, forwards and backwards.
#[test]
fn in_every_family_a_text_that_is_not_finite_leaves_the_others_as_they_are() {
    let heads = [[].as_slice(), ["a", "b", "c"].as_slice()];
    let kinds = [ExpertTraining::LowRank, ExpertTraining::Whole];
    let cases = kinds.into_iter().flat_map(|kind| heads.map(|head| (kind, head)));
    for (family, (experts, classes)) in
        FAMILIES.into_iter().flat_map(|family| cases.clone().map(move |case| (family, case)))
    {
        // A Switch Transformer has no head over classes, and its own head is tied.
        if family.0.starts_with("switch") {
            continue;
        }
        let fine_tuner = &mut tuner_of(family, experts, classes);
        let PublishedModel::Decoder(decoder) = &fine_tuner.model else { continue };
        // With a tied head a broken embedding is a broken logit of every text.
        if decoder.config.tied && classes.is_empty() {
            continue;
        }
        let embedding = decoder.embedding.shallow_clone();
        let settings = settings();
        let (learning, _) = fine_tuner.learning(&settings).expect("sound settings");
        let mut examples = if classes.is_empty() { examples() } else { classified() };
        // No other text has this token.
        examples[2].tokens[1] = 44;
        let tape = Tape::default();
        let recorder = |module: &str| tape.recorder(module.to_owned());
        fine_tuner.model.attach_recorded(&fine_tuner.adapter, 0.0, &recorder).expect("the adapter fits");
        let mut learner = PrivateAdapterLearner::new(fine_tuner, &examples, &settings, &learning, &tape);
        let (_, sound) = learner.example_gradients(&[0, 1, 2, 3, 4]);
        for value in [f64::NAN, f64::INFINITY] {
            let _ = embedding.get(44).fill_(value);
            let (_, broken) = learner.example_gradients(&[0, 1, 2, 3, 4]);
            for (text, (one, other)) in [0, 1, 3, 4]
                .into_iter()
                .flat_map(|text| sound.iter().zip(&broken).map(move |pair| (text, pair)))
            {
                let off = largest(&(one.get(text) - other.get(text)));
                assert!(off < 1e-5, "{}, {experts:?}: a gradient of {text} moves by {off}", family.0);
            }
            let (_, sum) = clipped_sum(&mut learner, &[0, 1, 2, 3, 4], 1.0, 5);
            assert_eq!(sum.counts.int64_value(&[1]), 1, "{}: text 2 alone is not finite", family.0);
        }
    }
}

#[test]
fn experts_and_halves_that_are_not_trained_are_not_counted_in_the_norm() {
    let settings = FineTuning { experts: vec![1, 3], first_halves: false, ..settings() };
    let (names, together, alone) = both(&mut tuner(FAMILIES[0]), &settings);
    assert!(names.iter().all(|name| !name.ends_with("lora_A")));
    for (name, batched) in names.iter().zip(&together).filter(|(_, batched)| batched.dim() == 4) {
        assert_eq!(largest(&batched.select(1, 2)), 0.0, "{name} of expert 2");
        assert!(largest(&batched.select(1, 1)) > 0.0, "{name} of expert 1");
    }
    for (batched, alone) in together.iter().zip(&alone[4]) {
        assert!(largest(&(batched.get(4) - alone)) < 1e-5);
    }
}

/// PRIV-10
#[test]
fn a_record_s_gradient_is_the_mean_of_its_examples() {
    let mut fine_tuner = tuner(FAMILIES[0]);
    let settings = settings();
    let (learning, _) = fine_tuner.learning(&settings).expect("sound settings");
    let of_record = |(example, record): (Example, usize)| Example { record: Some(record), ..example };
    let examples: Vec<Example> = examples().into_iter().zip([4, 2, 4, 4, 4]).map(of_record).collect();
    let mut plain = AdapterLearner::new(&fine_tuner, &examples, &settings, &learning, None);
    let alone: Vec<Vec<Tensor>> =
        (0..examples.len()).map(|example| plain.gradients(&[example], false).gradients).collect();
    let tape = Tape::default();
    let recorder = |module: &str| tape.recorder(module.to_owned());
    fine_tuner.model.attach_recorded(&fine_tuner.adapter, 0.0, &recorder).expect("the adapter fits");
    let mut private = PrivateAdapterLearner::new(&fine_tuner, &examples, &settings, &learning, &tape);
    let (_, sum) = clipped_sum(&mut private, &[0, 1], 1e9, settings.batch_size);
    for (index, sum) in sum.sums.iter().enumerate() {
        let of_four: Tensor = [0, 2, 3, 4].iter().map(|&example: &usize| &alone[example][index] / 4.0).sum();
        let off = largest(&(sum - (of_four + &alone[1][index])));
        assert!(off < 1e-5, "{} differs by {off}", learning.parameters[index].0);
    }
    assert_eq!(sum.counts.int64_value(&[1]), 0);
}

#[test]
fn adapters_learn_privately_and_the_same_draws_give_the_same_bits() {
    let train = |seed, private: &PrivateTraining| {
        let mut fine_tuner = tuner(FAMILIES[1]);
        let before = fine_tuner.loss(&examples(), 5).expect("sound examples");
        let settings = FineTuning { learning_rate: 1e-2, ..settings() };
        let random = &mut ChaCha20Rng::seed_from_u64(seed);
        let (tuned, report) =
            fine_tuner.train_privately(&examples(), &settings, private, random, &mut |_| {}).expect("sound");
        (before, fine_tuner.loss(&examples(), 5).expect("sound examples"), tuned, report)
    };
    let (before, after, tuned, report) = train(1, &private());
    assert!(after < 0.9 * before, "{before} fell to {after} only");
    assert_eq!((tuned.losses.len(), report.steps), (30, 30));
    assert!((90..=150).contains(&report.drawn) && report.clipped <= report.drawn, "{report:?}");
    assert_eq!(train(1, &private()).2, tuned);
    assert_ne!(train(2, &private()).2, tuned);
    let drowned = PrivateTraining { noise_multiplier: 50.0, ..private() };
    assert!(train(1, &drowned).1 > after, "control: noise drowns what there is to learn");
}

#[test]
fn the_proximal_term_holds_a_private_adapter_near_its_start() {
    let moved = |proximal| {
        let mut fine_tuner = tuner(FAMILIES[1]);
        let copies = |tuner: &FineTuner| -> Vec<Tensor> {
            tuner.adapter.tensors().into_iter().map(|(_, tensor)| tensor.detach().copy()).collect()
        };
        let start = copies(&fine_tuner);
        let settings = FineTuning { learning_rate: 1e-2, proximal, ..settings() };
        let random = &mut ChaCha20Rng::seed_from_u64(1);
        fine_tuner.train_privately(&examples(), &settings, &private(), random, &mut |_| {}).expect("sound");
        let end = copies(&fine_tuner);
        let squares =
            |(now, start): (&Tensor, &Tensor)| (now - start).square().sum(Kind::Double).double_value(&[]);
        end.iter().zip(&start).map(squares).sum::<f64>().sqrt()
    };
    let (free, held) = (moved(0.0), moved(100.0));
    assert!(held < 0.5 * free, "{held} with the term, {free} without it");
}

#[test]
fn what_private_training_cannot_do_is_refused() {
    let mut fine_tuner = tuner(FAMILIES[0]);
    let mut refusal = |settings: FineTuning, private: PrivateTraining| {
        let random = &mut ChaCha20Rng::seed_from_u64(1);
        let refused = fine_tuner.train_privately(&examples(), &settings, &private, random, &mut |_| {});
        refused.expect_err("it makes no sense").to_string()
    };
    let recompute = FineTuning { recompute_layers: true, ..settings() };
    assert!(refusal(recompute, private()).contains("turn recompute_layers off"));
    let dropout = FineTuning { dropout: 0.1, ..settings() };
    assert!(refusal(dropout, private()).contains("set dropout to 0"));
    let none = PrivateTraining { noise_multiplier: 0.0, ..private() };
    assert!(refusal(settings(), none).contains("noise_multiplier must be"));
}
