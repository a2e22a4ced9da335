//! Tasks on published models.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::families::finetune::{Example, FineTuning, RoundTrainer};
use cloister_experts::families::{Adapter, AdapterSettings};
use cloister_experts::task::{AdapterTask, Objective, Task};
use cloister_experts::{Averaging, BlockVectors, PrivateTraining};
use cloister_params::block::BlockKind;
use cloister_params::limits::Date;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::common::{fixture, open};

fn settings() -> AdapterSettings {
    AdapterSettings { rank: 2, router: true, ..AdapterSettings::default() }
}

fn task(family: &str) -> AdapterTask {
    AdapterTask::from_base(&fixture(family), family.to_owned(), Objective::LanguageModel, settings(), 32)
        .expect("the fixture is whole")
}

/// A copy of a fixture's files.
fn copied(family: &str, name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cloister-task-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a temporary folder can be made");
    for entry in fs::read_dir(fixture(family)).expect("the fixture is committed") {
        let path = entry.expect("it can be listed").path();
        if path.is_file() {
            fs::copy(&path, folder.join(path.file_name().expect("a file"))).expect("it can be copied");
        }
    }
    folder
}

/// TASK-02
#[test]
fn every_member_starts_from_the_same_parameters_without_loading_the_model() {
    for family in ["olmoe", "mixtral", "qwen2_moe", "deepseek_v3", "switch_transformers"] {
        let task = task(family);
        let initial = Task::Adapter(task.clone()).initial(&fixture(family)).expect("the fixture is whole");
        let loaded = RoundTrainer::new(open(family), &task.adapter, task.seed).expect("sound settings");
        assert_eq!(initial, loaded.vectors().expect("finite"), "{family}");
        let router = initial.get(BlockKind::Router { layer: 0 }).expect("routers are trained");
        assert!(router.iter().any(|value| *value != 0.0), "{family}: the router is the model's own");
    }
}

