//! Canaries in a copy of a hospital's notes, and a classifier that learnt from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::canaries::{
    CanaryList, CanaryReport, CanaryTester, CanaryVerdict, Planting, PlantingSettings,
};
use cloister_experts::files::notes::{NoteReader, NotesFile, read_notes};
use cloister_experts::prediction::PredictorSettings;
use cloister_experts::synthetic::{self, Style};
use cloister_experts::task::Task;
use cloister_experts::{
    Device, Encoder, ExpertsError, LocalTraining, ModelConfig, Precision, Trainer, Windows,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("canaries-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder of the tests can be written to");
    folder
}

fn task(classes: &[&str]) -> Task {
    Task::Classifier(ModelConfig::new(classes.iter().map(|&class| class.to_owned()).collect()))
}

fn settings(repeats: &[usize], canaries: usize) -> PlantingSettings {
    PlantingSettings { repeats: repeats.to_vec(), canaries, digits: 9 }
}

/// A copy of a file of notes with canaries, and their secrets.
fn planted(
    task: &Task,
    notes: NotesFile,
    settings: &PlantingSettings,
    seed: u64,
) -> Result<(PathBuf, CanaryList), ExpertsError> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let copy = notes.path.with_file_name("planted.jsonl");
    let planting = Planting::open(task, notes)?;
    let secrets = planting.draw(task, "00", settings, &mut random)?;
    let mut file = fs::File::create(&copy).expect("it can be made");
    planting.write(&secrets, &mut random, &copy, &mut file)?;
    Ok((copy, secrets))
}

fn refusal(task: &Task, notes: NotesFile, settings: &PlantingSettings) -> String {
    planted(task, notes, settings, 1).err().expect("it makes no sense").to_string()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("it was written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn nothing_but_canaries_is_added_to_the_notes() {
    let folder = folder("added");
    let table = folder.join("notes.csv");
    let rows: String = (0..50).map(|n| format!("note {n}; \"\"quoted\"\",{},x\n", n % 2)).collect();
    let rows = rows.replace("note", "\"note").replace("\"\",", "\"\"\",");
    fs::write(&table, format!("text,label,other\n{rows}")).expect("it can be written");
    let task = task(&["0", "1"]);
    let (copy, secrets) = planted(&task, (&table).into(), &settings(&[1, 4], 3), 2).expect("sound notes");
    let before = read_notes(&table).expect("sound notes");
    let after = read_notes(&copy).expect("a copy is read as the notes are");
    assert_eq!((before.len(), after.len(), secrets.copies()), (50, 65, 15));
    let is_canary = |text: &str| secrets.canaries().iter().position(|canary| text.ends_with(&canary.secret));
    let rest: Vec<_> = after.iter().filter(|note| is_canary(&note.text).is_none()).cloned().collect();
    assert_eq!(rest, before, "the notes, in their order");
    let mut found: BTreeMap<usize, usize> = BTreeMap::new();
    for note in &after {
        let Some(number) = is_canary(&note.text) else { continue };
        *found.entry(number).or_default() += 1;
        let canary = &secrets.canaries()[number];
        assert_eq!(Some(&note.label), canary.class.as_ref());
        assert_eq!(note.text, format!("{} {}", canary.carrier, canary.secret));
    }
    for (number, canary) in secrets.canaries().iter().enumerate() {
        assert_eq!(found.get(&number).copied().unwrap_or(0), canary.repeats, "controls are never planted");
    }
    let controls = secrets.canaries().iter().filter(|canary| canary.repeats == 0).count();
    assert_eq!(controls, 6, "as many as canaries");
}

#[test]
fn the_copies_of_a_canary_are_one_record_and_no_patients() {
    let folder = folder("records");
    let path = folder.join("notes.jsonl");
    let row = |n: usize| json!({"text": format!("note {n}"), "label": "a", "patient": n / 3}).to_string();
    fs::write(&path, (0..12).map(row).collect::<Vec<_>>().join("\n")).expect("it can be written");
    let task = task(&["a", "b"]);
    let notes = NotesFile { group_by: Some("patient".to_owned()), ..path.into() };
    let (copy, _) = planted(&task, notes.clone(), &settings(&[2, 5], 2), 3).expect("sound notes");
    let mut reader =
        NoteReader::open(NotesFile { group_by: notes.group_by.clone(), ..copy.into() }).expect("a copy");
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    while let Some(note) = reader.next() {
        note.expect("each row has a patient");
        *sizes.entry(reader.record()).or_default() += 1;
    }
    let mut sizes: Vec<usize> = sizes.into_values().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 2, 3, 3, 3, 3, 5, 5]);
    let by_label = NotesFile { group_by: Some("label".to_owned()), ..notes };
    let error = refusal(&task, by_label, &settings(&[1], 1));
    assert!(error.contains("“label” cannot group rows into records here"), "{error}");
}

/// Two notes and two copies have six orders. Each comes up in about a sixth of 600 plantings.
#[test]
fn every_set_of_places_is_equally_likely() {
    let folder = folder("places");
    let path = folder.join("notes.jsonl");
    fs::write(&path, "{\"text\": \"x\", \"label\": \"a\"}\n".repeat(2)).expect("it can be written");
    let mut orders: BTreeMap<Vec<bool>, usize> = BTreeMap::new();
    for seed in 0..600 {
        let (copy, _) =
            planted(&task(&["a", "b"]), (&path).into(), &settings(&[2], 1), seed).expect("sound notes");
        *orders.entry(lines(&copy).iter().map(|line| line["text"] == "x").collect()).or_default() += 1;
    }
    assert_eq!(orders.len(), 6);
    assert!(orders.values().all(|count| (65..140).contains(count)), "{orders:?}");
}

