//! `cloister client`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use cloister_client::{MemberPart, Participation, TRAINING_JOB, TrainingConfig};
use cloister_crypto::hash::{Domain, digest};
use cloister_experts::files::notes::{Encoding, NotesFile};
use cloister_experts::task::Task;
use cloister_experts::training::memory::BOUNDED_CACHE;
use cloister_trainer::TrainerProgram;

use crate::compute_flags::{ComputeFlags, WindowFlags};
use crate::failure::{Failure, FailureKind};
use crate::folder::{load_model, read_text};
use crate::party::{self, PartyFlags};

/// Flags of `cloister client`.
#[derive(Debug, Args)]
pub(crate) struct ClientArguments {
    #[command(flatten)]
    pub(crate) party: PartyFlags,
    #[command(flatten)]
    pub(crate) member: MemberFlags,
}

/// What a member needs beyond what every party needs.
#[derive(Debug, Args)]
pub(crate) struct MemberFlags {
    /// The task file: the base model, what is trained of it, and what it learns.
    #[arg(long)]
    pub(crate) task: PathBuf,
    /// The initial parameters that the consortium agreed on.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The folder of the base model's files: MiniLM for tasks with classes of its own, otherwise the model that the task names.
    #[arg(long, env = "CLOISTER_BASE_MODEL")]
    pub(crate) base_model: PathBuf,
    /// Store only each layer's input for the backward pass of a published model, and compute the rest again: less memory, a
    /// third more time.
    #[arg(long)]
    recompute_layers: bool,
    /// This hospital's notes: JSON Lines, CSV or TSV (plain, gz or zst) or Parquet, with the columns `text` and `label`. For a
    /// published model the columns follow from the task: `text` and `label`; or `prompt` and `completion`, `messages`, or
    /// `text`; or `question`, `choices` and `answer`.
    #[arg(long)]
    notes: PathBuf,
    /// Notes to evaluate on, which nobody trains on. The format is that of `--notes`.
    #[arg(long)]
    held_out: PathBuf,
    /// The encoding of both files, such as windows-1252. A byte-order mark in a file overrides it.
    #[arg(long, default_value = "utf-8", conflicts_with = "trainer_cmd")]
    encoding: Encoding,
    /// The column of `--notes` that groups rows into records, such as a patient's number. Private training and the privacy
    /// account then protect all rows with the same value together. Without it, each row is a record. If the task evaluates the
    /// model in rounds, `--held-out` has the column too.
    #[arg(long, value_name = "COLUMN", conflicts_with = "trainer_cmd")]
    group_by: Option<String>,
    /// Evaluate each round on a part of the held-out notes: `I/N` is every N-th note from number I on, counted from 0.
    /// A task that evaluates the model in rounds refuses parts: its hospitals have files of their own.
    #[arg(long, default_value = "0/1", value_parser = parse_part)]
    evaluate: (usize, usize),
    #[command(flatten)]
    pub(crate) windows: WindowFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    #[command(flatten)]
    pub(crate) trainer: TrainerFlags,
    /// After the last round, train on this hospital's notes alone too, for comparison.
    #[arg(long, requires = "until_finished")]
    compare_local: bool,
}

/// A training program of the hospital's own.
#[derive(Clone, Debug, Args)]
pub(crate) struct TrainerFlags {
    /// A program that trains in place of the built-in trainer, with its arguments, such as `python3 train.py`. The folder of a
    /// job is its last argument. `protocols/trainer.md` specifies what it reads and writes.
    #[arg(long, alias = "trainer", value_name = "COMMAND", env = "CLOISTER_TRAINER_CMD")]
    trainer_cmd: Option<String>,
    /// Stop the program if one job takes longer than this many seconds.
    #[arg(long, default_value_t = 3600, requires = "trainer_cmd")]
    trainer_timeout_s: u64,
    /// An environment variable to pass on to the program, such as LD_LIBRARY_PATH. May be repeated.
    #[arg(long, value_name = "NAME", requires = "trainer_cmd")]
    trainer_env: Vec<String>,
}

impl TrainerFlags {
    /// Whether they name a program.
    pub(crate) fn has_program(&self) -> bool {
        self.trainer_cmd.is_some()
    }

