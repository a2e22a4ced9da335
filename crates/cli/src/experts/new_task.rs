//! `cloister experts task`: the files that a consortium agrees on before it trains a published model.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use cloister_experts::ExpertsError;
use cloister_experts::families::finetune::prints_date;
use cloister_experts::files::notes::{Encoding, NotesFile, classes, read_notes};
use cloister_experts::task::{AdapterTask, Objective, Task};
use cloister_params::floors::{DEFAULT_CUSTODIANS, Floors};
use cloister_params::limits::Date;
use cloister_params::plan::{LateSketchMode, TrainingPlan};
use cloister_protocol::model::Model;
use serde_json::json;

use super::new_folder::check_new;
use super::{AdapterFlags, failure};
use crate::classes::warn_of_twins;
use crate::create::{create_folder, write as write_file};
use crate::demo::format::whole;
use crate::failure::Failure;
use crate::output;
use crate::round_settings::{Agreement, round_settings};

/// Flags of `cloister experts task`.
#[derive(Debug, Args)]
pub(super) struct NewTask {
    /// The base model's folder.
    model: PathBuf,
    /// The folder to write task.json, initial.parameters and settings.toml into. It must not exist, or be empty.
    target: PathBuf,
    /// What the model learns.
    #[arg(long, value_enum)]
    objective: ObjectiveFlag,
    /// Number of members of the consortium. The smallest cohort in settings.toml is computed from it.
    #[arg(long)]
    members: usize,
    #[command(flatten)]
    adapter: AdapterFlags,
    /// A file of rows whose labels are the classes, in alphabetical order: JSON Lines, CSV or TSV (plain, gz or zst) or
    /// Parquet.
    #[arg(long, conflicts_with = "classes")]
    classes_of: Option<PathBuf>,
    /// The encoding of that file, such as windows-1252. A byte-order mark in it overrides it.
    #[arg(long, default_value = "utf-8", requires = "classes_of")]
    encoding: Encoding,
    /// The base model's name. By default that of its folder.
    #[arg(long)]
    name: Option<String>,
    /// The largest number of tokens of a text that the model reads.
    #[arg(long, default_value_t = 512)]
    max_tokens: usize,
    /// Numbers of the experts of each layer that are trained, such as `0,5`. By default all.
    #[arg(long, value_delimiter = ',')]
    trained_experts: Vec<usize>,
    /// Learning rate, in millionths.
    #[arg(long, default_value_t = 1_000)]
    learning_rate_micro: u32,
    /// Number of texts in a step.
    #[arg(long, default_value_t = 8)]
    batch_size: u16,
    /// Number of passes over a hospital's rows in a round.
    #[arg(long, default_value_t = 1)]
    local_epochs: u16,
    /// The date for chat templates that print today's, such as 2027-06-30, so that all members train with the same one. By
    /// default today.
    #[arg(long, value_parser = day)]
    date: Option<Date>,
    /// Seed of the adapter's initial values, of the projections for sketches and of the order of rows in training.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ObjectiveFlag {
    /// Write the completion of a prompt, or the assistant's part of a conversation.
    LanguageModel,
    /// Choose the right answer to a question.
    MultipleChoice,
    /// Sort texts into classes.
    Classification,
}

impl From<ObjectiveFlag> for Objective {
    fn from(flag: ObjectiveFlag) -> Self {
        match flag {
            ObjectiveFlag::LanguageModel => Self::LanguageModel,
            ObjectiveFlag::MultipleChoice => Self::MultipleChoice,
            ObjectiveFlag::Classification => Self::Classification,
        }
    }
}

fn day(text: &str) -> Result<Date, String> {
    Date::try_from(text.to_owned())
}