#[test]
fn what_cannot_be_planted_is_refused_with_the_reason() {
    let folder = folder("refused");
    let path = folder.join("notes.jsonl");
    fs::write(&path, "{\"text\": \"x\", \"label\": \"a\"}\n{\"text\"").expect("it can be written");
    let task = task(&["a", "b"]);
    let error = refusal(&task, (&path).into(), &settings(&[1], 1));
    assert!(error.contains("notes.jsonl, line 2"), "{error}");
    fs::write(&path, "").expect("it can be written");
    assert!(refusal(&task, (&path).into(), &settings(&[1], 1)).contains("holds no notes"));
    fs::write(&path, "{\"text\": \"x\", \"label\": \"a\"}\n").expect("it can be written");
    for (settings, reason) in [
        (settings(&[], 1), "at least one canary"),
        (settings(&[0, 1], 1), "at least one canary"),
        (settings(&[1], 0), "at least one canary"),
        (settings(&[4, 4], 1), "given twice"),
        (settings(&[usize::MAX], 2), "plant fewer"),
        (PlantingSettings { digits: 2, ..settings(&[1], 1) }, "from 3 to 15 digits, not 2"),
        (PlantingSettings { digits: 16, ..settings(&[1], 1) }, "from 3 to 15 digits, not 16"),
        (PlantingSettings { digits: 3, ..settings(&[1, 2], 126) }, "too few numbers of 3 digits"),
    ] {
        let error = refusal(&task, (&path).into(), &settings);
        assert!(error.contains(reason), "{error}");
    }
}

/// FILE-01
#[test]
fn secrets_are_read_again_and_other_files_are_named() {
    let folder = folder("secrets");
    let path = folder.join("notes.jsonl");
    fs::write(&path, "{\"text\": \"x\", \"label\": \"a\"}\n").expect("it can be written");
    let (_, secrets) =
        planted(&task(&["a", "b"]), (&path).into(), &settings(&[1], 2), 1).expect("sound notes");
    let text = secrets.to_text();
    assert!(CanaryList::parse(&text).expect("what was written") == secrets);
    secrets.check_task("00").expect("it is the task");
    let error = secrets.check_task("11").expect_err("another task").to_string();
    assert!(error.contains("planted for the task 00, and the task file is 11"), "{error}");
    let refused = |text: &str| CanaryList::parse(text).err().expect("it is not sound").to_string();
    let later = refused(&text.replace("canaries/v1", "canaries/v2").replace("seed", "seeds"));
    assert!(later.contains("a later version of the program wrote it; install that version"), "{later}");
    assert!(refused("{}").contains("not a file of canaries' secrets"));
    let secret = &secrets.canaries()[0].secret;
    for broken in [
        text.replace("\"seed\": ", "\"seed\": \""),
        text.replace(&format!("\"{secret}\""), secret),
        text.replace(secret, "12345"),
        text.replace("\"digits\": 9", "\"digits\": 8"),
        text.replace("\"repeats\": 1", "\"repeats\": 0"),
        text.replace("\"repeats\": 0", "\"repeats\": 1"),
    ] {
        let error = refused(&broken);
        assert!(error.contains("restore the file") && !error.contains(secret.as_str()), "{error}");
    }
}

/// Trains MiniLM on a file of notes, and tests it.
fn tested(minilm: &Path, task: &Task, notes: &Path, secrets: &CanaryList) -> CanaryReport {
    let Task::Classifier(config) = task else { panic!("a classifier") };
    let encoder = Encoder::open(minilm, config.clone(), 1, Device::Cpu).expect("the weights are there");
    let features = encoder.features(&read_notes(notes).expect("sound notes")).expect("sound labels");
    let mut trainer = Trainer::new(&encoder, features);
    let settings = LocalTraining { epochs: 12, learning_rate: 3e-3, ..LocalTraining::default() };
    trainer.train(&settings, &mut |_| {}).expect("training works");
    let folder = notes.parent().expect("it is in a folder");
    let model = task.write(minilm, &trainer.blocks().expect("finite"), folder).expect("it can be written");
    let settings = PredictorSettings {
        base_model: minilm.to_owned(),
        windows: Windows::default(),
        threads: 1,
        device: Device::Cpu,
        precision: Precision::Float32,
    };
    let tester = CanaryTester::open(task, &model, &settings).expect("it was just written");
    tester.test(secrets, 99, &mut |_, _| {}).expect("it can be tested")
}

#[test]
fn a_classifier_knows_the_classes_of_canaries_that_it_was_trained_on() {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM").map(PathBuf::from) else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return;
    };
    let folder = folder("classifier");
    let path = folder.join("notes.jsonl");
    let notes = synthetic::generate(24, &[1.0; 8], Style::Bullets, 1);
    let rows: Vec<String> = notes.iter().map(|note| json!(note).to_string()).collect();
    fs::write(&path, rows.join("\n")).expect("it can be written");
    let task = task(&synthetic::CLASSES);
    let (copy, secrets) = planted(&task, (&path).into(), &settings(&[16], 3), 4).expect("sound notes");
    let (without, with) = (tested(&minilm, &task, &path, &secrets), tested(&minilm, &task, &copy, &secrets));
    assert_eq!(without.verdict, CanaryVerdict::NotMemorised, "{without:?}");
    assert_eq!(with.verdict, CanaryVerdict::Memorised, "{with:?}");
    assert_eq!(with.planted[0].recited, None, "a classifier writes nothing");
}
