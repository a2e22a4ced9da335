//! Seeded consortia.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloister_crypto::consortium::{Epoch, sign_file};
use cloister_crypto::sign::SigningKey;
use cloister_params::consortium::{ConsortiumFile, Coordinator, Party, PublicBytes, Role};
use cloister_params::id::PartyId;

/// A consortium of members that are custodians too, and everybody's keys.
#[derive(Debug)]
pub struct TestConsortium {
    /// The accepted file.
    pub epoch: Arc<Epoch>,
    /// Signing keys, the coordinator's under its number 0.
    pub keys: BTreeMap<PartyId, Arc<SigningKey>>,
    /// The governance key's public half.
    pub governance: PublicBytes,
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

/// A consortium with one party for each weight.
pub fn consortium(weights: &[u8]) -> TestConsortium {
    let party = |(number, weight): (u32, &u8)| Party {
        id: PartyId(number),
        name: format!("hospital {number}"),
        organisation: format!("organisation {number}"),
        roles: vec![Role::Member, Role::Custodian],
        signing_key: key(number).public(),
        certificate: certificate(number),
        weight: *weight,
    };
    with_parties((1..).zip(weights).map(party).collect())
}

/// A consortium with these parties; keys are those of their numbers.
pub fn with_parties(parties: Vec<Party>) -> TestConsortium {
    let numbers: Vec<PartyId> = parties.iter().map(|party| party.id).collect();
    let file = ConsortiumFile {
        name: "test".into(),
        epoch: 1,
        coordinator: Coordinator {
            name: "coordinator".into(),
            signing_key: key(0).public(),
            certificate: certificate(0),
        },
        parties,
    };
    let text = file.to_toml().expect("a consortium file is TOML");
    let governance = key(u32::MAX);
    let epoch = Epoch::accept(&text, &sign_file(&text, &governance), governance.public())
        .expect("the test's own consortium");
    let keys = numbers
        .into_iter()
        .chain([PartyId::COORDINATOR])
        .map(|id| (id, Arc::new(key(id.0))))
        .collect();
    TestConsortium {
        epoch: Arc::new(epoch),
        keys,
        governance: governance.public(),
    }
}
