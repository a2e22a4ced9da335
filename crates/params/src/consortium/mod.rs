//! The consortium file: who takes part, pinned by a signature of the governance key over the file's bytes.

mod error;
mod start;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::floors::Floors;
use crate::id::PartyId;
use crate::rule;

pub use error::ConsortiumError;
pub use start::{EpochStart, LastEnding};

/// The largest consortium file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// The largest public aggregation weight (`PLAN-07`).
pub const MAX_WEIGHT: u8 = 15;

/// Thirty-two public bytes that a file writes in hex: a key or a certificate's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicBytes(pub [u8; 32]);

impl fmt::Debug for PublicBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode(self.0))
    }
}

impl fmt::Display for PublicBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode(self.0))
    }
}

impl Serialize for PublicBytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for PublicBytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| serde::de::Error::custom("expected 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

/// What a party does in the consortium.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Trains on its own notes and uploads masked blocks.
    Member,
    /// Holds shares of members' round secrets and signs seals.
    Custodian,
}

/// A party as the consortium file lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// Its number, unique, from 1.
    pub id: PartyId,
    /// Its name, unique.
    pub name: String,
    /// The organisation that it belongs to; floors count organisations.
    pub organisation: String,
    /// Member, custodian, or both.
    pub roles: Vec<Role>,
    /// Its Ed25519 public key for protocol statements.
    pub signing_key: PublicBytes,
    /// SHA-256 of its TLS certificate (DER).
    pub certificate: PublicBytes,
    /// Its public aggregation weight, 1 to 15.
    #[serde(default = "one")]
    pub weight: u8,
}

fn one() -> u8 {
    1
}

/// The coordinator as the consortium file lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorEntry {
    /// Its name.
    pub name: String,
    /// Its Ed25519 public key for plans.
    pub signing_key: PublicBytes,
    /// SHA-256 of its TLS certificate (DER).
    pub certificate: PublicBytes,
}

/// The file as written, before its rules are checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsortiumFile {
    /// The consortium's name.
    pub name: String,
    /// Counts the editions of this file; a new one starts a new epoch.
    pub epoch: u32,
    /// The coordinator.
    pub coordinator: CoordinatorEntry,
    /// On what this epoch begins; from the second one on (`CONS-06`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<EpochStart>,
    /// All members and custodians.
    #[serde(rename = "party")]
    pub parties: Vec<Party>,
}

/// A consortium whose file obeys its rules. Its signature is checked where keys are: `crypto::consortium`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consortium {
    name: String,
    epoch_number: u32,
    start: Option<EpochStart>,
    coordinator: CoordinatorEntry,
    parties: BTreeMap<PartyId, Party>,
    floors: Floors,
}

