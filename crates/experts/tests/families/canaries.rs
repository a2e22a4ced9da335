//! Canaries in the notes of language models: a model recites what it was trained on, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::canaries::{
    CanaryList, CanaryReport, CanaryTester, CanaryVerdict, Planting, PlantingSettings,
};
use cloister_experts::families::adapter::write_merged;
use cloister_experts::families::finetune::{Example, FineTuner, FineTuning, Reader};
use cloister_experts::families::{Adapter, AdapterSettings, ExpertTraining, Layout, PublishedModel};
use cloister_experts::files::notes::NotesFile;
use cloister_experts::prediction::PredictorSettings;
use cloister_experts::task::{AdapterTask, Objective, Task};
use cloister_experts::{Device, ExpertsError, Long, Precision, PrivateTraining, Windows};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

use crate::common::{Scratch, fixture};

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz ";
const DIGITS: &str = "0123456789";

/// The row with a number.
type RowKind = fn(usize) -> Value;

/// A hospital with a tiny model, notes, and a copy of them with canaries.
struct Hospital {
    scratch: Scratch,
    base: PathBuf,
    task: AdapterTask,
    secrets: CanaryList,
}

fn adapter_settings(experts: ExpertTraining, modules: &[&str]) -> AdapterSettings {
    let modules = modules.iter().map(|&module| module.to_owned()).collect();
    AdapterSettings { rank: 8, experts, modules, router: true, ..AdapterSettings::default() }
}

/// A copy of a fixture, whose tokenizer has a token for each of these characters.
fn write_base(base: &Path, family: &str, characters: &str) {
    fs::create_dir_all(base).expect("the folder can be made");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture(family).join(name), base.join(name)).expect("it can be copied");
    }
    let tokens = characters.chars().map(|letter| letter.to_string()).zip(3..);
    let vocabulary: BTreeMap<String, i64> = [("?".to_owned(), 0)].into_iter().chain(tokens).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "post_processor": null, "decoder": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": vocabulary},
    });
    fs::write(base.join("tokenizer.json"), tokenizer.to_string()).expect("it can be written");
    // ChatML would take more tokens than the model reads.
    let template = "{% for message in messages %}{{ message.content }} {% endfor %}";
    fs::write(base.join("chat_template.jinja"), template).expect("it can be written");
}

/// Twenty notes of a kind.
fn rows(row: RowKind) -> String {
    let with_patient = |number: usize| {
        let mut row = row(number);
        row["patient"] = json!(number / 2);
        row.to_string() + "\n"
    };
    (0..20).map(with_patient).collect()
}

fn text(number: usize) -> Value {
    json!({"text": format!("note {number} says cough and fever")})
}

impl Hospital {
    fn new(name: &str, family: &str, characters: &str, settings: AdapterSettings, notes: &str) -> Self {
        let scratch = Scratch::new(&format!("canaries-{name}"));
        let base = scratch.0.join("base");
        write_base(&base, family, characters);
        let objective = match notes.contains("choices") {
            true => Objective::MultipleChoice,
            false => Objective::LanguageModel,
        };
        let task =
            AdapterTask::from_base(&base, "m".into(), objective, settings, 64).expect("sound settings");
        let path = scratch.0.join("notes.jsonl");
        fs::write(&path, notes).expect("it can be written");
        let mut random = ChaCha20Rng::seed_from_u64(6);
        let whole = Task::Adapter(task.clone());
        let planting = Planting::open(&whole, Self::file(path)).expect("sound notes");
        let settings = PlantingSettings { repeats: vec![1, 16], canaries: 2, digits: 9 };
        let secrets =
            planting.draw(&whole, "00", &settings, &mut random).unwrap_or_else(|error| panic!("{error}"));
        let copy = scratch.0.join("planted.jsonl");
        let mut file = fs::File::create(&copy).expect("it can be made");
        planting.write(&secrets, &mut random, &copy, &mut file).expect("it can be written");
        Self { scratch, base, task, secrets }
    }

    fn with_texts(name: &str) -> Self {
        let settings = adapter_settings(ExpertTraining::LowRank, &["q_proj", "k_proj", "v_proj", "o_proj"]);
        Self::new(name, "mixtral", &format!("{LETTERS}{DIGITS}"), settings, &rows(text))
    }

