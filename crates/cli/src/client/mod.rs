//! `cloister client`.

mod event_text;
mod proxy_flags;

use std::num::NonZeroU64;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use cloister_client::{
    ClientConfig, ClientError, ClientEvent, ClientLifetime, TrainingConfig, TrainingError,
};
use cloister_crypto::consortium::Epoch;
use cloister_crypto::hash::{Domain, digest};
use cloister_experts::ExpertsError;
use cloister_experts::files::notes::{Encoding, NotesFile};
use cloister_experts::task::Task;
use cloister_experts::training::memory::BOUNDED_CACHE;
use cloister_params::consortium::PublicBytes;
use cloister_params::id::PartyId;
use cloister_trainer::TrainerProgram;
use cloister_transport::{HostPort, StopSignal, TransportSettings};
use tracing::Level;

use crate::compute_flags::{ComputeFlags, WindowFlags};
use crate::create::create_folder;
use crate::events;
use crate::failure::{Failure, FailureKind};
use crate::folder::{PartyFolder, load_consortium, load_model, newest_edition, read_text};
use crate::link_flags::LinkFlags;
use crate::output;
use crate::progress::ProgressDisplay;
use crate::service::{SOUND, ServiceArguments, log, notify_ready, run_until_stopped, stop_signal};
use event_text::{steps_of, to_json, to_text};
use proxy_flags::ProxyFlags;

/// Flags of `cloister client`.
#[derive(Debug, Args)]
pub(crate) struct ClientArguments {
    /// The consortium file. Its signature is in the file of the same name with `.sig` appended.
    #[arg(long, env = "CLOISTER_CONSORTIUM")]
    consortium: PathBuf,
    /// This hospital's folder: certificate.pem, key.pem, signing.key, policy.toml.
    #[arg(long, env = "CLOISTER_IDENTITY")]
    identity: PathBuf,
    /// The coordinator's name or address, and its port, as in cloister.example.org:443.
    #[arg(long, env = "CLOISTER_COORDINATOR")]
    coordinator: HostPort,
    /// The task file: the base model, what is trained of it, and what it learns.
    #[arg(long)]
    task: PathBuf,
    /// The initial parameters that the consortium agreed on.
    #[arg(long)]
    model: PathBuf,
    /// The folder of the base model's files: MiniLM for tasks with classes of its own, otherwise the model that the task names.
    #[arg(long, env = "CLOISTER_BASE_MODEL")]
    base_model: PathBuf,
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
    /// account then protect all rows with the same value together. Without it, each row is a record.
    #[arg(long, value_name = "COLUMN", conflicts_with = "trainer_cmd")]
    group_by: Option<String>,
    /// The folder for the journal, the privacy ledger and the final model. Use the same one for every start.
    #[arg(long)]
    data: PathBuf,
    /// Evaluate each round on a part of the held-out notes: `I/N` is every N-th note from number I on, counted from 0.
    #[arg(long, default_value = "0/1", value_parser = parse_part)]
    evaluate: (usize, usize),
    #[command(flatten)]
    windows: WindowFlags,
    #[command(flatten)]
    compute: ComputeFlags,
    #[command(flatten)]
    trainer: TrainerFlags,
    /// After the last round, train on this hospital's notes alone too, for comparison.
    #[arg(long, requires = "until_finished")]
    compare_local: bool,
    /// Send at most this many bytes per second. By default there is no limit.
    #[arg(long)]
    uplink_bytes_per_second: Option<NonZeroU64>,
    /// With --until-finished, go on trying to reach the coordinator for this many seconds. Otherwise it is tried for ever.
    #[arg(long, default_value_t = 300, requires = "until_finished")]
    reach_within_s: u64,
    #[command(flatten)]
    link: LinkFlags,
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    service: ServiceArguments,
    /// The data folder was restored from a backup. As a custodian, sign nothing until the others have ended a round.
    #[arg(long)]
    restored: bool,
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
            folder: data.join("training-job"),
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
    // Before anything is written and before threads start, because the umask belongs to the whole process:
    // journal, ledger and model must not be readable by other users.
    cloister_storage::restrict_new_files();
    let print_events = arguments.service.events;
    arguments.service.start_log();
    let (switch, stop) = stop_signal();
    let only_checks = arguments.service.check;
    let config = configure(arguments, stop)?;
    if only_checks {
        return output::line(SOUND);
    }
    let party = config.party.0;
    let mut progress = ProgressDisplay::new();
    let result = run_until_stopped(
        &switch,
        cloister_client::run(config, &mut |event| {
            if matches!(event, ClientEvent::Ready(_)) {
                notify_ready("ready");
            }
            match (print_events, steps_of(&event)) {
                (true, _) => events::print(to_json(party, &event)),
                (false, Some((what, done, total))) => progress.step(what, done, total),
                (false, None) => {
                    let (text, fields) = (to_text(&event), to_json(party, &event));
                    progress.above_bar(|| log::event(level(&event), &text, &fields));
                }
            }
        }),
    )?;
    result.map_err(failure)
}