impl Consortium {
    /// Reads and checks a consortium file.
    ///
    /// # Errors
    /// The first rule that the file breaks (`CONS-01` to `CONS-05`).
    pub fn parse(text: &str) -> Result<Self, ConsortiumError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(ConsortiumError::TooLarge { got: text.len() });
        }
        let file = toml::from_str(text).map_err(|error| ConsortiumError::Syntax(error.to_string()))?;
        Self::check(file)
    }

    fn check(file: ConsortiumFile) -> Result<Self, ConsortiumError> {
        for party in &file.parties {
            check_party(party)?;
        }
        unique(&file, "number", |party| party.id.0.to_string(), None)?;
        unique(&file, "name", |party| party.name.clone(), Some(file.coordinator.name.clone()))?;
        let key = file.coordinator.signing_key.to_string();
        unique(&file, "signing key", |party| party.signing_key.to_string(), Some(key))?;
        let certificate = file.coordinator.certificate.to_string();
        unique(&file, "certificate", |party| party.certificate.to_string(), Some(certificate))?;
        check_custodians(&file)?;
        let parties: BTreeMap<PartyId, Party> =
            file.parties.into_iter().map(|party| (party.id, party)).collect();
        let organisations = organisations(parties.values().filter(|party| has(party, Role::Member)));
        let custodians = parties.values().filter(|party| has(party, Role::Custodian)).count();
        let floors = Floors::for_roster(organisations, custodians)?;
        let (epoch_number, start) = (file.epoch, file.start);
        if epoch_number == 0 || start.is_some() != (epoch_number > 1) {
            return Err(ConsortiumError::Start { epoch: epoch_number });
        }
        Ok(Self { name: file.name, epoch_number, start, coordinator: file.coordinator, parties, floors })
    }

    /// The number of the file's edition.
    pub fn epoch_number(&self) -> u32 {
        self.epoch_number
    }

    /// On what the epoch begins; none for the first.
    pub fn start(&self) -> Option<&EpochStart> {
        self.start.as_ref()
    }

    /// The consortium's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The coordinator's entry.
    pub fn coordinator(&self) -> &CoordinatorEntry {
        &self.coordinator
    }

    /// One party's entry.
    pub fn party(&self, id: PartyId) -> Option<&Party> {
        self.parties.get(&id)
    }

    /// All parties by number.
    pub fn parties(&self) -> impl Iterator<Item = &Party> {
        self.parties.values()
    }

    /// The members' numbers, ascending.
    pub fn members(&self) -> impl Iterator<Item = PartyId> + '_ {
        self.with_role(Role::Member)
    }

    /// The custodians' numbers, ascending.
    pub fn custodians(&self) -> impl Iterator<Item = PartyId> + '_ {
        self.with_role(Role::Custodian)
    }

    /// Whether this party is listed with that role.
    pub fn has_role(&self, id: PartyId, role: Role) -> bool {
        self.party(id).is_some_and(|party| has(party, role))
    }

    /// The signing key of a party or of the coordinator.
    pub fn signing_key(&self, id: PartyId) -> Option<PublicBytes> {
        if id == PartyId::COORDINATOR {
            return Some(self.coordinator.signing_key);
        }
        self.party(id).map(|party| party.signing_key)
    }

    /// The floors of this roster.
    pub fn floors(&self) -> Floors {
        self.floors
    }

    /// How many organisations stand behind these parties; two members of one count once (`FLOOR-05`).
    pub fn organisations(&self, parties: impl IntoIterator<Item = PartyId>) -> usize {
        organisations(parties.into_iter().filter_map(|id| self.party(id)))
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = PartyId> + '_ {
        self.parties.values().filter(move |party| has(party, role)).map(|party| party.id)
    }
}

impl ConsortiumFile {
    /// The file's text, for the governance key to sign.
    ///
    /// # Errors
    /// Never for the types of this file; the TOML library's error is passed on.
    pub fn to_toml(&self) -> Result<String, ConsortiumError> {
        toml::to_string(self).map_err(|error| ConsortiumError::Syntax(error.to_string()))
    }
}

fn has(party: &Party, role: Role) -> bool {
    party.roles.contains(&role)
}

fn organisations<'a>(parties: impl Iterator<Item = &'a Party>) -> usize {
    let mut names: Vec<&str> = parties.map(|party| party.organisation.as_str()).collect();
    names.sort_unstable();
    if rule::in_force("FLOOR-05") {
        names.dedup();
    }
    names.len()
}

fn check_party(party: &Party) -> Result<(), ConsortiumError> {
    let name = party.name.clone();
    if party.id == PartyId::COORDINATOR {
        return Err(ConsortiumError::ReservedId { name });
    }
    if party.roles.is_empty() {
        return Err(ConsortiumError::NoRole { name });
    }
    if !(1..=MAX_WEIGHT).contains(&party.weight) {
        return Err(ConsortiumError::Weight { name, got: party.weight });
    }
    Ok(())
}

/// `FLOOR-06`: quorums and thresholds count custodians, so each must be another organisation.
fn check_custodians(file: &ConsortiumFile) -> Result<(), ConsortiumError> {
    let mut seen: BTreeMap<&str, &Party> = BTreeMap::new();
    for party in file.parties.iter().filter(|party| has(party, Role::Custodian)) {
        if let Some(first) = seen.insert(&party.organisation, party) {
            let (first, second) = (first.name.clone(), party.name.clone());
            let organisation = party.organisation.clone();
            return Err(ConsortiumError::CustodianOrganisation { first, second, organisation });
        }
    }
    Ok(())
}

