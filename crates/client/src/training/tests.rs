//! A program of the hospital's own as the trainer, with real processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloister_experts::Precision;
use cloister_experts::classifier::checkpoint::read_checkpoint;
use cloister_experts::families::AdapterSettings;
use cloister_experts::task::{AdapterTask, Objective, Task};
use cloister_experts::{
    Averaging, BlockVectors, Device, LocalTraining, ModelConfig, PrivateTraining, Windows, initial_blocks,
};
use cloister_params::block::BlockKind;
use cloister_protocol::model::Model;

use super::program::Program;
use super::{HeldOut, LocalTrainer, Private, TrainerProgram, TrainingConfig};
use crate::jobs::{Job, TrainedRound, TrainingThread, WorkerReport};
use crate::training_error::TrainingError;

fn model() -> ModelConfig {
    ModelConfig { rank: 1, ..ModelConfig::new(vec!["a".to_owned(), "b".to_owned()]) }
}

/// The program of the tests with a fault, and the folder of its jobs.
fn program(fault: &str, timeout: Duration) -> (Program, PathBuf) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trainer/tests/trainer.py");
    let command = vec!["python3".to_owned(), script.display().to_string(), fault.to_owned()];
    program_of(command, fault, timeout)
}

fn program_of(command: Vec<String>, fault: &str, timeout: Duration) -> (Program, PathBuf) {
    program_on(Task::Classifier(model()), "minilm".into(), command, (fault, timeout))
}

fn program_on(
    task: Task,
    base_model: PathBuf,
    command: Vec<String>,
    (fault, timeout): (&str, Duration),
) -> (Program, PathBuf) {
    let name = format!("cloister-trainer-{}-{}", std::process::id(), fault.replace(' ', "-"));
    let folder = std::env::temp_dir().join(name);
    let config = config(task, base_model, "data".into());
    let program = TrainerProgram { command, timeout, environment: vec![], folder: folder.clone() };
    (Program::new(&config, &program).expect("its paths can be made absolute"), folder)
}

/// What a hospital trains that writes its model to a folder.
fn config(task: Task, base_model: PathBuf, folder: PathBuf) -> TrainingConfig {
    TrainingConfig {
        task,
        base_model,
        precision: Precision::Float32,
        recompute_layers: false,
        notes: "notes.jsonl".into(),
        held_out: "held-out.jsonl".into(),
        part: 1,
        parts: 3,
        windows: Windows::default(),
        threads: 1,
        device: Device::Cpu,
        compare_local: false,
        write_each_model: false,
        folder,
        program: None,
    }
}

fn global() -> BlockVectors {
    let initial = initial_blocks(&model());
    initial.map(|_, values| values.iter().map(|value| value + 0.25).collect())
}

fn train(fault: &str) -> Result<TrainedRound, TrainingError> {
    let (mut program, folder) = program(fault, Duration::from_secs(60));
    let result = program.train(&global(), &LocalTraining::default(), None, &mut |_, _| ());
    assert!(!folder.exists(), "{fault}: nothing of a job is left");
    result
}

/// TRAIN-04
#[test]
fn a_program_does_not_train_for_a_plan_with_dp_sgd() {
    let (mut program, folder) = program("none", Duration::from_secs(60));
    let training =
        PrivateTraining { clipping_norm: 1.0, noise_multiplier: 1.0, sampling_probability: 0.1, steps: 1 };
    let averaging = Averaging { projection: vec![], clip: 1.0, minimum_records: 1 };
    let private = Private { training, averaging };
    let error = program
        .train(&global(), &LocalTraining::default(), Some(&private), &mut |_, _| ())
        .expect_err("it cannot be held to it");
    assert!(matches!(error, TrainingError::PrivateProgram), "{error}");
    assert!(error.to_string().contains("leave --trainer-cmd out"), "{error}");
    assert!(!folder.exists(), "the program is not even started");
}