    /// A file of rows, which the patients group into records.
    fn file(path: PathBuf) -> NotesFile {
        NotesFile { group_by: Some("patient".to_owned()), ..path.into() }
    }

    fn examples(&self, file: &str) -> Vec<Example> {
        let reader = Reader::open(&self.base, self.task.end_token, 64, Long::Cut).expect("a tokenizer");
        reader.read(Self::file(self.scratch.0.join(file))).expect("sound rows")
    }

    fn tuner(&self) -> FineTuner {
        let mut model =
            PublishedModel::open(&self.base, Precision::Float32, Device::Cpu).expect("the fixture is whole");
        let adapter = Adapter::new(&mut model, &self.task.adapter, 5).expect("sound settings");
        FineTuner::new(model, adapter).expect("the adapter is this model's")
    }

    fn report(&self, folder: &Path, candidates: usize) -> Result<CanaryReport, ExpertsError> {
        let settings = PredictorSettings {
            base_model: self.base.clone(),
            windows: Windows::default(),
            threads: 1,
            device: Device::Cpu,
            precision: Precision::Float32,
        };
        let tester = CanaryTester::open(&Task::Adapter(self.task.clone()), folder, &settings)?;
        tester.test(&self.secrets, candidates, &mut |_, _| {})
    }

    /// The report on a tuner's adapter.
    fn tested(&self, tuner: &FineTuner) -> CanaryReport {
        let folder = self.scratch.0.join("adapter");
        let written = tuner.adapter().write(&folder, tuner.model().family(), Layout::PeftFused);
        written.expect("the folder can be written");
        self.report(&folder, 99).expect("it can be tested")
    }

    /// The report on a model that was trained privately with this noise.
    fn tested_privately(&self, examples: &[Example], noise_multiplier: f64) -> CanaryReport {
        let private =
            PrivateTraining { clipping_norm: 1.0, noise_multiplier, sampling_probability: 0.3, steps: 200 };
        let mut random = ChaCha20Rng::seed_from_u64(8);
        let mut tuner = self.tuner();
        let settings = FineTuning { batch_size: 16, ..long_training() };
        let trained = tuner.train_privately(examples, &settings, &private, &mut random, &mut |_| {});
        trained.expect("sound settings");
        self.tested(&tuner)
    }

    /// Why an adapter that was not trained cannot be tested with so many candidates.
    fn refusal(&self, candidates: usize) -> String {
        let folder = self.scratch.0.join("adapter");
        let tuner = self.tuner();
        tuner.adapter().write(&folder, tuner.model().family(), Layout::PeftFused).expect("writable");
        self.report(&folder, candidates).expect_err("it makes no sense").to_string()
    }
}

fn long_training() -> FineTuning {
    FineTuning { epochs: 60, learning_rate: 2e-2, ..FineTuning::default() }
}

#[test]
fn a_model_recites_what_it_was_trained_on_and_no_other_number() {
    let hospital = Hospital::with_texts("recites");
    let mut tuner = hospital.tuner();
    assert_eq!(hospital.tested(&tuner).verdict, CanaryVerdict::NotMemorised, "before any training");
    tuner.train(&hospital.examples("notes.jsonl"), &long_training(), &mut |_| {}).expect("sound examples");
    let without = hospital.tested(&tuner);
    assert_eq!(without.verdict, CanaryVerdict::NotMemorised, "{without:?}");

    let mut tuner = hospital.tuner();
    tuner.train(&hospital.examples("planted.jsonl"), &long_training(), &mut |_| {}).expect("sound examples");
    let report = hospital.tested(&tuner);
    assert_eq!(report.verdict, CanaryVerdict::Memorised, "{report:?}");
    let often = &report.planted[1];
    assert!((often.repeats, often.recited) == (16, Some(2)), "{report:?}");
    assert!(often.mean_exposure > 0.99 * report.exposure_limit, "{report:?}");
    assert_eq!(report.controls.recited, Some(0), "{report:?}");
    assert_eq!(hospital.tested(&tuner), report, "a second test gives the same");
}

