//! The configuration that a hospital's loop starts from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::Role;
use cloister_params::id::{Digest, PartyId};
use cloister_params::policy::Policy;
use cloister_protocol::model::Model;
use cloister_transport::{HostPort, Identity, StopSignal, TransportSettings};

use crate::data_folder::{journal_path, ledger_path, openings_path};
use crate::events::ClientError;
use crate::policy_updates::PolicyUpdates;
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
    /// Policies that are read again while the program runs.
    pub policy_updates: PolicyUpdates,
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
    /// Whether the data folder was restored from a backup or lost. The openings record it, and keep the limits until they end
    /// (`ROUND-04`, `ROUND-38`).
    pub restored: bool,
    /// Whether it trains.
    pub participation: Participation,
}

/// What a party does in rounds.
#[derive(Debug)]
pub enum Participation {
    /// It trains as a member. It is a custodian too if the consortium file lists it as one.
    Member(Box<MemberPart>),
    /// It is a custodian alone.
    Custodian {
        /// Digest of the model that the epoch starts from. A custodian must know it, because members act on what a quorum of
        /// custodians signs, and the model is part of that.
        model: Digest,
    },
}

/// What a member needs beyond what every party needs.
#[derive(Debug)]
pub struct MemberPart {
    /// Digest of its task file. A plan for another task is refused.
    pub task: Digest,
    /// The model that the epoch starts from.
    pub model: Model,
    /// How and on what it trains.
    pub training: TrainingConfig,
}

impl ClientConfig {
    /// Checks that a party which the consortium file lists as a member was not started as a custodian alone.
    pub(crate) fn check_roles(&self) -> Result<(), ClientError> {
        match self.member_part() {
            None if self.epoch.consortium().has_role(self.party, Role::Member) => Err(ClientError::IsMember),
            _ => Ok(()),
        }
    }

    /// What this party trains, if it may be a member.
    pub(crate) fn member_part(&self) -> Option<&MemberPart> {
        match &self.participation {
            Participation::Member(part) => Some(part),
            Participation::Custodian { .. } => None,
        }
    }

    /// Digest of the model that the epoch starts from.
    pub(crate) fn initial_model(&self) -> Digest {
        match &self.participation {
            Participation::Member(part) => part.model.digest(),
            Participation::Custodian { model } => *model,
        }
    }

    /// The journal's file of this epoch.
    pub(crate) fn journal(&self) -> PathBuf {
        journal_path(&self.folder, &self.epoch)
    }

    /// The file of what this party helped to open.
    pub(crate) fn openings(&self) -> PathBuf {
        openings_path(&self.folder)
    }

    /// The privacy ledger's file.
    pub(crate) fn ledger(&self) -> PathBuf {
        ledger_path(&self.folder)
    }
}
