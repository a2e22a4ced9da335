//! Federations that answer multiple-choice questions, with a tiny random model.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_experts::Device;
use cloister_lab::{Config, LabError, RunEnvironment, RunSummary, run};
use serde_json::json;

/// Words of the tiny tokenizer, each a token of its own.
const WORDS: [&str; 16] = [
    "?",
    "Question:",
    "Answer:",
    "red",
    "blue",
    "green",
    "sun",
    "sea",
    "leaf",
    "hot",
    "wet",
    "soft",
    "one",
    "two",
    "six",
    "ten",
];
/// Words that are asked about, each with its right answer.
const PAIRS: [(&str, &str); 3] = [("sun", "hot"), ("sea", "wet"), ("leaf", "soft")];

/// A model that reads those words, questions whose answer follows from one word, and the folders of a run.
fn folders(name: &str) -> RunEnvironment {
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("questions-{name}"));
    let _ = fs::remove_dir_all(&data);
    let model = data.join("model");
    fs::create_dir_all(&model).expect("the folder of the tests can be written to");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures/mixtral");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture.join(file), model.join(file)).expect("the fixture is whole");
    }
    let vocabulary: serde_json::Map<_, _> =
        WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": vocabulary},
    });
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).expect("the folder can be written");
    let question = |number: usize| {
        let (asked, answer) = PAIRS[number % 3];
        let colour = WORDS[3 + number / 3 % 3];
        let wrong = PAIRS[(number + 1 + number / 9 % 2) % 3].1;
        let right = number / 5 % 2;
        let choices = if right == 0 { [answer, wrong] } else { [wrong, answer] };
        let row = json!({"subject": colour, "question": format!("{colour} {asked}"), "choices": choices, "answer": right});
        format!("{row}\n")
    };
    fs::write(data.join("questions.jsonl"), (0..180).map(question).collect::<String>()).expect("a file");
    let minilm = data.join("none");
    RunEnvironment {
        trainer: None,
        minilm,
        device: Device::Cpu,
        cache: data.join("cache"),
        out: data.join("out"),
        data,
    }
}

fn config(folders: &RunEnvironment, settings: &[&str]) -> Config {
    let text = format!(
        "dataset = \"q\"\n[data]\ntrain = [\"questions.jsonl\"]\nmax_tokens = 16\n[partition]\nmembers = 5\n\
         alpha = 0.5\nseeds = [0]\n[head]\nkind = \"none\"\n[model]\nfolder = {:?}\nrank = 4\n\
         [strategy]\nname = \"FedAvg\"\nnum_rounds = 4\nlocal_epochs = 3\nbatch_size = 8\nlearning_rate = 3e-2",
        folders.data.join("model")
    );
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    Config::parse(&text, "the test", &settings).expect("a configuration")
}

fn measured(folders: &RunEnvironment, settings: &[&str]) -> RunSummary {
    let out = folders.out.join(settings.concat().replace('=', "-"));
    let folders = RunEnvironment { out, ..folders.clone() };
    run(&config(&folders, settings), &folders, None, &mut |_| ()).expect("it runs")
}

#[test]
fn members_learn_to_answer_and_masks_change_nothing() {
    let folders = folders("learn");
    let plain = measured(&folders, &["strategy.name=FedAvg"]);
    let before = plain.measured[0].rounds[0].accuracy.expect("the model answers before training");
    assert!(before < 0.8 && plain.mean > 0.95, "{before} {}", plain.mean);
    let masked = measured(&folders, &["strategy.name=FedAvg", "secure=true"]);
    assert!((masked.mean - plain.mean).abs() < 0.03, "{} {}", masked.mean, plain.mean);
    let aligned = measured(&folders, &["strategy.name=FedAlignMoE", "secure=true"]);
    assert!(aligned.mean > 0.9, "{}", aligned.mean);
    assert!(aligned.measured[0].rounds.iter().skip(1).all(|round| round.aligned.is_some()));
}

#[test]
fn every_strategy_trains_such_a_model() {
    let folders = folders("strategies");
    for name in ["Centralised", "FedProx", "FrozenRouter", "LocalRouters", "FedMoE"] {
        let summary = measured(&folders, &[&format!("strategy.name={name}"), "strategy.num_rounds=2"]);
        let rounds = &summary.measured[0].rounds;
        assert!(rounds[2].loss < rounds[1].loss, "{name}: {rounds:?}");
    }
}

#[test]
fn rows_that_are_no_questions_and_settings_that_make_no_sense_are_named() {
    let folders = folders("refused");
    let head =
        Config::parse("dataset = \"q\"\n[data]\ntrain = [\"a\"]\n[model]\nfolder = \"m\"", "the test", &[]);
    assert!(head.expect_err("it has the default head").to_string().contains("head.kind = \"none\""));
    fs::write(folders.data.join("questions.jsonl"), "{\"question\": \"a\"}\n").expect("a file");
    let error = run(&config(&folders, &[]), &folders, None, &mut |_| ()).expect_err("no question");
    assert!(matches!(error, LabError::Notes(_)), "{error:?}");
    assert!(error.to_string().contains("questions.jsonl, line 1: a question has the fields"), "{error}");
}
