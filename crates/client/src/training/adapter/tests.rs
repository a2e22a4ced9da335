//! Rounds in process, with a tiny published model.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::families::{Adapter, AdapterSettings, ExpertTraining, PublishedModel};
use cloister_experts::prediction::{PredictedRow, Predictor, PredictorSettings};
use cloister_experts::task::Task;
use cloister_experts::{Averaging, Device, Precision, PrivateTraining, Windows};
use cloister_params::block::BlockKind;

use super::*;
use crate::data_folder::DataKind;

const CLASSES: [&str; 2] = ["heart", "lung"];

/// An empty folder that is removed in the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A folder with the tiny OLMoE of the fixtures as `base`, which has a token for each letter.
fn scratch(name: &str) -> Scratch {
    let folder = std::env::temp_dir().join(format!("cloister-classes-{}-{name}", std::process::id()));
    let base = folder.join("base");
    fs::create_dir_all(&base).expect("a temporary folder can be made");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures/olmoe");
    for entry in fs::read_dir(fixture).expect("the fixture is committed") {
        let path = entry.expect("it can be listed").path();
        if path.is_file() {
            fs::copy(&path, base.join(path.file_name().expect("a file"))).expect("it can be copied");
        }
    }
    let letters = "abcdefghijklmnopqrstuvwxyz ".chars().map(|letter| letter.to_string()).zip(3..);
    // A token was added, and the model not resized.
    let others = [("?".to_owned(), 0), ("é".to_owned(), 100_000)];
    let vocabulary: BTreeMap<String, i64> = others.into_iter().chain(letters).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "post_processor": null, "decoder": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": vocabulary},
    });
    fs::write(base.join("tokenizer.json"), tokenizer.to_string()).expect("the folder can be written");
    Scratch(folder)
}

/// A row for each text, whose label follows from its first letter.
fn write_rows(path: &Path, texts: &[&str]) {
    let label = |text: &str| CLASSES[usize::from(text.starts_with('l'))];
    let row = |text: &&str| format!("{}\n", serde_json::json!({"text": text, "label": label(text)}));
    fs::write(path, texts.iter().map(row).collect::<String>()).expect("the folder can be written");
}

fn task(scratch: &Scratch, experts: ExpertTraining) -> AdapterTask {
    let classes = CLASSES.map(str::to_owned).to_vec();
    let settings = AdapterSettings { experts, router: true, classes, ..AdapterSettings::default() };
    AdapterTask::from_base(&scratch.0.join("base"), "OLMoE".into(), Objective::Classification, settings, 8)
        .expect("the fixture is whole")
}

fn config(scratch: &Scratch, task: &AdapterTask, member: usize, windows: Windows) -> TrainingConfig {
    TrainingConfig {
        task: Task::Adapter(task.clone()),
        base_model: scratch.0.join("base"),
        precision: Precision::Float32,
        recompute_layers: false,
        notes: scratch.0.join(format!("{member}.jsonl")).into(),
        held_out: scratch.0.join("held-out.jsonl").into(),
        part: 0,
        parts: 2,
        windows,
        threads: 1,
        device: Device::Cpu,
        compare_local: false,
        write_each_model: false,
        folder: scratch.0.clone(),
        program: None,
    }
}

/// Two members, one of which sees one class alone.
fn members(scratch: &Scratch, task: &AdapterTask) -> Vec<AdapterTrainer> {
    write_rows(&scratch.0.join("0.jsonl"), &["hab", "hcdef", "hbbbbbbbbbbb"]);
    write_rows(&scratch.0.join("1.jsonl"), &["lab", "lcdef", "lcc", "hcc"]);
    write_rows(&scratch.0.join("held-out.jsonl"), &["hba", "lba", "lda", "hda"]);
    let open = |member| {
        let config = config(scratch, task, member, Windows::default());
        AdapterTrainer::open(&config, task, &mut |_| ()).expect("sound rows")
    };
    (0..2).map(open).collect()
}