#[test]
fn what_a_program_trains_enters_like_the_built_in_trainer_s_result() {
    let (mut program, folder) = program("none", Duration::from_secs(60));
    let mut steps = vec![];
    let trained = program
        .train(&global(), &LocalTraining::default(), None, &mut |step, steps_in_all| {
            steps.push((step, steps_in_all))
        })
        .expect("the program follows the contract");
    assert_eq!(steps, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    assert!(!folder.exists());
    let result = trained.result;
    assert_eq!(result.updates.table(), global().table());
    for (shape, values) in result.updates.iter() {
        match shape.kind {
            BlockKind::Routing { .. } => assert!(values.iter().all(|value| (value - 0.125).abs() < 1e-6)),
            BlockKind::Router { .. } => assert_eq!(values.last(), Some(&0.0), "the reserved coordinate"),
            _ => assert!(values.iter().all(|value| *value == 0.001), "{}", shape.kind),
        }
    }
    assert_eq!((result.regions.len(), result.margins.len(), result.notes), (16, 2, 7));
    assert_eq!((result.regions[9].layer, result.regions[9].expert, result.regions[9].tokens), (1, 1, 25));
    assert!(result.regions.iter().all(|region| region.mean_hidden == vec![0.5; 384]));
    assert!(result.margins.concat().iter().all(|margin| *margin == 0.25));
    assert_eq!((trained.metrics["loss_last"], trained.metrics["steps"]), (1.0, 4.0));
}

/// TRAIN-05: the program reads and writes the tensors of a published model's adapter.
#[test]
fn a_program_trains_an_adapter_of_a_published_model() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures/olmoe");
    let settings = AdapterSettings { rank: 2, router: true, ..AdapterSettings::default() };
    let task = AdapterTask::from_base(&base, "OLMoE".into(), Objective::MultipleChoice, settings, 16)
        .expect("the fixture is whole");
    let task = Task::Adapter(task);
    let initial = task.initial(&base).expect("the fixture is whole");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trainer/tests/trainer.py");
    let command = vec!["python3".to_owned(), script.display().to_string(), "none".to_owned()];
    let (mut program, _) = program_on(task, base, command, ("adapter", Duration::from_secs(60)));
    let trained = program
        .train(&initial, &LocalTraining::default(), None, &mut |_, _| ())
        .expect("the program follows the contract")
        .result;
    assert_eq!(trained.updates.table(), initial.table());
    let expert =
        trained.updates.get(BlockKind::Expert { layer: 1, expert: 5 }).expect("a block of the table");
    assert!(expert.iter().all(|value| *value == 0.001));
    let router = trained.updates.get(BlockKind::Router { layer: 0 }).expect("a block of the table");
    assert_eq!((router.len(), router[0], router.last()), (6 * 16 + 1, 0.001, Some(&0.0)));
    let routing = trained.updates.get(BlockKind::Routing { layer: 1 }).expect("a block of the table");
    assert!(routing.iter().all(|share| (share - 1.0 / 6.0).abs() < 1e-6));
    assert_eq!((trained.regions.len(), trained.regions[11].mean_hidden.len()), (12, 16));
    let accuracy = program.evaluate(&initial, HeldOut::Part).expect("the program follows the contract");
    assert_eq!(accuracy.counted, super::Counted::Questions);
}

#[test]
fn trained_parameters_become_differences() {
    let result = train("parameters").expect("the program follows the contract").result;
    let head = result.updates.get(BlockKind::Shared).expect("a block of the table");
    assert!(head.iter().all(|value| (value + 0.249).abs() < 1e-6), "0.001 - 0.25");
    let router = result.updates.get(BlockKind::Router { layer: 0 }).expect("a block of the table");
    assert_eq!(router.last(), Some(&0.0), "the reserved coordinate is no parameter");
}

#[test]
fn an_evaluation_is_the_program_s_too() {
    let (mut sound, _) = program("none", Duration::from_secs(60));
    let accuracy = sound.evaluate(&global(), HeldOut::Part).expect("the program follows the contract");
    assert_eq!((accuracy.correct, accuracy.total), (3, 4));
    let (mut lying, _) = program("all right", Duration::from_secs(60));
    let error = lying.evaluate(&global(), HeldOut::All).expect_err("5 of 4").to_string();
    assert!(error.contains("result.json: 5 of 4 notes cannot be right"), "{error}");
}

