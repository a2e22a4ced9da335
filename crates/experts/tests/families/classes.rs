//! Heads over classes.

use std::fs;
use std::path::Path;

use cloister_experts::Precision;
use cloister_experts::families::adapter::write_merged;
use cloister_experts::families::finetune::{Example, FineTuner, FineTuning};
use cloister_experts::families::{
    Adapter, AdapterBlocks, AdapterSettings, AnyConfig, ExpertTraining, Layout, PublishedModel, Tokens,
};
use cloister_experts::task::{AdapterTask, Objective, Task};
use cloister_params::block::BlockKind;
use serde_json::Value;
use tch::{Device, Tensor};

use crate::common::{CLASSIFIERS, DECODERS, Scratch, difference, fixture, open, tensors, texts, trained};
use crate::parity::assert_gradient;

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|&name| name.to_owned()).collect()
}

fn settings() -> AdapterSettings {
    let (modules, classes) = (names(&["o_proj"]), names(&["heart", "lung", "skin"]));
    AdapterSettings { rank: 4, alpha: 8.0, router: true, modules, classes, ..AdapterSettings::default() }
}

fn tuner(family: &str) -> FineTuner {
    let mut model = open(family);
    let adapter = Adapter::new(&mut model, &settings(), 5).expect(family);
    FineTuner::new(model, adapter).expect("the adapter is this model's")
}

/// Six texts whose class follows from their second token.
fn examples() -> Vec<Example> {
    let text =
        |number: i64| Example::for_class(vec![30 + number, 7 + 9 * (number % 3), 4], number as usize % 3);
    (0..6).map(text).collect()
}

fn fast() -> FineTuning {
    FineTuning { epochs: 20, batch_size: 3, accumulate: 2, learning_rate: 2e-2, ..FineTuning::default() }
}

fn train(tuner: &mut FineTuner, settings: &FineTuning) -> Vec<f64> {
    tuner.train(&examples(), settings, &mut |_| {}).expect("the examples are sound").losses
}

/// The row of each text's last token.
fn last_rows(texts: &[Vec<i64>]) -> Tensor {
    let ends = texts.iter().scan(0, |end, text| {
        *end += text.len() as i64;
        Some(*end - 1)
    });
    Tensor::from_slice(&ends.collect::<Vec<i64>>())
}

#[test]
fn heads_of_peft_compute_and_learn_here_what_they_do_in_transformers() {
    for family in CLASSIFIERS {
        let (mut model, folder) = (open(family), fixture(family).join("classifier"));
        let expected = tensors(&folder.join("expected.safetensors"));
        let texts = texts(&expected);
        let adapter = Adapter::read(&folder, &mut model).expect(family);
        assert_eq!(adapter.classes, names(&["LABEL_0", "LABEL_1", "LABEL_2"]));
        let parameters = trained(&adapter);
        model.attach(&adapter, 0.0).expect("the adapter is this model's");
        let PublishedModel::Decoder(decoder) = &model else { panic!("{family} is a decoder") };
        let hidden = decoder.hidden(&Tokens::new(&texts, Device::Cpu)).rows;
        let logits = decoder.predict(&hidden.index_select(0, &last_rows(&texts)));
        let off = difference(&logits, &expected["logits"]);
        assert!(off < 1e-4, "{family}: the logits differ by {off}");
        let loss = logits.cross_entropy_for_logits(&expected["labels"]);
        assert!(difference(&loss, &expected["loss"]) < 1e-5, "{family}");
        let by: Vec<&Tensor> = parameters.iter().map(|(_, tensor)| tensor).collect();
        for ((name, _), gradient) in parameters.iter().zip(Tensor::run_backward(&[loss], &by, false, false)) {
            assert_gradient(&expected, family, (name, &gradient));
        }
        assert_tuner_agrees(FineTuner::new(model, adapter).expect("it is this model's"), &expected);
    }
}