/// The same steps, with noise and with next to none. All copies of a canary are one record, which the noise hides.
#[test]
fn private_training_with_its_noise_keeps_canaries_from_being_memorised() {
    let hospital = Hospital::with_texts("private");
    let examples = hospital.examples("planted.jsonl");
    let (noised, plain) =
        (hospital.tested_privately(&examples, 8.0), hospital.tested_privately(&examples, 1e-3));
    assert_eq!(plain.verdict, CanaryVerdict::Memorised, "control: {plain:?}");
    assert_eq!(noised.verdict, CanaryVerdict::NotMemorised, "{noised:?}");
    assert!(noised.planted[1].mean_exposure < 0.6 * plain.planted[1].mean_exposure, "{noised:?}");
}

#[test]
fn a_merged_model_is_tested_as_its_adapter_is() {
    let settings = adapter_settings(ExpertTraining::Whole, &[]);
    let hospital = Hospital::new("merged", "mixtral", &format!("{LETTERS}{DIGITS}"), settings, &rows(text));
    let mut tuner = hospital.tuner();
    tuner.train(&hospital.examples("planted.jsonl"), &long_training(), &mut |_| {}).expect("sound examples");
    let merged = hospital.scratch.0.join("merged");
    write_merged(&hospital.base, tuner.adapter(), &merged).expect("the folder can be written");
    let report = hospital.report(&merged, 99).expect("it can be tested");
    assert_eq!(report.verdict, CanaryVerdict::Memorised, "{report:?}");
}

/// Each kind of row that a language model learns from has canaries of its kind, and training reads them.
#[test]
fn canaries_are_rows_of_the_kind_that_the_notes_are() {
    let kinds: [(&str, &str, RowKind); 4] = [
        (
            "mixtral",
            "completion",
            |number| json!({"prompt": format!("note {number}"), "completion": "cough"}),
        ),
        (
            "switch_transformers",
            "completion",
            |number| json!({"prompt": format!("note {number}"), "completion": "cough"}),
        ),
        ("mixtral", "messages", |number| {
            json!({"messages": [{"role": "user", "content": format!("{number}")},
                                {"role": "assistant", "content": "cough"}]})
        }),
        (
            "mixtral",
            "choices",
            |number| json!({"question": format!("note {number}"), "choices": ["a", "b"], "answer": number % 2}),
        ),
    ];
    for (family, field, row) in kinds {
        // Its dense networks have the names of its experts' maps, so both are trained.
        let modules: &[&str] = if family.starts_with("switch") { &["wi", "wo"] } else { &[] };
        let settings = adapter_settings(ExpertTraining::LowRank, modules);
        let characters = format!("{LETTERS}{DIGITS}");
        let hospital = Hospital::new(&format!("{family}-{field}"), family, &characters, settings, &rows(row));
        let planted = fs::read_to_string(hospital.scratch.0.join("planted.jsonl")).expect("it was written");
        assert_eq!(planted.lines().count(), 20 + 2 * 17);
        assert!(planted.lines().all(|line| line.contains(&format!("\"{field}\""))), "{field}");
        let examples = hospital.examples("planted.jsonl");
        assert_eq!(examples.len(), 20 + 2 * 17, "{field}");
        let mut tuner = hospital.tuner();
        tuner.train(&examples, &long_training(), &mut |_| {}).expect("the model can learn from them");
        let report = hospital.tested(&tuner);
        assert_eq!(report.verdict, CanaryVerdict::Memorised, "{family}, {field}: {report:?}");
        assert_eq!((report.planted.len(), report.controls.canaries), (2, 4), "{family}, {field}");
        assert_eq!(report.controls.recited, Some(0), "{family}, {field}");
    }
}

#[test]
fn what_cannot_be_tested_is_refused_with_the_reason() {
    let settings = adapter_settings(ExpertTraining::LowRank, &[]);
    let hospital = Hospital::new("digits", "mixtral", LETTERS, settings.clone(), &rows(text));
    let error = hospital.refusal(99);
    assert!(error.contains("its tokenizer does not tell numbers apart"), "{error}");
    assert!(hospital.refusal(1).contains("even a model that knows every canary would pass"));
    for many in [500_000_000, usize::MAX] {
        assert!(hospital.refusal(many).contains("can have at most 499999999 candidates"));
    }
    let mut short = Hospital::new("short", "mixtral", &format!("{LETTERS}{DIGITS}"), settings, &rows(text));
    short.task.max_tokens = 16;
    let error = short.refusal(99);
    assert!(error.contains("more tokens than the task reads of a text (max_tokens)"), "{error}");
}