/// What the rounds made is on the disk before anything is measured that may fail.
#[test]
fn the_federated_model_is_written_whatever_becomes_of_its_evaluation() {
    let name = format!("cloister-trainer-{}-finish", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trainer/tests/trainer.py");
    let program = TrainerProgram {
        command: vec!["python3".to_owned(), script.display().to_string(), "all right".to_owned()],
        timeout: Duration::from_secs(60),
        environment: vec![],
        folder: folder.join("job"),
    };
    let config = TrainingConfig {
        program: Some(program),
        ..config(Task::Classifier(model()), "minilm".into(), folder.clone())
    };
    let TrainingThread { jobs, mut reports, .. } = config.spawn();
    let made = initial_blocks(&model()).map(|shape, values| match shape.kind {
        BlockKind::Shared => vec![0.5; values.len()],
        _ => values.to_vec(),
    });
    let model = Box::new(Model::new(made.values().to_vec()));
    let finish = Job::Finish { model, trained: vec![] };
    jobs.send(finish).expect("the thread is there");
    let failed = std::iter::from_fn(|| reports.blocking_recv()).find_map(|report| match report {
        WorkerReport::Failed(error) => Some(error.to_string()),
        _ => None,
    });
    let failed = failed.expect("the program says that 5 of 4 are right");
    assert!(failed.contains("5 of 4 notes cannot be right"), "{failed}");
    let (_, written) = read_checkpoint(&folder.join("model.safetensors")).expect("it was written first");
    assert!(written == made, "another model was written");
    // A coordinator that lost its folder begins from this one.
    let parameters = std::fs::read(folder.join("model.parameters")).expect("it was written too");
    let read = Model::from_bytes(&parameters).expect("a model's parameters");
    assert!(read.blocks().values() == made.values(), "another model was written");
    std::fs::remove_dir_all(folder).expect("it was made above");
}

/// TRAIN-02
#[test]
fn whatever_a_program_writes_is_checked_and_told_as_its_fault() {
    for (fault, expected) in [
        ("shape", "update.safetensors: the tensor head.weight must be F32 [2, 384], not F32 [1, 1]"),
        ("nan", "update.safetensors: value 5 of the tensor head.weight is NaN"),
        ("tensor", "update.safetensors: the tensor head.weight is missing"),
        ("unknown", "update.safetensors: unexpected tensor head.scale"),
        ("garbage", "update.safetensors: it is not a safetensors file"),
        ("long", "update.safetensors: it is longer than"),
        ("no update", "left no usable"),
        ("counts", "layers.0.token_counts adds up to 250; 100 tokens that go to 2 experts each make 200"),
        ("half", "layers.0.token_counts has 25.5; counts are integers"),
        ("margins", "layers.1.margin_sums has 1000000 over 25 tokens"),
        ("distribution", "layers.0.probability_sums adds up to"),
        ("version", "result.json: it follows version 2 of the contract; this program knows 1"),
        ("field", "result.json: unknown field `colour`"),
    ] {
        let error = train(fault).expect_err(fault).to_string();
        assert!(error.contains(expected) && error.contains("training program"), "{fault}: {error}");
    }
}

#[test]
fn a_program_that_fails_is_told_with_its_status_and_last_words() {
    let error = train("exit").expect_err("it says so").to_string();
    assert!(error.contains("ended with exit status: 3") && error.ends_with("the end"), "{error}");
    assert!(error.len() < 3_000, "only its last words");
    let (mut absent, folder) =
        program_of(vec!["no-such-program".to_owned()], "absent", Duration::from_secs(60));
    let error = absent.evaluate(&global(), HeldOut::Part).expect_err("there is none").to_string();
    assert!(error.contains("no-such-program cannot be started"), "{error}");
    assert!(!folder.exists());
}

#[test]
fn a_program_that_hangs_is_stopped_with_all_that_it_started() {
    let (mut program, folder) = program("hang", Duration::from_secs(15));
    let started = Instant::now();
    let error =
        program.train(&global(), &LocalTraining::default(), None, &mut |_, _| ()).expect_err("it hangs");
    let error = error.to_string();
    assert!(error.contains("stopped after 15 seconds") && error.contains("still at it"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(60), "nothing waits for its child");
    assert!(!folder.exists());
}

/// TRAIN-01
#[test]
fn a_program_sees_a_private_folder_and_nothing_of_this_environment() {
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "there is something to see");
    let error = train("environment").expect_err("it tells").to_string();
    assert!(error.contains("sees [], home cloister-trainer-") && error.contains("mode 700"), "{error}");
}
