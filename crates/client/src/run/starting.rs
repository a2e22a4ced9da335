//! What a client starts from: its files, and the state machines of its roles.

use std::fs;
use std::sync::mpsc as blocking;

use cloister_params::block::BlockShape;
use cloister_params::consortium::Role;
use cloister_protocol::arriving::ArrivingModel;
use cloister_protocol::custodian::{Custodian, CustodianConfig};
use cloister_protocol::hospital::Hospital;
use cloister_protocol::member::{Member, MemberConfig, MemberTask};
use cloister_protocol::model::Model;
use cloister_wire::opening::OpeningRecord;

use super::Client;
use super::phase::ContributionPhase;
use crate::account::ReleaseAccount;
use crate::arriving_file::ArrivingFile;
use crate::config::ClientConfig;
use crate::data_folder::{ARRIVING, PARAMETERS};
use crate::epoch_start::EpochStartFile;
use crate::events::{ClientError, ClientEvent};
use crate::jobs::Job;
use crate::journal::Journal;
use crate::openings::OpeningsFile;
use crate::outgoing::Outgoing;

/// What a party has on its disk.
pub(super) struct PartyRecords {
    pub(super) journal: Journal,
    pub(super) openings: OpeningsFile,
    pub(super) epoch_start: EpochStartFile,
    /// What members release is charged here first.
    pub(super) account: Option<ReleaseAccount>,
    /// The model that arrives from the coordinator.
    pub(super) arriving: ArrivingFile,
    /// What is on disk of models, for the member to begin with.
    arrived: Vec<ArrivingModel>,
}

impl PartyRecords {
    pub(super) fn open(config: &ClientConfig) -> Result<Self, ClientError> {
        let journal = Journal::open(&config.journal())?;
        let mut openings = OpeningsFile::open(&config.openings())?;
        if config.restored {
            // ROUND-04: before anything else, so that a start that reaches nobody counts too.
            openings.keep(OpeningRecord::Restored)?;
        }
        // CONS-06
        openings.begin(&config.epoch)?;
        let epoch_start = EpochStartFile::open(&config.folder, &config.epoch, config.initial_model())
            .map_err(ClientError::EpochStart)?;
        let account = ReleaseAccount::open(config, &journal)?;
        let (arriving, arrived) = ArrivingFile::open(&config.folder.join(ARRIVING))?;
        let mut arrived: Vec<ArrivingModel> = arrived.into_iter().collect();
        // The model after the last round that this member applied sums in, if it is one. It need not be the present one.
        let applied =
            fs::read(config.folder.join(PARAMETERS)).ok().filter(|_| config.member_part().is_some());
        let applied = applied.and_then(|bytes| Model::from_bytes(&bytes));
        arrived.extend(applied.as_ref().map(ArrivingModel::whole));
        Ok(Self { journal, openings, epoch_start, account, arriving, arrived })
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(
        config: &'a ClientConfig,
        mut records: PartyRecords,
        (jobs, blocks): (blocking::Sender<Job>, Vec<BlockShape>),
        events: &'a mut (dyn FnMut(ClientEvent) + Send),
    ) -> Self {
        let roster = config.epoch.consortium();
        let (key, epoch, policy) = (&config.signing_key, &config.epoch, &config.policy);
        let part = config.member_part().filter(|_| roster.has_role(config.party, Role::Member));
        let member = part.map(|part| {
            Member::new(MemberConfig {
                id: config.party,
                key: key.clone(),
                epoch: epoch.clone(),
                policy: policy.clone(),
                task: MemberTask { digest: part.task, blocks },
                model: part.model.clone(),
                last_announced: records.journal.last_announced(),
                openings: records.openings.openings().clone(),
                arrived: std::mem::take(&mut records.arrived),
            })
        });
        let custodian = roster.has_role(config.party, Role::Custodian).then(|| {
            Custodian::new(CustodianConfig {
                id: config.party,
                key: key.clone(),
                epoch: epoch.clone(),
                policy: policy.clone(),
                model: config.initial_model(),
                signed: records.journal.signed().to_vec(),
                openings: records.openings.openings().clone(),
            })
        });
        Self {
            config,
            hospital: Hospital { member, custodian },
            records,
            policy: policy.clone(),
            privacy_refusal: None,
            training_failure: None,
            jobs,
            phase: ContributionPhase::default(),
            trained: Vec::new(),
            to_send: Outgoing::default(),
            has_reported_end: false,
            events,
        }
    }
}
