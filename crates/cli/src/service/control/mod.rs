//! What an operator asks of a running coordinator, and its answers in JSON.

mod desk;
mod https;
mod invitations;
mod reporter;
mod socket;
mod status;
mod tokens;
mod watchers;

use cloister_identity::enrolment::EnrolmentRole;
use cloister_identity::operator::OperatorRole;
use cloister_params::time::UtcTime;
use cloister_server::EarlyStop;
use serde::{Deserialize, Serialize};

pub(crate) use desk::{Answering, ControlDesk};
pub(crate) use https::{path_of, serve_https};
pub(crate) use invitations::Invitations;
pub(crate) use reporter::EventReporter;
pub(crate) use socket::{serve_socket, socket_path};
pub(crate) use watchers::Watchers;

/// What an operator asks of a running coordinator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum OperatorRequest {
    /// How the rounds stand.
    Status,
    /// The runs: those that wait, the one in progress, and the last ones that have ended.
    Queue,
    /// The rounds so far.
    History {
        /// The last rounds alone, so many.
        #[serde(default)]
        last: Option<u32>,
    },
    /// Send the events from now on.
    Watch,
    /// Start no further round.
    Pause,
    /// Start rounds again.
    Resume,
    /// Queue a run.
    Start(RunToQueue),
    /// Start no further round of a run.
    Cancel {
        /// The run's number.
        number: u32,
    },
    /// Stop the program.
    Stop,
    /// Begin the epoch of the next edition.
    Edition {
        /// The consortium file.
        file: String,
        /// The governance key's signature, in hexadecimal digits.
        signature: String,
        /// The round settings from now on, if they change.
        #[serde(default)]
        settings: Option<String>,
    },
    /// Invite a party.
    Invite {
        /// The coordinator's address, as the party reaches it.
        address: String,
        /// For how many hours the invitation can be used.
        valid_hours: u32,
        /// The roles for which the party is invited.
        roles: Vec<EnrolmentRole>,
    },
    /// List all invitations.
    Invitations,
    /// Cancel an invitation.
    Uninvite {
        /// The invitation's number.
        number: u32,
    },
    /// Make a token for requests over HTTPS.
    AddToken {
        /// What it allows.
        role: OperatorRole,
        /// Whose it is, or what for.
        name: String,
        /// For how many days.
        valid_days: u32,
    },
    /// List all tokens.
    Tokens,
    /// Revoke a token.
    RevokeToken {
        /// The token's number.
        number: u32,
    },
}

/// A run that an operator wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunToQueue {
    /// How many rounds with sums.
    pub(crate) rounds: u64,
    /// Text for people.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The text of a file of round settings, if it has its own.
    #[serde(default)]
    pub(crate) settings: Option<String>,
    /// No round starts before this time.
    #[serde(default)]
    pub(crate) not_before: Option<UtcTime>,
    /// Whether nothing is contributed.
    #[serde(default)]
    pub(crate) rehearsal: bool,
    /// Whether and when it ends before its last round.
    #[serde(default)]
    pub(crate) early_stop: Option<EarlyStop>,
}