/// The model after a round: the mean of what its members learnt.
fn round(members: &mut [AdapterTrainer], global: &BlockVectors) -> BlockVectors {
    let settings = LocalTraining { epochs: 4, learning_rate: 2e-2, ..LocalTraining::default() };
    let mut train = |member: &mut AdapterTrainer| {
        member.train(global, &settings, None, &mut |_, _| ()).expect("training works").result.updates
    };
    let updates: Vec<BlockVectors> = members.iter_mut().map(&mut train).collect();
    global.map(|shape, values| {
        let moved = |place: usize| {
            let sum: f32 = updates.iter().map(|update| update[shape.id][place]).sum();
            let before = if matches!(shape.kind, BlockKind::Routing { .. }) { 0.0 } else { values[place] };
            before + sum / updates.len() as f32
        };
        (0..values.len()).map(moved).collect()
    })
}

fn accuracy(member: &mut AdapterTrainer, model: &BlockVectors, rows: HeldOut) -> Accuracy {
    let found = member.evaluate(model, rows).expect("sound rows");
    assert_eq!(found.counted, Counted::Notes);
    found
}

#[test]
fn members_learn_classes_together_with_low_rank_and_with_whole_experts() {
    for experts in [ExpertTraining::LowRank, ExpertTraining::Whole] {
        let scratch = scratch(&format!("{experts:?}"));
        let task = task(&scratch, experts);
        let mut members = members(&scratch, &task);
        let rows = RowCounts { notes: 3, records: 3, truncated: 1 };
        assert_eq!(members[0].rows(), Some(rows), "one of three is longer than 8 tokens");
        let agreed = Task::Adapter(task);
        let base = scratch.0.join("base");
        let mut model = agreed.initial(&base).expect("the fixture is whole");
        let before = accuracy(&mut members[0], &model, HeldOut::All);
        assert!((before.loss.expect("classes are predicted") - 2_f64.ln()).abs() < 1e-6);
        for _ in 0..6 {
            model = round(&mut members, &model);
        }
        let after = accuracy(&mut members[0], &model, HeldOut::All);
        assert_eq!((after.correct, after.total), (4, 4), "{experts:?}: {after:?}");
        assert_eq!(accuracy(&mut members[1], &model, HeldOut::Part).total, 2);
        assert!(after.loss < before.loss, "{experts:?}: {after:?}");
        let written = agreed.write(&base, &model, &scratch.0).expect("the folder can be written");
        let name = written.file_name().expect("a name");
        assert_eq!(DataKind::new(name, false), DataKind::Model, "a withdrawal erases it");
        let mut opened =
            PublishedModel::open(&base, Precision::Float32, Device::Cpu).expect("the fixture is whole");
        match experts {
            ExpertTraining::Whole => assert!(written.join("config.json").exists()),
            _ => assert_eq!(Adapter::read(&written, &mut opened).expect("PEFT's layout").classes, CLASSES),
        }
    }
}

