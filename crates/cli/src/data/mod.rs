//! `cloister data`: checks a hospital's files before it trains on them.

mod answer;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cloister_client::{TrainingConfig, TrainingError, block_table, training_memory, try_round};
use cloister_experts::ExpertsError;
use cloister_experts::files::notes::{Encoding, NotesFile};
use cloister_experts::files::rows::ReadSoFar;
use cloister_experts::survey::{Survey, Surveyor};
use cloister_experts::task::Task;
use cloister_params::plan::RoundSettings;

use crate::compute_flags::{ComputeFlags, WindowFlags};
use crate::failure::{Failure, FailureKind};
use crate::folder::read_text;
use crate::output;
use crate::progress::ProgressDisplay;
use answer::{Answer, TriedRound};

/// Flags of `cloister data`.
#[derive(Debug, Args)]
pub(crate) struct DataArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report what files of notes hold, which rows cannot be trained on, and what training takes. Nothing leaves this machine.
    /// The exit status is 78 if a row cannot be trained on.
    Check(Box<Check>),
}

#[derive(Debug, Args)]
struct Check {
    /// Files of notes: JSON Lines, CSV or TSV (plain, gz or zst) or Parquet.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The task file: the base model, what is trained of it, and what it learns.
    #[arg(long)]
    task: PathBuf,
    /// The folder of the base model's files: MiniLM for tasks with classes of its own, otherwise the model that the task names.
    #[arg(long, env = "CLOISTER_BASE_MODEL")]
    base_model: PathBuf,
    /// Notes to evaluate on, which nobody trains on.
    #[arg(long)]
    held_out: Option<PathBuf>,
    /// The encoding of the files, such as windows-1252. A byte-order mark in a file overrides it.
    #[arg(long, default_value = "utf-8")]
    encoding: Encoding,
    /// The column that groups rows into records, such as a patient's number.
    #[arg(long, value_name = "COLUMN")]
    group_by: Option<String>,
    #[command(flatten)]
    windows: WindowFlags,
    /// Round settings. Train one round on the first file with them, and report how long it takes and what their clips cut.
    #[arg(long)]
    settings: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &DataArguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Check(arguments) => check(arguments),
    }
}

fn check(arguments: &Check) -> Result<(), Failure> {
    let task = Task::parse(&read_text(&arguments.task)?)
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.task.display())))?;
    let settings = arguments.settings.as_ref().map(|path| {
        RoundSettings::parse(&read_text(path)?)
            .map_err(|error| Failure::config(format!("{}: {error}", path.display())))
    });
    let settings = settings.transpose()?;
    let surveyor =
        Surveyor::open(&task, &arguments.base_model, arguments.windows.into()).map_err(Failure::config)?;
    let mut progress = ProgressDisplay::new();
    let mut survey = Survey::default();
    for path in &arguments.files {
        add(&surveyor, &mut survey, notes_file(arguments, path, true), &mut progress)?;
    }
    let is_counted = task.has_evaluation();
    let held_out = arguments.held_out.as_ref().map(|path| {
        let mut survey = Survey::default();
        add(&surveyor, &mut survey, notes_file(arguments, path, is_counted), &mut progress)?;
        Ok(survey)
    });
    let held_out = held_out.transpose()?;
    let rows_held_out = held_out.as_ref().map(|survey| surveyor.report(survey, None));
    let mut answer = Answer::new(surveyor.report(&survey, held_out.as_ref()), rows_held_out);
    // Before memory is measured: its tokenizer would count against what is free.
    drop(surveyor);
    // Training would stop at a bad row, so it is not tried.
    if answer.can_be_trained_on() {
        let config = training_config(arguments, task);
        answer.memory = Some(training_memory(&config).map_err(failure)?);
        answer.round = settings.map(|settings| tried(&config, &settings, &mut progress)).transpose()?;
    }
    match arguments.json {
        true => output::line(serde_json::to_string(&answer).map_err(Failure::error)?)?,
        false => output::print(&answer)?,
    }
    answer.verdict()
}

fn notes_file(arguments: &Check, path: &std::path::Path, is_grouped: bool) -> NotesFile {
    // Held-out rows need records only if rounds count them. Otherwise their file need not have the column.
    let group_by = arguments.group_by.clone().filter(|_| is_grouped);
    NotesFile { path: path.to_owned(), encoding: arguments.encoding, group_by }
}

fn add(
    surveyor: &Surveyor,
    survey: &mut Survey,
    file: NotesFile,
    progress: &mut ProgressDisplay,
) -> Result<(), Failure> {
    surveyor
        .add(survey, file, &mut |so_far: ReadSoFar| progress.step("reading notes", so_far.done, so_far.total))
        .map_err(Failure::config)
}

fn training_config(arguments: &Check, task: Task) -> TrainingConfig {
    let notes = notes_file(arguments, &arguments.files[0], true);
    // Something must be held out for a client to start; a check trains on the first file and does not
    // evaluate.
    let held_out = arguments.held_out.as_ref().unwrap_or(&arguments.files[0]);
    TrainingConfig {
        held_out: notes_file(arguments, held_out, task.has_evaluation()),
        task,
        base_model: arguments.base_model.clone(),
        precision: arguments.compute.precision.into(),
        recompute_layers: false,
        notes,
        part: 0,
        parts: 1,
        windows: arguments.windows.into(),
        threads: arguments.compute.threads.into(),
        device: arguments.compute.device,
        compare_local: false,
        write_each_model: false,
        folder: PathBuf::new(),
        program: None,
    }
}

fn tried(
    config: &TrainingConfig,
    settings: &RoundSettings,
    progress: &mut ProgressDisplay,
) -> Result<TriedRound, Failure> {
    let table = block_table(&config.task, &config.base_model).map_err(failure)?;
    // Settings of another task would measure clips of blocks that do not exist.
    if !settings.blocks.iter().map(|block| block.shape).eq(table) {
        return Err(Failure::config(
            "the blocks in --settings are not those of --task; use settings that were made for this task file",
        ));
    }
    let trial = try_round(config, settings, &mut |done, total| {
        progress.step("training", done as u64, total as u64);
    });
    Ok(TriedRound::new(&trial.map_err(failure)?))
}

fn failure(error: TrainingError) -> Failure {
    let kind = match error {
        TrainingError::Experts(ExpertsError::Memory { .. }) => FailureKind::Unavailable,
        _ => FailureKind::Config,
    };
    Failure::new(kind, error)
}
