//! What a coordinator is started with, and the events that it reports.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_identity::online::{EnrolmentDesk, KeptEnrolment};
use cloister_params::id::PartyId;
use cloister_params::limits::Date;
use cloister_params::plan::RoundSettings;
use cloister_params::time::UtcTime;
use cloister_protocol::coordinator::{Event, RoundReport};
use cloister_protocol::model::Model;
use cloister_transport::{AcceptError, Carrier, Identity, StopSignal, TransportSettings};

use crate::daily_window::DailyWindow;
use crate::runs::Run;

/// Everything that a coordinator needs, loaded and checked.
#[derive(Debug)]
pub struct ServerConfig {
    /// The consortium, from the file that the governance key signed.
    pub epoch: Arc<Epoch>,
    /// The coordinator's signing key. The consortium file has its public key.
    pub signing_key: Arc<SigningKey>,
    /// The coordinator's TLS identity. The consortium file has its certificate's fingerprint.
    pub identity: Identity,
    /// The address at which to listen, over UDP and TCP; port 0 chooses a free port.
    pub listen: SocketAddr,
    /// What each round does; the consortium agrees on it.
    pub settings: RoundSettings,
    /// The model from which the epoch starts.
    pub model: Model,
    /// How many rounds with sums the first run has, those of earlier epochs and before a restart included. The operator queues
    /// further runs.
    pub num_rounds: u64,
    /// How many members must be connected before the first round starts; before each round, if the program runs
    /// until it is stopped. `None` is all members of the edition, or its smallest cohort if the program runs until it is
    /// stopped.
    pub min_available_nodes: Option<usize>,
    /// When on each day rounds may start; a round in progress goes on. `None` is at any time.
    pub rounds_between: Option<DailyWindow>,
    /// When the program ends.
    pub lifetime: ServerLifetime,
    /// Tells the program to stop.
    pub stop: StopSignal,
    /// How long to wait for a party that lost its link, before the round treats it as a dropout.
    pub reconnect_within: Duration,
    /// Timeouts of links, and limits on peers that shake hands.
    pub transport: TransportSettings,
    /// Invitations, and the enrolment files of invited parties, in the same folder.
    pub desk: Arc<EnrolmentDesk>,
    /// The folder for journal, logs, ledgers and the model. No other coordinator may use it.
    pub folder: PathBuf,
    /// How many models of the last closings the folder keeps, at least 1 (`FILE-02`).
    pub keep_models: usize,
    /// How many rounds' files of opened sums the folder keeps; without a number, all of them (`LOG-07`).
    pub keep_sums: Option<NonZeroUsize>,
}

/// When the coordinator's program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerLifetime {
    /// After the last round of all runs: for scripts and the demo. It ends with an error if members do not come in time, or
    /// rounds lack a quorum.
    UntilFinished {
        /// How long to wait for members before the first round.
        start_within: Duration,
    },
    /// When it is told to stop: for services. It waits for members and quorums as long as it takes, and stays
    /// after the last round.
    UntilStopped,
}

impl ServerConfig {
    /// How many members of the edition in force must be connected.
    pub(crate) fn wanted_members(&self) -> usize {
        let consortium = self.epoch.consortium();
        let members = consortium.members().count();
        let usual = match self.lifetime {
            ServerLifetime::UntilFinished { .. } => members,
            // A service goes on without a hospital that is away for a night.
            ServerLifetime::UntilStopped => consortium.floors().cohort,
        };
        // An edition can have fewer members than the operator asked for under an earlier one.
        self.min_available_nodes.unwrap_or(usual).min(members)
    }

    /// How long a party may be away after its link broke: it tries again only after it has noticed that,
    /// which takes up to the idle timeout.
    pub(crate) fn time_to_return(&self) -> Duration {
        self.transport.idle_timeout + self.reconnect_within
    }

    /// How long parties may take for what waits for them after the last round. That is a model and messages,
    /// which are about as much as an upload; the plan of the last round says how long an upload may take.
    pub(crate) fn closing_time(&self, last: &RoundSettings) -> Duration {
        self.time_to_return() + Duration::from_millis(last.deadlines.upload)
    }
}

/// What happened, for people and programs that watch.
#[derive(Debug)]
pub enum ServerEvent {
    /// No round starts before these parties, or enough of them, are connected.
    Waiting {
        /// Members that are connected.
        connected: usize,
        /// Members that must be connected.
        wanted: usize,
        /// All parties that are not connected.
        missing: Vec<PartyId>,
    },
    /// The round in progress cannot continue before custodians are back.
    RoundWaits {
        /// What the round lacks.
        reason: &'static str,
        /// Custodians that are not connected.
        missing: Vec<PartyId>,
    },
    /// No round starts before the time of day at which rounds may start.
    OutsideWindow(DailyWindow),
    /// Several rounds in a row ended without a sum, so the next one starts later.
    Paused {
        /// Why they ended so.
        reason: String,
        /// How long the pause is.
        pause: Duration,
    },
    /// The operator has queued a run.
    RunQueued(Run),
    /// The first round of a run starts as soon as the members are there.
    RunBegun(Run),
    /// No round of a run starts any more.
    RunEnded(Run),
    /// The next run begins at this time.
    RunWaits {
        /// The run's number.
        number: u32,
        /// When it begins.
        not_before: UtcTime,
    },
    /// So many rounds have ended with sums, and no run waits. The coordinator stays for parties that missed the last round.
    RoundsDone(u64),
    /// The edition in force ended on this day: no round starts before a later one is in force (`CONS-12`).
    EditionEnded(Date),
    /// Something that the operator should do soon.
    Warning(String),
    /// The operator has paused the rounds: none starts before they are resumed.
    RoundsPaused,
    /// The operator has resumed the rounds.
    RoundsResumed,
    /// The edition with this number is in force; all parties connect again.
    Edition(u32),
    /// The program was told to stop, and closes its links.
    Stopping,
    /// The coordinator listens at this address.
    Listening(SocketAddr),
    /// The coordinator was restored from the journal of an earlier run.
    Resumed {
        /// Rounds with sums so far.
        closed_rounds: u64,
        /// Whether a round is in progress.
        in_round: bool,
        /// Bytes at the journal's end that a power cut left incomplete. They were removed.
        torn: usize,
    },
    /// A party is connected over this carrier.
    Connected(PartyId, Carrier),
    /// A party's link ended, with the reason.
    Disconnected(PartyId, String),
    /// A peer was rejected during its handshake.
    PeerRefused(AcceptError),
    /// An invited party handed in its enrolment file, which was kept. The party is not in the consortium.
    EnrolmentKept(KeptEnrolment),
    /// A party's enrolment was not kept.
    EnrolmentRefused {
        /// Where the party came from.
        address: SocketAddr,
        /// Whether nothing shows that it was invited: so does whatever knocks at a public port.
        is_strangers: bool,
        /// Why.
        reason: String,
    },
    /// A party's frame broke a rule. It changed nothing.
    Fault(PartyId, String),
    /// A frame was unexpected: it came late, early or twice, as after a restart. It changed nothing, and is
    /// nobody's fault.
    Unexpected(PartyId, String),
    /// Something happened in the round.
    Round(Event),
    /// A round ended.
    Ended(Box<RoundReport>),
}