/// The loss and the classes of a tuner are those of a fixture.
fn assert_tuner_agrees(tuner: FineTuner, expected: &std::collections::BTreeMap<String, Tensor>) {
    let labels: Vec<i64> = Vec::try_from(&expected["labels"]).expect("a vector");
    let labelled = |(text, label): (Vec<i64>, i64)| Example::for_class(text, label as usize);
    let examples: Vec<Example> = texts(expected).into_iter().zip(labels).map(labelled).collect();
    let loss = tuner.loss(&examples, 2).expect("sound examples");
    assert!((loss - expected["loss"].double_value(&[])).abs() < 1e-5);
    let likeliest: Vec<i64> = Vec::try_from(expected["logits"].argmax(-1, false)).expect("a vector");
    let classes = tuner.classify(&examples, 1).expect("sound examples");
    assert!(classes.into_iter().eq(likeliest.into_iter().map(|class| class as usize)));
}

#[test]
fn every_decoder_learns_classes_and_a_second_pass_gives_the_same() {
    for family in DECODERS {
        let mut fine_tuner = tuner(family);
        let before = fine_tuner.loss(&examples(), 4).expect("the examples are sound");
        assert!((before - 3_f64.ln()).abs() < 1e-6, "{family}: at first all classes are alike");
        let losses = train(&mut fine_tuner, &fast());
        assert!((losses[0] - before).abs() < 1e-6, "{family}: a class counts once, however long its text");
        let right: Vec<usize> = examples().iter().filter_map(|example| example.class).collect();
        assert_eq!(fine_tuner.classify(&examples(), 4).expect("the examples are sound"), right, "{family}");
        let found = fine_tuner.predict(&examples(), 4).expect("the examples are sound");
        assert_eq!((found.right, found.tokens), (6, 6), "{family}");
        let mut again = tuner(family);
        assert_eq!(train(&mut again, &fast()), losses, "{family}: equal bits");
        let mut recomputed = tuner(family);
        let others = train(&mut recomputed, &FineTuning { recompute_layers: true, ..fast() });
        assert!(losses.iter().zip(&others).all(|(one, other)| (one - other).abs() < 1e-3), "{family}");
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("it was written")).expect("it is JSON")
}

#[test]
fn heads_are_written_for_peft_and_come_back_with_their_classes() {
    for family in ["olmoe", "deepseek_v3"] {
        let scratch = Scratch::new(&format!("head-{family}"));
        let mut fine_tuner = tuner(family);
        train(&mut fine_tuner, &fast());
        let adapter = fine_tuner.adapter();
        for layout in [Layout::PeftFused, Layout::PerExpert] {
            adapter
                .write(&scratch.0, fine_tuner.model().family(), layout)
                .expect("the folder can be written");
            let config = json(&scratch.0.join("adapter_config.json"));
            assert_eq!(config["task_type"], "SEQ_CLS");
            assert_eq!(config["modules_to_save"], serde_json::json!(["mlp.gate", "score"]));
            let written = tensors(&scratch.0.join("adapter_model.safetensors"));
            assert_eq!(written["base_model.model.score.weight"].size(), [3, 16]);
            let back = Adapter::read(&scratch.0, &mut open(family)).expect(family);
            assert_eq!(back.classes, adapter.classes);
            for ((name, ours), (_, theirs)) in adapter.tensors().into_iter().zip(back.tensors()) {
                assert!(ours.equal(theirs), "{family}: {name} changed in {layout:?}");
            }
        }
    }
}

#[test]
fn a_head_alone_is_written_as_peft_loads_it() {
    let (scratch, mut model) = (Scratch::new("head-alone"), open("mixtral"));
    let experts = ExpertTraining::Frozen;
    let alone = AdapterSettings { experts, router: false, modules: vec![], ..settings() };
    let adapter = Adapter::new(&mut model, &alone, 0).expect("a head is something");
    adapter.write(&scratch.0, model.family(), Layout::PeftFused).expect("the folder can be written");
    let config = json(&scratch.0.join("adapter_config.json"));
    assert_eq!(config["target_modules"], "dummy-target-modules");
    assert_eq!(config["r"], 1, "PEFT knows no rank of 0");
    let back = Adapter::read(&scratch.0, &mut model).expect("it was just written");
    assert_eq!((back.modules.len(), &back.classes), (1, &adapter.classes));
}