/// Writes the files, and reports their contents.
pub(super) fn write(arguments: &NewTask) -> Result<(), Failure> {
    check_new(&arguments.target)?;
    let task = Task::Adapter(task(arguments)?);
    let text = serde_json::to_string_pretty(&task).map_err(Failure::error)? + "\n";
    let initial = task.initial(&arguments.model).map_err(failure)?;
    let custodians = arguments.members.min(DEFAULT_CUSTODIANS);
    let floors = Floors::for_roster(arguments.members, custodians).map_err(Failure::config)?;
    let agreement = Agreement {
        task: &text,
        floors: &floors,
        table: initial.table(),
        training: TrainingPlan {
            local_epochs: arguments.local_epochs,
            batch_size: arguments.batch_size,
            learning_rate_micro: arguments.learning_rate_micro,
            routing_penalty_milli: 100,
            private: None,
        },
        late_sketches: LateSketchMode::Off,
    };
    // From the text that is written: the settings name the task by the digest of its bytes.
    let settings = round_settings(&agreement)?;
    // Only now, so that rejected flags leave no folder behind.
    create_folder(&arguments.target)?;
    let path = |name: &str| arguments.target.join(name);
    write_file(&path("task.json"), text.as_bytes())?;
    write_file(&path("settings.toml"), settings.to_toml().map_err(Failure::error)?.as_bytes())?;
    let (blocks, numbers) = (initial.table().len(), initial.values().iter().map(Vec::len).sum());
    write_file(&path("initial.parameters"), &Model::new(initial.into_values()).to_bytes())?;
    say(arguments, &settings.task.to_string(), (blocks, numbers))?;
    Ok(())
}

fn task(arguments: &NewTask) -> Result<AdapterTask, Failure> {
    let folder_name = |folder: &Path| {
        folder
            .file_name()
            .map_or_else(|| "the base model".to_owned(), |name| name.to_string_lossy().into_owned())
    };
    let name = arguments.name.clone().unwrap_or_else(|| folder_name(&arguments.model));
    let mut adapter = arguments.adapter.settings();
    if let Some(path) = &arguments.classes_of {
        let file = NotesFile { encoding: arguments.encoding, ..path.clone().into() };
        let notes = read_notes(file).map_err(|error| failure(ExpertsError::Notes(error)))?;
        adapter.classes = classes(&notes);
    }
    warn_of_twins(&adapter.classes);
    let objective = arguments.objective.into();
    let task = AdapterTask::from_base(&arguments.model, name, objective, adapter, arguments.max_tokens);
    let trained_experts = arguments.trained_experts.clone();
    let task = task.map_err(failure)?;
    let date = match prints_date(&arguments.model).map_err(failure)? {
        // Fixed in the task: with its own clock each member would train on another prompt.
        true => Some(arguments.date.unwrap_or_else(|| Date::from_time(SystemTime::now()))),
        false => None,
    };
    Ok(AdapterTask { trained_experts, seed: arguments.seed, date, ..task })
}

fn say(arguments: &NewTask, digest: &str, (blocks, numbers): (usize, usize)) -> Result<(), Failure> {
    match arguments.json {
        true => output::line(json!({"task": digest, "blocks": blocks, "numbers": numbers})),
        false => {
            output::line(format_args!("task       {digest}, for `allowed_models` in policies"))?;
            output::line(format_args!(
                "blocks     {}, {} numbers that a hospital uploads a round",
                whole(blocks),
                whole(numbers)
            ))?;
            output::line(format_args!(
                "written    task.json, initial.parameters and settings.toml in {}",
                arguments.target.display()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        new: NewTask,
    }

    #[test]
    fn a_task_has_a_date_where_its_template_prints_one() {
        let folder = std::env::temp_dir().join(format!("cloister-new-task-{}", std::process::id()));
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experts/tests/fixtures");
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        for name in ["config.json", "model.safetensors"] {
            fs::copy(fixtures.join("qwen3_moe").join(name), folder.join(name)).expect("a file");
        }
        let model = folder.to_str().expect("a plain path");
        let given =
            ["task", model, "out", "--objective", "language-model", "--members", "5", "--max-tokens", "32"];
        let dated = ["--date", "2026-11-29"];
        let date = |flags: &[&str]| {
            task(&Program::parse_from(given.iter().chain(flags)).new).expect("a sound task").date
        };
        assert_eq!(date(&dated), None, "ChatML prints none");
        fs::copy(fixtures.join("templates/llama.jinja"), folder.join("chat_template.jinja")).expect("a file");
        assert_eq!(date(&dated).map(|day| day.to_string()), Some("2026-11-29".to_owned()));
        assert!(date(&[]).is_some(), "today, if no day is given");
        assert!(Program::try_parse_from(given.iter().chain(&["--date", "29 November"])).is_err());
        fs::remove_dir_all(&folder).expect("it was made above");
    }
}
