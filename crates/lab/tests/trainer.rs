//! A Python program as every member's local step.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloister_experts::Device;
use cloister_experts::files::notes::Note;
use cloister_experts::synthetic::{self, Style};
use cloister_lab::{Config, LabError, RunEnvironment, run};
use cloister_trainer::TrainerProgram;

const CONFIG: &str = r#"
dataset = "notes"
secure = true

[data]
train = ["notes.jsonl"]
max_tokens = 24

[partition]
division = "iid"
members = 5
seeds = [0]

[head]
kind = "none"

[model]
experts = 3
rank = 2

[strategy]
name = "FedAvg"
num_rounds = 2
batch_size = 4
learning_rate = 1e-2
balanced = false
"#;

fn config(settings: &[&str]) -> Config {
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    Config::parse(CONFIG, "the test", &settings).expect("a configuration")
}

/// The environment of a run with a program; `None` without weights.
fn environment(name: &str, command: &[&str]) -> Option<RunEnvironment> {
    let Some(minilm) = std::env::var_os("CLOISTER_MINILM").map(PathBuf::from) else {
        eprintln!("SKIPPED: CLOISTER_MINILM names no folder with MiniLM's weights");
        return None;
    };
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(&data).expect("the folder of the tests can be written to");
    let line = |note: &Note| format!("{}\n", serde_json::json!({ "text": note.text, "label": note.label }));
    let notes = synthetic::generate(160, &[1.0; 8], Style::Bullets, 1);
    fs::write(data.join("notes.jsonl"), notes.iter().map(line).collect::<String>()).expect("a file");
    let trainer = TrainerProgram {
        command: command.iter().map(|&part| part.to_owned()).collect(),
        timeout: Duration::from_secs(300),
        environment: vec![],
        folder: data.join("job"),
    };
    let (cache, out) = (data.join("cache"), data.join("out"));
    Some(RunEnvironment { data, minilm, device: Device::Cpu, cache, out, trainer: Some(trainer) })
}

#[test]
fn every_hospital_of_a_run_may_train_with_a_program() {
    let Some(python) = std::env::var_os("CLOISTER_TRAINER_PYTHON").and_then(|path| path.into_string().ok())
    else {
        eprintln!(
            "SKIPPED: CLOISTER_TRAINER_PYTHON names no Python with numpy; `cargo xtask test` installs it"
        );
        return;
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/trainers/numpy_head.py");
    let Some(environment) = environment("trainer", &[&python, &program.display().to_string()]) else {
        return;
    };
    let with_program = run(&config(&[]), &environment, None, &mut |_| ()).expect("it runs");
    let rounds = &with_program.measured[0].rounds;
    assert!(rounds.len() == 3 && rounds[2].loss < rounds[1].loss, "it learns: {rounds:?}");
    assert!(with_program.mean > 0.2, "of eight classes: {}", with_program.mean);
    assert!(!environment.out.join("seed-0.trainer").exists(), "members' texts are removed");
    let manifest = fs::read_to_string(environment.out.join("manifest.json")).expect("it was written");
    assert!(manifest.contains("numpy_head.py"), "{manifest}");
    // The run with the program is another run, so that neither is taken for the other's result.
    let built_in = RunEnvironment { trainer: None, ..environment };
    let built_in = run(&config(&[]), &built_in, None, &mut |_| ()).expect("it runs");
    assert_ne!(built_in.measured[0].run, with_program.measured[0].run);
}

#[test]
fn what_a_program_cannot_be_told_is_refused_by_name() {
    let Some(environment) = environment("trainer-refused", &["true"]) else {
        return;
    };
    let refused = [
        (&["strategy.balanced=true"][..], "strategy.balanced"),
        (&["head.kind=lda"], "head.kind"),
        (&["strategy.private.noise_multiplier=1", "secure=false"], "strategy.private"),
        (&["strategy.head_every=1"], "strategy.head_every"),
        (&["strategy.name=FedProx"], "strategy.proximal"),
        (&["strategy.name=FrozenRouter"], "frozen"),
        (&["model.precision=bfloat16"], "model.precision"),
    ];
    for (settings, name) in refused {
        match run(&config(settings), &environment, None, &mut |_| ()) {
            Err(LabError::Config { reason, .. }) => assert!(reason.contains(name), "{reason}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    // Control: without them the program is started, and leaves no result.
    let started = run(&config(&[]), &environment, None, &mut |_| ());
    assert!(matches!(started, Err(LabError::Trainer(_))), "{started:?}");
}