    /// The program that they name, if any, whose jobs have their folder below `data`.
    pub(crate) fn program(self, data: &Path) -> Result<Option<TrainerProgram>, Failure> {
        let Some(text) = self.trainer_cmd else { return Ok(None) };
        // Split as a shell would, but started without one: no variable or wildcard of the command is
        // expanded.
        let command = shell_words::split(&text)
            .map_err(|error| Failure::new(FailureKind::Usage, format!("--trainer-cmd {text}: {error}")))?;
        if command.is_empty() {
            return Err(Failure::new(
                FailureKind::Usage,
                "--trainer-cmd is empty; give a program, such as `python3 train.py`",
            ));
        }
        Ok(Some(TrainerProgram {
            command,
            timeout: Duration::from_secs(self.trainer_timeout_s),
            environment: self.trainer_env,
            folder: data.join(TRAINING_JOB),
        }))
    }
}

fn parse_part(text: &str) -> Result<(usize, usize), String> {
    let parsed =
        text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    // This excludes 0 parts as well, which nothing could be divided by.
    parsed.filter(|(part, parts)| part < parts).ok_or_else(|| "expected I/N with I below N, like 0/8".into())
}

/// Replaces this process by the same program with libtorch's cache bounded. libtorch reads the variable only
/// while it is
/// loaded, so setting it here would be too late.
fn bound_caches() {
    let (name, value) = BOUNDED_CACHE;
    // Only if it is not set: this ends the recursion, and lets an operator choose another value.
    if let (None, Ok(program)) = (std::env::var_os(name), std::env::current_exe()) {
        // This returns only if it fails. Memory then grows more, and everything else works.
        let _ = Command::new(program).args(std::env::args_os().skip(1)).env(name, value).exec();
    }
}

pub(crate) fn run(arguments: ClientArguments) -> Result<(), Failure> {
    bound_caches();
    let ClientArguments { party, member } = arguments;
    party::run(party, |party, _, _| member.participation(party))
}

impl MemberFlags {
    fn participation(self, party: &PartyFlags) -> Result<Participation, Failure> {
        let task = read_text(&self.task)?;
        let agreed = Task::parse(&task)
            .map_err(|error| Failure::config(format!("{}: {error}", self.task.display())))?;
        // PRIV-15: a part picks rows by their places, so that one row more would move all others.
        if agreed.has_evaluation() && self.evaluate.1 > 1 {
            return Err(Failure::config(format!(
                "--evaluate {}/{} picks rows by their places in the file, and this task counts the records of each hospital; \
                 leave --evaluate out, and hold out a file of this hospital's own",
                self.evaluate.0, self.evaluate.1
            )));
        }
        Ok(Participation::Member(Box::new(MemberPart {
            // Of the file's bytes, not of the parsed task: members must agree on a file that they can compare.
            task: digest(Domain::Task, &[task.as_bytes()]),
            model: load_model(&self.model)?,
            training: self.training(agreed, party)?,
        })))
    }

    /// How and on what the hospital trains this task.
    pub(crate) fn training(&self, task: Task, party: &PartyFlags) -> Result<TrainingConfig, Failure> {
        Ok(TrainingConfig {
            held_out: self.held_out_file(task.has_evaluation()),
            task,
            base_model: self.base_model.clone(),
            precision: self.compute.precision.into(),
            recompute_layers: self.recompute_layers,
            notes: self.notes_file(),
            windows: self.windows.into(),
            program: self.trainer.clone().program(&party.data)?,
            part: self.evaluate.0,
            parts: self.evaluate.1,
            threads: self.compute.threads.into(),
            device: self.compute.device,
            compare_local: self.compare_local,
            folder: party.data.clone(),
            // A service may be stopped between any two rounds.
            write_each_model: !party.service.until_finished,
        })
    }

    /// The notes to train on.
    pub(crate) fn notes_file(&self) -> NotesFile {
        NotesFile { path: self.notes.clone(), encoding: self.encoding, group_by: self.group_by.clone() }
    }

    /// The notes to evaluate on. Which rows are one record matters if records are counted for the other members.
    pub(crate) fn held_out_file(&self, is_counted: bool) -> NotesFile {
        let group_by = self.group_by.clone().filter(|_| is_counted);
        NotesFile { path: self.held_out.clone(), encoding: self.encoding, group_by }
    }
}
