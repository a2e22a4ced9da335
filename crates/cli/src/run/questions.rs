//! What `cloister run` can ask of a running coordinator, as flags.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use cloister_identity::operator::OperatorRole;
use cloister_params::time::UtcTime;
use cloister_server::EarlyStop;
use cloister_transport::HostPort;

use crate::failure::Failure;
use crate::folder::read_text;
use crate::identity::{RoleFlag, roles};
use crate::service::control::{OperatorRequest, RunToQueue};

/// What the running coordinator answers.
#[derive(Debug, Subcommand)]
pub(super) enum CoordinatorQuestion {
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
    /// Make, list and revoke tokens, with which operators' programs ask over HTTPS. At the coordinator's machine alone.
    #[command(subcommand)]
    Token(TokenQuestion),
    /// Stop the coordinator. A round in progress continues after the next start.
    Stop,
}

#[derive(Debug, Args)]
pub(super) struct StartArguments {
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
    /// Go through the rounds without contributing anything: members train, and upload zeros.
    #[arg(long)]
    rehearsal: bool,
    /// End the run after this many evaluations in a row without a new best accuracy. For tasks whose rounds evaluate the model.
    #[arg(long, value_name = "N", conflicts_with = "rehearsal", value_parser = clap::value_parser!(u32).range(1..))]
    patience: Option<u32>,
    /// By how many percentage points an accuracy must be above the best one before to be a new best.
    #[arg(long, value_name = "POINTS", default_value_t = 0.5, requires = "patience", value_parser = parse_points)]
    least_gain: f64,
}

fn parse_points(text: &str) -> Result<f64, String> {
    let points = text.parse().ok().filter(|points| (0.0..=100.0).contains(points));
    points.ok_or_else(|| "expected a number from 0 to 100".into())
}

fn parse_time(text: &str) -> Result<UtcTime, String> {
    UtcTime::try_from(text.to_owned())
}

#[derive(Debug, Args)]
pub(super) struct InviteArguments {
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

#[derive(Debug, Subcommand)]
pub(super) enum TokenQuestion {
    /// Make a token, and print it once.
    Add {
        /// What it allows.
        #[arg(long, value_enum)]
        role: TokenRoleFlag,
        /// Whose it is, or what for.
        #[arg(long, value_name = "TEXT")]
        name: String,
        /// For how many days it can be used.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3660))]
        valid_days: u32,
    },
    /// List all tokens, without their texts.
    List,
    /// Revoke a token, from now on.
    Revoke {
        /// The token's number.
        number: u32,
    },
}

/// A role, as flags have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum TokenRoleFlag {
    /// See status, queue, history and events.
    Viewer,
    /// Also queue and cancel runs, pause, resume, and stop.
    Operator,
    /// As a viewer, and also invite parties and begin a signed edition.
    Registrar,
}

impl From<TokenRoleFlag> for OperatorRole {
    fn from(flag: TokenRoleFlag) -> Self {
        match flag {
            TokenRoleFlag::Viewer => Self::Viewer,
            TokenRoleFlag::Operator => Self::Operator,
            TokenRoleFlag::Registrar => Self::Registrar,
        }
    }
}

impl CoordinatorQuestion {
    /// The request, with the contents of the files that it names.
    pub(super) fn request(&self) -> Result<OperatorRequest, Failure> {
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
                early_stop: run.patience.map(|patience| EarlyStop {
                    patience,
                    // A tenth of a percentage point is a thousandth.
                    least_gain_milli: (10.0 * run.least_gain).round() as u32,
                }),
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
            Self::Token(TokenQuestion::Add { role, name, valid_days }) => OperatorRequest::AddToken {
                role: (*role).into(),
                name: name.clone(),
                valid_days: *valid_days,
            },
            Self::Token(TokenQuestion::List) => OperatorRequest::Tokens,
            Self::Token(TokenQuestion::Revoke { number }) => OperatorRequest::RevokeToken { number: *number },
            Self::Edition { file, settings } => OperatorRequest::Edition {
                file: read_text(file)?,
                signature: read_text(&file.with_added_extension("sig"))?,
                settings: settings.as_deref().map(read_text).transpose()?,
            },
        })
    }
}
