//! What a coordinator is started with, and what it tells of.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::id::PartyId;
use cloister_params::plan::RoundSettings;
use cloister_protocol::coordinator::{Event, RoundReport};
use cloister_protocol::model::Model;
use cloister_transport::{AcceptError, Identity, TransportSettings};

/// Everything that a coordinator needs, loaded and checked.
#[derive(Debug)]
pub struct ServerConfig {
    /// The consortium.
    pub epoch: Arc<Epoch>,
    /// The coordinator's signing key.
    pub signing_key: Arc<SigningKey>,
    /// Its TLS identity.
    pub identity: Identity,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What each round does.
    pub settings: RoundSettings,
    /// The model that the epoch starts from.
    pub model: Model,
    /// Rounds to run in the epoch, those before a restart included.
    pub num_rounds: u64,
    /// Members that must be connected before the first round starts.
    pub min_available_nodes: usize,
    /// How long to wait for them.
    pub start_within: Duration,
    /// How long a party that lost its link is waited for.
    pub reconnect_within: Duration,
    /// Limits of links.
    pub transport: TransportSettings,
    /// Where logs and the model are written.
    pub folder: PathBuf,
}

/// What happened, for people and programs that watch.
#[derive(Debug)]
pub enum ServerEvent {
    /// The port is open.
    Listening(SocketAddr),
    /// An earlier run of this program left a journal, from which this one goes on.
    Resumed {
        /// Rounds with sums so far.
        closed_rounds: u64,
        /// Whether a round is under way.
        in_round: bool,
        /// Bytes at the journal's end that a power cut tore off.
        torn: usize,
    },
    /// A party is connected.
    Connected(PartyId),
    /// A party's link ended.
    Disconnected(PartyId, String),
    /// A peer was not let in.
    PeerRefused(AcceptError),
    /// A frame broke a rule.
    Fault(PartyId, String),
    /// A frame came late, early or again, as after a restart; it changed nothing, and is nobody's fault.
    NotAwaited(PartyId, String),
    /// Something of the round.
    Round(Event),
    /// A round ended.
    Ended(Box<RoundReport>),
}
