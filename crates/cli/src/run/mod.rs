//! `cloister run`: what an operator asks of a running coordinator, by the control socket in its data folder, and the
//! history of its rounds.

mod history;
mod invitations;
mod queue;
mod status;
mod watch;

use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroU64;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use cloister_params::time::UtcTime;
use cloister_transport::HostPort;
use serde_json::Value;

use crate::failure::{Failure, FailureKind};
use crate::folder::read_text;
use crate::identity::{RoleFlag, roles};
use crate::output;
use crate::rounds_so_far;
use crate::service::control::{OperatorRequest, RunToQueue, socket_path};

/// How long to wait for the coordinator's answer: it may be writing a large model.
const ANSWER_WITHIN: Duration = Duration::from_mins(5);

/// Flags of `cloister run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(subcommand)]
    command: Command,
    /// The coordinator's data folder.
    #[arg(long, env = "CLOISTER_DATA", global = true, default_value = "data")]
    data: PathBuf,
    /// Print one JSON object; for `watch`, one for each event.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Ask(Question),
    /// Show the rounds so far, over all editions. The coordinator may be running or stopped: its files are read alone.
    History {
        /// Show the last rounds alone, so many.
        #[arg(long, value_name = "N")]
        last: Option<usize>,
    },
    /// Show what happens at a running coordinator, until this command is interrupted.
    Watch,
}

/// What the running coordinator answers.
#[derive(Debug, Subcommand)]
enum Question {
    /// Show how the rounds stand, and who is connected.
    Status,
    /// Start no further round. A round in progress goes on. It stays so over a restart of the coordinator.
    Pause,
    /// Start rounds again.
    Resume,
    /// Queue a run: further rounds, after those of the runs that wait already.
    Start(StartArguments),
    /// List the runs: those that wait, the one in progress, and the last ones that have ended.
    Queue,
    /// Cancel a run that waits, or the one in progress: its round goes on, and no further one of it starts.
    Cancel {
        /// The run's number.
        number: u32,
    },
    /// Begin the epoch of the next edition of the consortium file. The rounds must be paused, and the last one must have ended.
    Edition {
        /// The consortium file. Its signature is in the file of the same name with `.sig` appended.
        file: PathBuf,
        /// Round settings from this edition on, if they change.
        #[arg(long)]
        settings: Option<PathBuf>,
    },
    /// Invite a party: print one line of text, with which it enrols over the network.
    Invite(InviteArguments),
    /// List all invitations, and which parties have used them.
    Invitations,
    /// Cancel an invitation. An enrolment file that was handed in with it stays.
    Uninvite {
        /// The invitation's number.
        number: u32,
    },
    /// Stop the coordinator. A round in progress continues after the next start.
    Stop,
}

#[derive(Debug, Args)]
struct StartArguments {
    /// Round settings of this run alone. They must fit the consortium in force, now and when the run begins.
    settings: Option<PathBuf>,
    /// Number of rounds with sums.
    #[arg(long)]
    rounds: NonZeroU64,
    /// A name for people.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Start no round before this time, such as 2026-12-03T20:00:00Z. Runs that are queued later may go first.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    not_before: Option<UtcTime>,
    /// Go through the rounds without contributing anything.
    #[arg(long)]
    rehearsal: bool,
}

fn parse_time(text: &str) -> Result<UtcTime, String> {
    UtcTime::try_from(text.to_owned())
}

#[derive(Debug, Args)]
struct InviteArguments {
    /// The coordinator's name or address, and its port, as the party reaches it.
    #[arg(long)]
    address: HostPort,
    /// For how many hours the invitation can be used.
    #[arg(long, default_value_t = 72, value_parser = clap::value_parser!(u32).range(1..=8760))]
    valid_hours: u32,
    /// What the party does. May be repeated. By default member and custodian.
    #[arg(long = "role", value_name = "ROLE", value_enum)]
    roles: Vec<RoleFlag>,
}

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Ask(question) => show_answer(arguments, question.request()?),
        Command::History { last } => {
            let history = rounds_so_far::read(&arguments.data, *last)?;
            if arguments.json { output::line(history) } else { history::print(&history) }
        }
        Command::Watch => watch::follow(&arguments.data, arguments.json),
    }
}

