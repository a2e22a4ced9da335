//! The configuration that a hospital's loop starts from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::id::{Digest, PartyId};
use cloister_params::policy::Policy;
use cloister_protocol::model::Model;
use cloister_transport::{HostPort, Identity, StopSignal, TransportSettings};

use crate::training::TrainingConfig;

/// When a hospital's program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientLifetime {
    /// When the coordinator says that the last round has ended: for scripts and the demo.
    UntilFinished {
        /// How long to go on trying to reach the coordinator, at each connection.
        reach_within: Duration,
    },
    /// When it is told to stop: for services. It connects again for ever.
    UntilStopped,
}

/// Everything that a hospital needs. Files are read and signatures checked before this is made.
#[derive(Debug)]
pub struct ClientConfig {
    /// This hospital's number in the consortium file.
    pub party: PartyId,
    /// The accepted consortium file.
    pub epoch: Arc<Epoch>,
    /// The private half of the signing key that the consortium file lists for it.
    pub signing_key: Arc<SigningKey>,
    /// Its TLS certificate and key.
    pub identity: Identity,
    /// What it accepts of a plan, and its privacy budget.
    pub policy: Policy,
    /// Digest of its task file. A plan for another task is refused.
    pub task: Digest,
    /// The model that the epoch starts from.
    pub model: Model,
    /// Where the coordinator listens.
    pub coordinator: HostPort,
    /// Limits of the link.
    pub transport: TransportSettings,
    /// When the program ends.
    pub lifetime: ClientLifetime,
    /// Tells the program to stop.
    pub stop: StopSignal,
    /// The folder for journals, openings, the privacy ledger, and the edition of the consortium file that the coordinator sent.
    pub folder: PathBuf,
    /// Whether the data folder was restored from a backup: the custodian then signs nothing until a round that the others ended.
    pub restored: bool,
    /// How and on what a member trains.
    pub training: TrainingConfig,
}

impl ClientConfig {
    /// The journal's file: one for each epoch.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join(format!("journal-{}", &self.epoch.digest().to_string()[..16]))
    }

    /// The file of what this party helped to open. All epochs share one.
    pub(crate) fn openings(&self) -> PathBuf {
        self.folder.join("openings")
    }

    /// The privacy ledger's file. All epochs share one: what was released stays spent under the next consortium file.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.join("privacy-ledger")
    }
}