/// TASK-01
#[test]
fn another_base_is_refused_by_the_name_of_its_file() {
    let task = task("olmoe");
    let folder = copied("olmoe", "other");
    task.check_base(&folder).expect("it is the same");
    let refusal = |folder: &Path| task.check_base(folder).expect_err("it is another").to_string();
    let shard = folder.join("model-00002-of-00003.safetensors");
    let mut bytes = fs::read(&shard).expect("it was copied");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::write(&shard, &bytes).expect("it can be written");
    let error = refusal(&folder);
    assert!(error.contains("model-00002-of-00003.safetensors has the SHA-256"), "{error}");
    assert!(error.contains(&task.base_files["model-00002-of-00003.safetensors"]), "{error}");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::write(&shard, &bytes).expect("it can be written");
    task.check_base(&folder).expect("it is the same again");
    fs::write(folder.join("tokenizer.json"), "{}").expect("it can be written");
    assert!(
        refusal(&folder).contains("tokenizer.json has the SHA-256"),
        "a file that the task does not name"
    );
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn task_files_are_read_back_and_what_makes_no_sense_is_named() {
    let adapter_task = task("olmoe");
    let text = serde_json::to_string(&adapter_task).expect("plain data");
    assert_eq!(Task::parse(&text).expect("what was written"), Task::Adapter(adapter_task.clone()));
    assert_eq!(adapter_task.end_token, Some(2));
    let refused = |changed: AdapterTask| {
        let text = serde_json::to_string(&changed).expect("plain data");
        let parsed = Task::parse(&text).map(|task| task.initial(&fixture("olmoe")).err());
        match parsed {
            Ok(error) => error.expect("it makes no sense").to_string(),
            Err(error) => error.to_string(),
        }
    };
    assert!(
        refused(AdapterTask { max_tokens: 1, ..adapter_task.clone() })
            .contains("max_tokens must be at least 2")
    );
    assert!(
        refused(AdapterTask { trained_experts: vec![6], ..adapter_task.clone() }).contains("no expert 6")
    );
    let modules = vec!["up_proj".to_owned()];
    let adapter = AdapterSettings { modules, ..settings() };
    assert!(refused(AdapterTask { adapter, ..adapter_task.clone() }).contains("no module up_proj"));
    assert!(Task::parse(&text.replace("seed", "sead")).is_err());
    assert!(!text.contains("date"), "a task whose template prints no date has none");
    let day = Date::try_from("2026-11-29".to_owned()).expect("a day");
    let dated = AdapterTask { date: Some(day), ..adapter_task.clone() };
    let text = serde_json::to_string(&dated).expect("plain data");
    assert_eq!(Task::parse(&text).expect("what was written"), Task::Adapter(dated));
    let long =
        AdapterTask::from_base(&fixture("olmoe"), "m".into(), Objective::LanguageModel, settings(), 65);
    assert!(long.expect_err("the model reads 64").to_string().contains("max_tokens is 65, and m reads 64"));
}

/// An update of all blocks that is not 0 anywhere that is trained.
fn scrambled(initial: &BlockVectors) -> BlockVectors {
    initial.map(|shape, values| {
        let reserved = usize::from(matches!(shape.kind, BlockKind::Router { .. }));
        let trained = values.len() - reserved;
        let value = |(place, value): (usize, &f32)| {
            value + if place < trained { ((place * 37 % 101) as f32 - 50.0) * 1e-3 } else { 0.0 }
        };
        values.iter().enumerate().map(value).collect()
    })
}

#[test]
fn the_adapter_that_is_written_is_the_one_of_the_blocks() {
    for family in ["olmoe", "qwen2_moe"] {
        let (adapter_task, base) = (task(family), fixture(family));
        let agreed = Task::Adapter(adapter_task.clone());
        let model = scrambled(&agreed.initial(&base).expect("the fixture is whole"));
        let folder = copied(family, "written");
        let written = agreed.write(&base, &model, &folder).expect("the folder can be written");
        let read = Adapter::read(&written, &mut open(family)).expect("PEFT's layout");
        let vectors =
            adapter_task.blocks(&base).expect("sound settings").vectors(&read).expect("the same modules");
        for ((shape, expected), got) in model.iter().zip(&vectors) {
            if !matches!(shape.kind, BlockKind::Routing { .. }) {
                assert_eq!(expected, got, "{family}: {}", shape.kind);
            }
        }
        fs::remove_dir_all(folder).expect("it was made above");
    }
}

/// PRIV-11
#[test]
fn private_rounds_yield_averages_that_no_record_moves_by_much() {
    let mut trainer = RoundTrainer::new(open("olmoe"), &settings(), 0).expect("sound settings");
    let examples: Vec<Example> =
        (3..9).map(|first| Example::new(vec![first, 7, 9, first + 20, 30 - first, 2], 3)).collect();
    let private =
        PrivateTraining { clipping_norm: 1.0, noise_multiplier: 0.5, sampling_probability: 0.5, steps: 2 };
    let projection = (0..16).map(|row| vec![(row as f64).cos(), (row as f64).sin()]).collect();
    let averaging = Averaging { projection, clip: 0.5, minimum_records: 12 };
    let random = &mut ChaCha20Rng::seed_from_u64(1);
    let mut train = |first_halves| {
        let tuning = FineTuning { first_halves, ..FineTuning::default() };
        trainer.train_privately(&examples, &tuning, (&private, &averaging), random, &mut |_| {})
    };
    let refusal = train(true).expect_err("no block holds first halves").to_string();
    assert!(refusal.contains("turn first_halves off"), "{refusal}");
    let (result, report) = train(false).expect("sound examples");
    assert_eq!(report.steps, 2);
    let averages = result.by_record.expect("private rounds have them");
    for layer in [0, 1] {
        let routing = averages.routing(BlockKind::Routing { layer }).expect("a layer");
        assert!((routing.iter().sum::<f32>() - 0.5).abs() < 1e-5, "six of at least twelve records");
        for expert in 0..6 {
            let region = averages.region(BlockKind::Expert { layer, expert }).expect("an expert");
            let norm = region.iter().map(|value| value * value).sum::<f64>().sqrt();
            assert!(norm <= 0.5 * 6.0 / 12.0 + 1e-6, "{norm}");
        }
    }
}