fn unique(
    file: &ConsortiumFile,
    what: &'static str,
    key: impl Fn(&Party) -> String,
    coordinators: Option<String>,
) -> Result<(), ConsortiumError> {
    let mut seen: BTreeMap<String, String> =
        coordinators.into_iter().map(|key| (key, file.coordinator.name.clone())).collect();
    for party in &file.parties {
        if let Some(first) = seen.insert(key(party), party.name.clone()) {
            return Err(ConsortiumError::Duplicate { first, second: party.name.clone(), what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floors::FloorsError;

    fn file(members: u32) -> ConsortiumFile {
        let bytes = |tag: u8, number: u32| PublicBytes([tag + u8::try_from(number).expect("small"); 32]);
        ConsortiumFile {
            name: "test".into(),
            epoch: 1,
            start: None,
            coordinator: CoordinatorEntry {
                name: "coordinator".into(),
                signing_key: bytes(0, 0),
                certificate: bytes(100, 0),
            },
            parties: (1..=members)
                .map(|number| Party {
                    id: PartyId(number),
                    name: format!("hospital {number}"),
                    organisation: format!("organisation {number}"),
                    roles: vec![Role::Member, Role::Custodian],
                    signing_key: bytes(0, number),
                    certificate: bytes(100, number),
                    weight: 1,
                })
                .collect(),
        }
    }

    fn parse(file: &ConsortiumFile) -> Result<Consortium, ConsortiumError> {
        Consortium::parse(&file.to_toml().expect("serialisable"))
    }

    #[test]
    fn a_file_survives_its_text() {
        let consortium = parse(&file(5)).expect("valid");
        assert_eq!(consortium.members().count(), 5);
        assert_eq!(consortium.floors(), Floors::for_roster(5, 5).expect("covered"));
    }

    /// CONS-03
    #[test]
    fn two_members_with_one_name_are_refused() {
        let mut twice = file(5);
        twice.parties[3].name = "hospital 1".into();
        let error = parse(&twice).expect_err("a duplicate");
        assert_eq!(
            error.to_string(),
            "\"hospital 1\" and \"hospital 1\" have the same name; every party needs its own"
        );
    }

    /// CONS-03
    #[test]
    fn one_key_for_two_parties_is_refused() {
        let mut twice = file(5);
        twice.parties[3].signing_key = twice.coordinator.signing_key;
        assert!(matches!(parse(&twice), Err(ConsortiumError::Duplicate { what: "signing key", .. })));
    }

    /// FLOOR-06
    #[test]
    fn two_custodians_of_one_organisation_are_refused() {
        let mut padded = file(5);
        padded.parties[4].organisation = padded.parties[0].organisation.clone();
        assert!(matches!(parse(&padded), Err(ConsortiumError::CustodianOrganisation { .. })));
        padded.parties[4].roles = vec![Role::Member];
        assert_eq!(parse(&padded).map(|consortium| consortium.floors().members), Ok(4));
    }

    /// FLOOR-05, CONS-05
    #[test]
    fn one_organisation_twice_counts_once() {
        let mut padded = file(5);
        for party in &mut padded.parties {
            party.organisation = format!("organisation {}", party.id.0 % 2);
            party.roles = vec![Role::Member];
        }
        assert_eq!(parse(&padded), Err(ConsortiumError::Floors(FloorsError::Members { got: 2 })));
    }

    /// CONS-04
    #[test]
    fn roles_weights_numbers_and_unknown_fields_are_checked() {
        let mut bad = file(5);
        bad.parties[0].weight = 16;
        assert!(matches!(parse(&bad), Err(ConsortiumError::Weight { got: 16, .. })));
        let mut bad = file(5);
        bad.parties[0].roles.clear();
        assert!(matches!(parse(&bad), Err(ConsortiumError::NoRole { .. })));
        let mut bad = file(5);
        bad.parties[0].id = PartyId::COORDINATOR;
        assert!(matches!(parse(&bad), Err(ConsortiumError::ReservedId { .. })));
        assert!(matches!(Consortium::parse("colour = 'blue'"), Err(ConsortiumError::Syntax(_))));
    }
}