impl Question {
    /// The request, with the contents of the files that it names.
    fn request(&self) -> Result<OperatorRequest, Failure> {
        Ok(match self {
            Self::Status => OperatorRequest::Status,
            Self::Pause => OperatorRequest::Pause,
            Self::Resume => OperatorRequest::Resume,
            Self::Start(run) => OperatorRequest::Start(RunToQueue {
                rounds: run.rounds.get(),
                name: run.name.clone(),
                settings: run.settings.as_deref().map(read_text).transpose()?,
                not_before: run.not_before,
                rehearsal: run.rehearsal,
            }),
            Self::Queue => OperatorRequest::Queue,
            Self::Cancel { number } => OperatorRequest::Cancel { number: *number },
            Self::Stop => OperatorRequest::Stop,
            Self::Invite(InviteArguments { address, valid_hours, roles: flags }) => OperatorRequest::Invite {
                address: address.to_string(),
                valid_hours: *valid_hours,
                roles: roles(flags),
            },
            Self::Invitations => OperatorRequest::Invitations,
            Self::Uninvite { number } => OperatorRequest::Uninvite { number: *number },
            Self::Edition { file, settings } => OperatorRequest::Edition {
                file: read_text(file)?,
                signature: read_text(&file.with_added_extension("sig"))?,
                settings: settings.as_deref().map(read_text).transpose()?,
            },
        })
    }
}

fn show_answer(arguments: &RunArguments, request: OperatorRequest) -> Result<(), Failure> {
    let answer = ask(&arguments.data, &request, ANSWER_WITHIN)?;
    if arguments.json {
        return output::line(answer);
    }
    match request {
        OperatorRequest::Start(_) => queue::print_queued(&answer),
        OperatorRequest::Queue => queue::print(&answer),
        OperatorRequest::Cancel { .. } => queue::print_cancelled(&answer),
        OperatorRequest::Invite { .. } => invitations::print_invitation(&answer),
        OperatorRequest::Invitations => invitations::print_list(&answer, &arguments.data),
        OperatorRequest::Uninvite { number } => {
            output::line(format_args!("invitation {number} is cancelled"))
        }
        _ => output::print(status::to_text(&answer)),
    }
}

/// How a coordinator's rounds stand, in one line; an error if none answers within this time.
pub(crate) fn status_line(data: &Path, within: Duration) -> Result<String, Failure> {
    let text = status::to_text(&ask(data, &OperatorRequest::Status, within)?);
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(rows.collect::<Vec<_>>().join("; "))
}

/// Sends a request to the coordinator and returns its answer.
fn ask(data: &Path, request: &OperatorRequest, within: Duration) -> Result<Value, Failure> {
    let path = socket_path(data);
    let answer = converse(&path, request, within).map_err(|error| unavailable(&path, &error))?;
    answered(&answer)
}

/// No coordinator listens at the socket.
fn unavailable(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    Failure::new(
        FailureKind::Unavailable,
        format!(
            "no coordinator answers at {path}: {error}; give --data with the data folder of a coordinator that runs, and run \
             this command as the coordinator's user"
        ),
    )
}

/// What a coordinator answered in a line.
fn answered(line: &str) -> Result<Value, Failure> {
    let answer: Value = serde_json::from_str(line)
        .map_err(|_| Failure::new(FailureKind::Unavailable, "the coordinator ended before it answered"))?;
    match answer["error"].as_str() {
        Some(why) => Err(Failure::error(why)),
        None => Ok(answer["ok"].clone()),
    }
}

/// Writes a request as a line, and reads the line that answers it.
fn converse(path: &Path, request: &OperatorRequest, within: Duration) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(within))?;
    let line = serde_json::to_string(request)? + "\n";
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
