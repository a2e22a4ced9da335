//! `cloister run`: what an operator asks of a running coordinator, by the control socket in its data folder, and the
//! history of its rounds.

mod history;
mod invitations;
mod watch;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use cloister_transport::HostPort;
use serde_json::Value;

use crate::failure::{Failure, FailureKind};
use crate::folder::read_text;
use crate::identity::{RoleFlag, roles};
use crate::output;
use crate::service::control_socket::{OperatorRequest, socket_path};

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
    /// Run further rounds.
    Start {
        /// Number of further rounds with sums.
        #[arg(long)]
        rounds: u64,
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
        Command::History { last } => history::show(&arguments.data, *last, arguments.json),
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
            Self::Start { rounds } => OperatorRequest::Start { rounds: *rounds },
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
        OperatorRequest::Invite { .. } => invitations::print_invitation(&answer),
        OperatorRequest::Invitations => invitations::print_list(&answer, &arguments.data),
        OperatorRequest::Uninvite { number } => {
            output::line(format_args!("invitation {number} is cancelled"))
        }
        _ => output::print(to_text(&answer)),
    }
}

/// How a coordinator's rounds stand, in one line; an error if none answers within this time.
pub(crate) fn status_line(data: &Path, within: Duration) -> Result<String, Failure> {
    let text = to_text(&ask(data, &OperatorRequest::Status, within)?);
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

/// The numbers of a list of parties.
fn numbers(parties: &Value) -> String {
    let numbers: Vec<String> = parties.as_array().into_iter().flatten().map(Value::to_string).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
}

fn to_text(status: &Value) -> String {
    format!(
        "edition    {}\nrounds     {} of {} have ended with sums\nstate      {}\nconnected  {}\nmissing    {}\n",
        status["edition"],
        status["closed_rounds"],
        status["num_rounds"],
        state(status),
        numbers(&status["connected"]),
        numbers(&status["missing"]),
    )
}

fn state(status: &Value) -> String {
    let is_paused = status["paused"] == true;
    let round = &status["round"];
    if round.is_null() {
        return if is_paused { "paused" } else { "between rounds" }.to_owned();
    }
    let since = match (round["begun"].as_str(), round["seconds"].as_u64()) {
        (Some(begun), Some(seconds)) => format!(" since {begun}, for {}", elapsed(seconds)),
        _ => String::new(),
    };
    let next = if is_paused { "; no further round starts" } else { "" };
    let waits_for = round["waits_for"].as_str().unwrap_or("its next step");
    format!("round {} is in progress{since}; it waits for {waits_for}{next}", round["number"])
}

/// A time span in its two largest units.
fn elapsed(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_says_for_how_long_the_round_has_been_going_on_and_what_it_waits_for() {
        let round = json!({
            "number": 3, "begun": "2026-12-03T05:58:12Z", "seconds": 252, "waits_for": "uploads"
        });
        let status = |paused: bool, round: Value| state(&json!({"paused": paused, "round": round}));
        assert_eq!(
            status(false, round.clone()),
            "round 3 is in progress since 2026-12-03T05:58:12Z, for 4 min 12 s; it waits for uploads"
        );
        assert!(status(true, round).ends_with("uploads; no further round starts"));
        let timeless = json!({"number": 3, "begun": null, "seconds": null, "waits_for": "reveals"});
        assert_eq!(status(false, timeless), "round 3 is in progress; it waits for reveals");
        assert_eq!(
            (status(false, Value::Null), status(true, Value::Null)),
            ("between rounds".into(), "paused".into())
        );
        assert_eq!([7, 3599, 7384].map(elapsed), ["7 s", "59 min 59 s", "2 h 3 min"]);
    }
}