/// How many held-out rows a written model predicts as labelled, and how many there are.
fn predicted(scratch: &Scratch, task: &Task, written: &Path) -> (usize, usize) {
    let settings = PredictorSettings {
        base_model: scratch.0.join("base"),
        windows: Windows::default(),
        threads: 1,
        device: Device::Cpu,
        precision: Precision::Float32,
    };
    let predictor = Predictor::open(task, written, &settings).expect("the task's model");
    let held_out = scratch.0.join("held-out.jsonl");
    let mut predictions = predictor.predictions(&held_out, Some("label")).expect("sound rows");
    let rows = predictions.next_rows().expect("numbers");
    let is_right =
        |row: &PredictedRow| Some(predictor.classes()[row.scores.class].as_str()) == row.id.as_deref();
    let rows: Vec<PredictedRow> = rows.into_iter().map(|row| row.expect("a sound row")).collect();
    assert!(rows.iter().map(|row| row.row).eq(1..=rows.len()));
    assert!(rows.iter().all(|row| (row.scores.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    assert!(predictions.next_rows().expect("the end").is_empty());
    (rows.iter().filter(|row| is_right(row)).count(), rows.len())
}

/// A model that is applied says of each text what the evaluation counted, whatever it has learnt so far.
#[test]
fn predictions_are_those_of_the_evaluation() {
    for experts in [ExpertTraining::LowRank, ExpertTraining::Whole] {
        let scratch = scratch(&format!("predicted-{experts:?}"));
        let task = task(&scratch, experts);
        let mut members = members(&scratch, &task);
        let agreed = Task::Adapter(task);
        let base = scratch.0.join("base");
        let mut model = agreed.initial(&base).expect("the fixture is whole");
        let mut seen = Vec::new();
        for step in 0..4 {
            let Accuracy { correct, total, .. } = accuracy(&mut members[0], &model, HeldOut::All);
            let folder = scratch.0.join(format!("round-{step}"));
            let written = agreed.write(&base, &model, &folder).expect("the folder can be written");
            assert_eq!(predicted(&scratch, &agreed, &written), (correct, total), "{experts:?}");
            seen.push(correct);
            model = round(&mut members, &model);
        }
        assert!(seen.iter().any(|correct| *correct != seen[0]), "{experts:?}: the model changes: {seen:?}");
    }
}

/// TASK-01, and a model of other classes: each prediction would be called by a wrong name.
#[test]
fn only_the_task_s_model_and_base_predict() {
    let scratch = scratch("other-task");
    let task = task(&scratch, ExpertTraining::LowRank);
    let agreed = Task::Adapter(task.clone());
    let base = scratch.0.join("base");
    let model = agreed.initial(&base).expect("the fixture is whole");
    let written = agreed.write(&base, &model, &scratch.0).expect("the folder can be written");
    let settings = PredictorSettings {
        base_model: base.clone(),
        windows: Windows::default(),
        threads: 1,
        device: Device::Cpu,
        precision: Precision::Float32,
    };
    let refused =
        |task: &Task| Predictor::open(task, &written, &settings).err().expect("another task's").to_string();
    assert!(Predictor::open(&agreed, &written, &settings).is_ok(), "control: its own task");
    let mut swapped = task.clone();
    swapped.adapter.classes.reverse();
    assert!(refused(&Task::Adapter(swapped)).contains("was trained for another task"));
    let mut text = task.clone();
    (text.objective, text.adapter.classes) = (Objective::LanguageModel, vec![]);
    assert!(refused(&Task::Adapter(text)).contains("has no classes"));
    fs::write(base.join("config.json"), "{}").expect("the folder can be written");
    assert!(refused(&agreed).contains("config.json"), "another base model");
}

/// PRIV-10: what is drawn, clipped and counted is a patient, where a column names patients.
#[test]
fn rows_are_grouped_into_records_by_a_column() {
    let scratch = scratch("patients");
    let task = task(&scratch, ExpertTraining::LowRank);
    let row = |text: &str, patient: &str| {
        let label = CLASSES[usize::from(text.starts_with('l'))];
        format!("{}\n", serde_json::json!({"text": text, "label": label, "patient": patient}))
    };
    let rows = [row("hab", "p7"), row("lab", "p2"), row("hcc", "p7 "), row("hdd", "p7")];
    fs::write(scratch.0.join("0.jsonl"), rows.concat()).expect("the folder can be written");
    write_rows(&scratch.0.join("held-out.jsonl"), &["hba", "lba"]);
    let mut config = config(&scratch, &task, 0, Windows::default());
    let counts = |config: &TrainingConfig| {
        AdapterTrainer::open(config, &task, &mut |_| ()).expect("sound rows").rows().expect("they were read")
    };
    assert_eq!(counts(&config).records, 4, "each row is a record");
    config.notes.group_by = Some("patient".into());
    assert_eq!(counts(&config), RowCounts { notes: 4, records: 2, truncated: 0 });
    let mut trainer = AdapterTrainer::open(&config, &task, &mut |_| ()).expect("sound rows");
    let model = Task::Adapter(task.clone()).initial(&scratch.0.join("base")).expect("the fixture is whole");
    let width = Task::Adapter(task.clone()).hidden_width(&scratch.0.join("base")).expect("it is whole");
    let private = Private {
        training: PrivateTraining {
            clipping_norm: 1.0,
            noise_multiplier: 1.0,
            sampling_probability: 1.0,
            steps: 3,
        },
        averaging: Averaging { projection: vec![vec![1.0; 2]; width], clip: 1.0, minimum_records: 1 },
    };
    let settings = LocalTraining { batch_size: 2, ..LocalTraining::default() };
    let trained = trainer.train(&model, &settings, Some(&private), &mut |_, _| ()).expect("training works");
    let report = trained.private.expect("it was private");
    assert_eq!((report.steps, report.drawn), (3, 6), "two records in each step, of four rows");
}

#[test]
fn a_label_of_no_class_and_windows_are_refused_before_the_model_is_loaded() {
    let scratch = scratch("refused");
    let task = task(&scratch, ExpertTraining::LowRank);
    write_rows(&scratch.0.join("0.jsonl"), &["hab"]);
    write_rows(&scratch.0.join("held-out.jsonl"), &["hab"]);
    for shard in ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"] {
        fs::remove_file(scratch.0.join("base").join(shard)).expect("it was copied");
    }
    let refused = |windows| {
        let opened = AdapterTrainer::open(&config(&scratch, &task, 0, windows), &task, &mut |_| ());
        opened.err().expect("it makes no sense").to_string()
    };
    let error = refused(Windows { most: 2, overlap: 1 });
    assert!(error.contains("are not split"), "{error}");
    fs::write(scratch.0.join("0.jsonl"), r#"{"text": "hab", "label": "skin"}"#).expect("it can be written");
    let error = refused(Windows::default());
    assert!(error.contains("line 1: its label is not one of the task's classes: heart, lung"), "{error}");
    write_rows(&scratch.0.join("0.jsonl"), &["hab", "hé"]);
    let error = refused(Windows::default());
    assert!(error.contains("0.jsonl, line 2: its text has the token number 100000"), "{error}");
}

/// A round of five hospitals would end without a measurement for one row, which another hospital's part has.
#[test]
fn held_out_rows_that_cannot_be_measured_are_refused_before_the_model_is_loaded() {
    let scratch = scratch("held-out");
    let task = task(&scratch, ExpertTraining::LowRank);
    write_rows(&scratch.0.join("0.jsonl"), &["hab", "lab"]);
    for shard in ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"] {
        fs::remove_file(scratch.0.join("base").join(shard)).expect("it was copied");
    }
    let refused = |rows: &str| {
        fs::write(scratch.0.join("held-out.jsonl"), rows).expect("the folder can be written");
        let config = TrainingConfig { part: 0, parts: 5, ..config(&scratch, &task, 0, Windows::default()) };
        let opened = AdapterTrainer::open(&config, &task, &mut |_| ());
        opened.err().expect("it cannot be measured on").to_string()
    };
    let sound = "{\"text\": \"hab\", \"label\": \"heart\"}\n";
    for (row, words) in [
        ("{\"text\": \"hab\", \"label\": \"skin\"}", "its label is not one of the task's classes"),
        ("{\"text\": \"hé\", \"label\": \"heart\"}", "its text has the token number 100000"),
        ("{\"text\": \"\", \"label\": \"heart\"}", "“text” is empty"),
    ] {
        let error = refused(&format!("{sound}{sound}{row}\n"));
        assert!(error.contains("held-out.jsonl, line 3: ") && error.contains(words), "{error}");
    }
    let last = TrainingConfig { part: 4, parts: 5, ..config(&scratch, &task, 0, Windows::default()) };
    fs::write(scratch.0.join("held-out.jsonl"), sound.repeat(4)).expect("the folder can be written");
    let error = AdapterTrainer::open(&last, &task, &mut |_| ()).err().expect("there are 4 rows").to_string();
    assert!(error.contains("has 4 rows, so the part 4/5 of --evaluate has no row"), "{error}");
}
