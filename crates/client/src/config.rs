//! What a hospital's loop starts from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::id::{Digest, PartyId};
use cloister_params::policy::Policy;
use cloister_protocol::model::Model;
use cloister_transport::{HostPort, Identity, TransportSettings};

use crate::training::TrainingConfig;

/// Everything that a hospital needs, loaded and checked.
#[derive(Debug)]
pub struct ClientConfig {
    /// Its number in the consortium file.
    pub party: PartyId,
    /// The consortium.
    pub epoch: Arc<Epoch>,
    /// Its signing key.
    pub signing_key: Arc<SigningKey>,
    /// Its TLS identity.
    pub identity: Identity,
    /// Its own policy.
    pub policy: Policy,
    /// Digest of its task file.
    pub task: Digest,
    /// The model to start from.
    pub model: Model,
    /// Where the coordinator listens.
    pub coordinator: HostPort,
    /// Limits of the link.
    pub transport: TransportSettings,
    /// How long to try to reach the coordinator.
    pub reach_within: Duration,
    /// The journal's file.
    pub journal: PathBuf,
    /// The file of what this party helped to open: one for all epochs.
    pub openings: PathBuf,
    /// Whether the data folder was restored from a backup.
    pub restored: bool,
    /// The privacy ledger's file: one for this hospital's data, over all epochs.
    pub ledger: PathBuf,
    /// Training, for members.
    pub training: TrainingConfig,
}
