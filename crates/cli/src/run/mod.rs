//! `cloister run`: what an operator asks of a running coordinator, by the control socket in its data folder or over HTTPS, and
//! the history of its rounds.

mod history;
mod invitations;
mod local;
mod questions;
mod queue;
mod remote;
mod status;
mod tokens;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::output;
use crate::rounds_so_far;
use crate::service::control::OperatorRequest;
use crate::service::log;
use questions::CoordinatorQuestion;
use remote::RemoteFlags;

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
    #[command(flatten)]
    remote: RemoteFlags,
    /// Print one JSON object; for `watch`, one for each event.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Ask(CoordinatorQuestion),
    /// Show the rounds so far, over all editions. Without --url the coordinator may be running or stopped: its files are read
    /// alone.
    History {
        /// Show the last rounds alone, so many.
        #[arg(long, value_name = "N")]
        last: Option<u32>,
    },
    /// Show what happens at a running coordinator, until this command is interrupted.
    Watch,
}

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let remote = arguments.remote.coordinator()?;
    let request = match &arguments.command {
        Command::Ask(question) => question.request()?,
        Command::History { last } => OperatorRequest::History { last: *last },
        Command::Watch => return watch::follow(&arguments.data, remote, arguments.json),
    };
    let answer = match (&remote, &request) {
        (Some(remote), _) => remote.ask(&request, ANSWER_WITHIN)?,
        (None, OperatorRequest::History { last }) => rounds_so_far::read(&arguments.data, *last)?,
        (None, _) => local::ask(&arguments.data, &request, ANSWER_WITHIN)?,
    };
    if arguments.json {
        // Texts in it may be a peer's words.
        return output::line(log::escape_commands(&answer.to_string()));
    }
    match request {
        OperatorRequest::History { .. } => history::print(&answer),
        OperatorRequest::Start(_) => queue::print_queued(&answer),
        OperatorRequest::Queue => queue::print(&answer),
        OperatorRequest::Cancel { .. } => queue::print_cancelled(&answer),
        OperatorRequest::Invite { .. } => invitations::print_invitation(&answer),
        OperatorRequest::Invitations => {
            invitations::print_list(&answer, remote.is_none().then_some(arguments.data.as_path()))
        }
        OperatorRequest::Uninvite { number } => {
            output::line(format_args!("invitation {number} is cancelled"))
        }
        OperatorRequest::AddToken { .. } => tokens::print_added(&answer),
        OperatorRequest::Tokens => tokens::print_list(&answer),
        OperatorRequest::RevokeToken { number } => output::line(format_args!("token {number} is revoked")),
        _ => output::print(status::to_text(&answer)),
    }
}

/// How a coordinator's rounds stand, in one line; an error if none answers within this time.
pub(crate) fn status_line(data: &Path, within: Duration) -> Result<String, Failure> {
    let text = status::to_text(&local::ask(data, &OperatorRequest::Status, within)?);
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(rows.collect::<Vec<_>>().join("; "))
}
