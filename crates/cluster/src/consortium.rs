//! Consortia whose keys follow from the parties' numbers. Anybody can compute the private keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloister_crypto::consortium::{Epoch, sign_file};
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::{
    ConsortiumFile, CoordinatorEntry, EpochStart, LastEnding, Party, PublicBytes, Role,
};
use cloister_params::floors::DEFAULT_CUSTODIANS;
use cloister_params::id::{Digest, PartyId};
use cloister_params::plan::RoundSettings;
use cloister_params::policy::Policy;
use cloister_protocol::custodian::CustodianConfig;
use cloister_protocol::member::MemberConfig;
use cloister_protocol::model::Model;
use cloister_protocol::openings::OpeningHistory;

use crate::plan;

/// An accepted consortium file, and the private keys of everyone in it.
#[derive(Debug)]
pub struct TestConsortium {
    /// The accepted file.
    pub epoch: Arc<Epoch>,
    /// Signing keys by party. The coordinator is number 0.
    pub keys: BTreeMap<PartyId, Arc<SigningKey>>,
    /// The public half of the governance key.
    pub governance: PublicBytes,
}

/// A policy that allows everything that the specification allows.
pub fn policy(consortium: &TestConsortium) -> Policy {
    let text = format!("governance_key = \"{}\"\nallow_late_sketches = true", consortium.governance);
    Policy::parse(&text).expect("a policy with the governance key")
}

impl TestConsortium {
    /// What a member without a journal starts from, for the task and the model of these settings. Its policy allows
    /// everything that the specification allows.
    pub fn member_config(&self, id: PartyId, settings: &RoundSettings, model: &Model) -> MemberConfig {
        MemberConfig {
            id,
            key: self.keys[&id].clone(),
            epoch: self.epoch.clone(),
            policy: policy(self),
            task: plan::task(settings),
            model: model.clone(),
            last_announced: None,
            openings: OpeningHistory::default(),
            arrived: Vec::new(),
        }
    }

    /// What a custodian without a journal starts from, with the same policy.
    pub fn custodian_config(&self, id: PartyId, model: &Model) -> CustodianConfig {
        CustodianConfig {
            id,
            key: self.keys[&id].clone(),
            epoch: self.epoch.clone(),
            policy: policy(self),
            model: model.digest(),
            signed: Vec::new(),
            openings: OpeningHistory::default(),
        }
    }
}

fn key(number: u32) -> SigningKey {
    let mut seed = [0x5e; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_seed(&seed)
}

fn certificate(number: u32) -> PublicBytes {
    let mut bytes = [0xce; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    PublicBytes(bytes)
}

/// A consortium with one party for each weight, each of them member and custodian.
pub fn consortium(weights: &[u8]) -> TestConsortium {
    with_parties((1..).zip(weights).map(|(number, weight)| party(number, *weight)).collect())
}

/// A consortium of members with these weights, of which the first ones, up to the default number, are custodians.
pub fn large_consortium(weights: &[u8]) -> TestConsortium {
    let mut parties: Vec<Party> = (1..).zip(weights).map(|(number, weight)| party(number, *weight)).collect();
    for member in parties.iter_mut().skip(DEFAULT_CUSTODIANS) {
        member.roles = vec![Role::Member];
    }
    with_parties(parties)
}

/// A party that is member and custodian, of an organisation of its own.
pub fn party(number: u32, weight: u8) -> Party {
    Party {
        id: PartyId(number),
        name: format!("hospital {number}"),
        organisation: format!("organisation {number}"),
        roles: vec![Role::Member, Role::Custodian],
        signing_key: key(number).public(),
        certificate: certificate(number),
        weight,
    }
}

/// A consortium with these parties. Their keys must follow from their numbers, as [`party`] computes them.
pub fn with_parties(parties: Vec<Party>) -> TestConsortium {
    signed(1, None, parties)
}

/// The same parties in their next epoch, which starts from a model and names the last ending of the epoch
/// before, if there was one.
pub fn next_epoch(before: &TestConsortium, model: Digest, ending: Option<LastEnding>) -> TestConsortium {
    let consortium = before.epoch.consortium();
    let epoch = PublicBytes(before.epoch.digest().0);
    // Tests begin epochs with models of their own.
    let start = EpochStart { epoch, model: PublicBytes(model.0), replaced: true, back_to: None, ending };
    let parties = consortium.parties().cloned().collect();
    signed(consortium.epoch_number() + 1, Some(start), parties)
}

fn signed(number: u32, start: Option<EpochStart>, parties: Vec<Party>) -> TestConsortium {
    sign(&ConsortiumFile {
        name: "test".into(),
        epoch: number,
        start,
        until: None,
        retired: Vec::new(),
        coordinator: CoordinatorEntry {
            name: "coordinator".into(),
            signing_key: key(0).public(),
            certificate: certificate(0),
        },
        parties,
    })
}

/// A consortium file that the governance key of these consortia has signed.
pub fn sign(file: &ConsortiumFile) -> TestConsortium {
    let numbers: Vec<PartyId> = file.parties.iter().map(|party| party.id).collect();
    let text = file.to_toml().expect("a consortium file is TOML");
    // A number that no party has.
    let governance = key(u32::MAX);
    // Through the parser and the signature check, so that a consortium of a test is one that a program would
    // accept.
    let epoch = Epoch::accept(&text, &sign_file(&text, &governance), governance.public())
        .expect("the test's own consortium");
    let keys =
        numbers.into_iter().chain([PartyId::COORDINATOR]).map(|id| (id, Arc::new(key(id.0)))).collect();
    TestConsortium { epoch: Arc::new(epoch), keys, governance: governance.public() }
}