/// How important an event is to the operator.
fn level(event: &ClientEvent) -> Level {
    match event {
        // Normal after a restart.
        ClientEvent::Unexpected(_) => Level::DEBUG,
        ClientEvent::Warning(_)
        | ClientEvent::Reconnecting(_)
        | ClientEvent::Unreachable(_)
        | ClientEvent::NotTrained(..)
        | ClientEvent::NotEvaluated(..)
        | ClientEvent::Aborted(_)
        | ClientEvent::Refused(..)
        | ClientEvent::Fault(_) => Level::WARN,
        _ => Level::INFO,
    }
}

fn failure(error: ClientError) -> Failure {
    let kind = match error {
        ClientError::Connect(_) | ClientError::Link(_) | ClientError::Behind => FailureKind::Unavailable,
        // Memory may be free again later, whereas a wrong file stays wrong.
        ClientError::Setup(TrainingError::Experts(ExpertsError::Memory { .. })) => FailureKind::Unavailable,
        ClientError::Openings(_)
        | ClientError::Edition(_)
        | ClientError::NotListed(_)
        | ClientError::Journal(_)
        | ClientError::Ledger(_)
        | ClientError::Setup(_) => FailureKind::Config,
        ClientError::PrivacyRefused { .. } => FailureKind::PrivacyRefused,
        ClientError::Training(_) => FailureKind::Error,
    };
    Failure::new(kind, error)
}

fn configure(arguments: ClientArguments, stop: StopSignal) -> Result<ClientConfig, Failure> {
    let until_finished = arguments.service.until_finished;
    let folder = PartyFolder::load(&arguments.identity)?;
    // The policy comes first: its governance key decides which consortium file is accepted.
    let given = load_consortium(&arguments.consortium, &folder.policy)?;
    let epoch = newest_edition(given, &arguments.data, &folder.policy);
    let party = find_party(&epoch, &folder)?;
    let task = read_text(&arguments.task)?;
    let agreed = Task::parse(&task)
        .map_err(|error| Failure::config(format!("{}: {error}", arguments.task.display())))?;
    create_folder(&arguments.data)?;
    let training = TrainingConfig {
        task: agreed,
        base_model: arguments.base_model,
        precision: arguments.compute.precision.into(),
        recompute_layers: arguments.recompute_layers,
        notes: NotesFile {
            path: arguments.notes,
            encoding: arguments.encoding,
            group_by: arguments.group_by,
        },
        // Nobody trains on held-out notes, so it does not matter which rows are one record.
        held_out: NotesFile { path: arguments.held_out, encoding: arguments.encoding, group_by: None },
        windows: arguments.windows.into(),
        program: arguments.trainer.program(&arguments.data)?,
        part: arguments.evaluate.0,
        parts: arguments.evaluate.1,
        threads: arguments.compute.threads.into(),
        device: arguments.compute.device,
        compare_local: arguments.compare_local,
        folder: arguments.data.clone(),
        // A service may be stopped between any two rounds.
        write_each_model: !until_finished,
    };
    Ok(ClientConfig {
        party,
        signing_key: folder.signing_key,
        identity: folder.identity,
        policy: folder.policy,
        // Of the file's bytes, not of the parsed task: members must agree on a file that they can compare.
        task: digest(Domain::Task, &[task.as_bytes()]),
        model: load_model(&arguments.model)?,
        restored: arguments.restored,
        coordinator: arguments.coordinator,
        transport: TransportSettings {
            uplink_bytes_per_second: arguments.uplink_bytes_per_second,
            proxy: arguments.proxy.proxy()?,
            ..arguments.link.settings()
        },
        lifetime: match until_finished {
            true => {
                ClientLifetime::UntilFinished { reach_within: Duration::from_secs(arguments.reach_within_s) }
            }
            false => ClientLifetime::UntilStopped,
        },
        stop,
        folder: arguments.data,
        training,
        epoch,
    })
}

/// The party whose certificate this folder has. The signing key must match, too: with a key of another
/// enrolment the hospital would connect, and then every statement that it signs would be rejected.
fn find_party(epoch: &Arc<Epoch>, folder: &PartyFolder) -> Result<PartyId, Failure> {
    let certificate = PublicBytes(folder.identity.fingerprint().0);
    let listed = epoch.consortium().parties().find(|party| party.certificate == certificate);
    let party = listed.ok_or_else(|| {
        Failure::config(format!(
            "the certificate in --identity, {certificate}, is not in the consortium file; check that both are the right \
             ones, or ask the consortium to add this hospital"
        ))
    })?;
    if party.signing_key != folder.signing_key.public() {
        return Err(Failure::config(format!(
            "the consortium file lists {:?} with another signing key than the one in --identity; give the folder that was \
             enrolled",
            party.name
        )));
    }
    Ok(party.id)
}

#[cfg(test)]
mod tests {
    use cloister_params::id::Round;

    use super::*;

    /// PRIV-05
    #[test]
    fn a_round_that_the_budget_refuses_ends_with_status_5_and_its_reason() {
        let reason = "policy `maximum_epsilon`: ε would be 4.2, this party allows 4".to_owned();
        let failure = failure(ClientError::PrivacyRefused { round: Round(3), reason });
        assert_eq!(failure.exit_code(), std::process::ExitCode::from(5));
        assert!(
            failure.to_string().contains("round 3") && failure.to_string().contains("allows 4"),
            "{failure}"
        );
    }
}