#[test]
fn merged_models_have_the_head_and_say_what_transformers_calls_them() {
    let cases = [("mixtral", "MixtralForSequenceClassification"), ("olmoe", "OlmoeForCausalLM")];
    for (family, architecture) in cases {
        let scratch = Scratch::new(&format!("head-merged-{family}"));
        let mut fine_tuner = tuner(family);
        train(&mut fine_tuner, &fast());
        write_merged(&fixture(family), fine_tuner.adapter(), &scratch.0).expect("the folder can be written");
        let config = json(&scratch.0.join("config.json"));
        assert_eq!(config["architectures"], serde_json::json!([architecture]));
        assert_eq!((&config["id2label"]["1"], &config["label2id"]["skin"]), (&"lung".into(), &2.into()));
        let file = match family {
            "olmoe" => {
                json(&scratch.0.join("model.safetensors.index.json"))["weight_map"]["score.weight"].clone()
            }
            _ => "model.safetensors".into(),
        };
        let head = &tensors(&scratch.0.join(file.as_str().expect("a name")))["score.weight"];
        let trained = fine_tuner.adapter().tensors().into_iter().find(|(name, _)| name == "score.weight");
        assert!(head.equal(trained.expect("it has one").1), "{family}");
        let merged = PublishedModel::open(&scratch.0, Precision::Float32, Device::Cpu).expect(family);
        assert_eq!(merged.ignored(), ["score.weight"]);
    }
}

#[test]
fn the_head_is_in_the_block_that_all_share() {
    let config = AnyConfig::read(&fixture("olmoe")).expect("the fixture is whole");
    let pieces = |settings: &AdapterSettings| {
        let table = AdapterBlocks::new(&config.sites(), settings).expect("sound settings");
        let shared = table.blocks().iter().find(|block| block.shape.kind == BlockKind::Shared);
        shared.map_or(vec![], |block| block.pieces.clone())
    };
    let head = pieces(&settings());
    assert_eq!(
        (head.len(), head[2].tensor.as_str(), head[2].shape.as_slice()),
        (3, "score.weight", &[3, 16][..])
    );
    assert_eq!(pieces(&AdapterSettings { modules: vec![], ..settings() }).len(), 1);
    assert_eq!(pieces(&AdapterSettings { classes: vec![], ..settings() }).len(), 2);
}

#[test]
fn classes_examples_and_tasks_that_make_no_sense_are_named() {
    let refused = |family: &str, classes: &[&str]| {
        let settings = AdapterSettings { modules: vec![], classes: names(classes), ..settings() };
        Adapter::new(&mut open(family), &settings, 0).expect_err("it makes no sense").to_string()
    };
    assert!(refused("switch_transformers", &["a", "b"]).contains("no head over classes"));
    assert!(refused("olmoe", &["a"]).contains("at least two classes"));
    assert!(refused("olmoe", &["a", "b", "a"]).contains("the class “a” is named twice"));
    let fine_tuner = tuner("olmoe");
    let refused = |example| fine_tuner.loss(&[example], 1).expect_err("it makes no sense").to_string();
    assert!(refused(Example::for_class(vec![3, 4], 3)).contains("its class is number 3"));
    assert!(refused(Example::new(vec![3, 4], 1)).contains("it has no class"));
    assert!(refused(Example::for_class(vec![], 0)).contains("nothing to learn"));
    let task = |objective, classes: &[&str]| {
        let adapter = AdapterSettings { classes: names(classes), ..settings() };
        AdapterTask::from_base(&fixture("olmoe"), "m".into(), objective, adapter, 16)
    };
    let error = task(Objective::Classification, &[]).expect_err("classes are missing").to_string();
    assert!(error.contains("needs classes"), "{error}");
    assert!(task(Objective::LanguageModel, &["a", "b"]).is_err());
    let agreed_task = Task::Adapter(task(Objective::Classification, &["a", "b"]).expect("it makes sense"));
    let text = serde_json::to_string(&agreed_task).expect("plain data");
    assert!(text.contains(r#""objective":"classification""#), "{text}");
    assert_eq!(Task::parse(&text).expect("what was written"), agreed_task);
    let initial = agreed_task.initial(&fixture("olmoe")).expect("the fixture is whole");
    let shared = initial.get(BlockKind::Shared).expect("a block of the table");
    assert_eq!(shared[shared.len() - 2 * 16..], [0.0; 32], "a head to which all classes are alike");
}
