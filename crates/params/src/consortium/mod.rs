//! The consortium file: who takes part, with which keys and roles. The governance key signs the file's bytes;
//! each party has pinned that key in its policy.

mod edition;
mod error;
mod start;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::floors::Floors;
use crate::id::PartyId;
use crate::limits::Date;
use crate::rule;

pub use error::ConsortiumError;
pub use start::{EarlierClosing, EpochStart, LastEnding};

/// The largest consortium file that is read, in bytes: about ten times that of a roster of 300 members.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// The largest aggregation weight. Weights are public (`PLAN-07`).
pub const MAX_WEIGHT: u8 = 15;

/// Thirty-two public bytes, which a file writes as 64 hexadecimal digits: a key, or the SHA-256 of a
/// certificate.
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
    /// The party trains on its own notes and uploads masked blocks.
    Member,
    /// The party holds shares of the members' round secrets and signs seals.
    Custodian,
}

/// A party as the consortium file lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// The party's number, from 1; no other party has it.
    pub id: PartyId,
    /// The party's name; no other party has it.
    pub name: String,
    /// The organisation to which the party belongs. Floors count organisations, so that one with several
    /// members counts once.
    pub organisation: String,
    /// Member, custodian, or both.
    pub roles: Vec<Role>,
    /// The party's Ed25519 public key, which signs its statements.
    pub signing_key: PublicBytes,
    /// SHA-256 of the party's TLS certificate (DER).
    pub certificate: PublicBytes,
    /// The party's aggregation weight, from 1 to [`MAX_WEIGHT`]; a plan may lower it. Everybody sees it.
    #[serde(default = "default_party_weight")]
    pub weight: u8,
}

fn default_party_weight() -> u8 {
    1
}

/// The coordinator as the consortium file lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorEntry {
    /// The coordinator's name.
    pub name: String,
    /// The coordinator's Ed25519 public key, which signs plans.
    pub signing_key: PublicBytes,
    /// SHA-256 of the coordinator's TLS certificate (DER).
    pub certificate: PublicBytes,
}

/// The file as it is written, before its rules are checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsortiumFile {
    /// The consortium's name.
    pub name: String,
    /// The number of this edition of the file, from 1. Each edition starts a new epoch.
    pub epoch: u32,
    /// The coordinator's entry.
    pub coordinator: CoordinatorEntry,
    /// What this epoch continues from; given from the second epoch on (`CONS-06`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<EpochStart>,
    /// The last day, in UTC, on which parties act under this file (`CONS-12`); without it, until they know a later
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
    /// Numbers of parties that have left, ascending. They are never given to another party (`CONS-08`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<PartyId>,
    /// All members and custodians.
    #[serde(rename = "party")]
    pub parties: Vec<Party>,
}

/// A consortium whose file obeys its rules. That the governance key signed the file is shown only by
/// `cloister_crypto::consortium::Epoch`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consortium {
    name: String,
    epoch_number: u32,
    start: Option<EpochStart>,
    until: Option<Date>,
    retired: Vec<PartyId>,
    coordinator: CoordinatorEntry,
    parties: BTreeMap<PartyId, Party>,
    floors: Floors,
}

impl Consortium {
    /// Reads and checks a consortium file.
    ///
    /// # Errors
    /// The first rule that the file breaks (`CONS-03` to `CONS-06`, `FLOOR-06`).
    pub fn parse(text: &str) -> Result<Self, ConsortiumError> {
        // Before parsing, because the memory that a parser takes grows with the text.
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
        // No party has the coordinator's number: `check_party` rejects it.
        check_unique(&file, "number", |party| party.id.0.to_string(), None)?;
        check_unique(&file, "name", |party| party.name.clone(), Some(file.coordinator.name.clone()))?;
        let key = file.coordinator.signing_key.to_string();
        check_unique(&file, "signing key", |party| party.signing_key.to_string(), Some(key))?;
        let certificate = file.coordinator.certificate.to_string();
        check_unique(&file, "certificate", |party| party.certificate.to_string(), Some(certificate))?;
        check_custodians(&file)?;
        check_retired(&file)?;
        let parties: BTreeMap<PartyId, Party> =
            file.parties.into_iter().map(|party| (party.id, party)).collect();
        let organisations = count_organisations(parties.values().filter(|party| has(party, Role::Member)));
        // Custodians can be counted one by one, because no organisation has two.
        let custodians = parties.values().filter(|party| has(party, Role::Custodian)).count();
        // CONS-05
        let floors = Floors::for_roster(organisations, custodians)?;
        let (epoch_number, start, until, retired) = (file.epoch, file.start, file.until, file.retired);
        // The first epoch has nothing to continue from, and a later one has to say from what it continues.
        if epoch_number == 0 || start.is_some() != (epoch_number > 1) {
            return Err(ConsortiumError::Start { epoch: epoch_number });
        }
        if start.is_some_and(|start| start.back_to.is_some() && !start.replaced) {
            return Err(ConsortiumError::BackTo);
        }
        let (name, coordinator) = (file.name, file.coordinator);
        Ok(Self { name, epoch_number, start, until, retired, coordinator, parties, floors })
    }

    /// The number of the file's edition, from 1.
    pub fn epoch_number(&self) -> u32 {
        self.epoch_number
    }

    /// What the epoch continues from; `None` for the first one.
    pub fn start(&self) -> Option<&EpochStart> {
        self.start.as_ref()
    }

    /// The last day on which parties act under this file, if it has one.
    pub fn until(&self) -> Option<Date> {
        self.until
    }

    /// The numbers of parties that have left.
    pub fn retired(&self) -> &[PartyId] {
        &self.retired
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

    /// All parties, in the order of their numbers.
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

    /// Whether the party is listed with this role.
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

    /// The floors that follow from this roster's numbers of member organisations and custodians.
    pub fn floors(&self) -> Floors {
        self.floors
    }

    /// How many organisations these parties belong to. Two members of one organisation count once
    /// (`FLOOR-05`).
    pub fn organisations(&self, parties: impl IntoIterator<Item = PartyId>) -> usize {
        count_organisations(parties.into_iter().filter_map(|id| self.party(id)))
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = PartyId> + '_ {
        self.parties.values().filter(move |party| has(party, role)).map(|party| party.id)
    }
}

fn has(party: &Party, role: Role) -> bool {
    party.roles.contains(&role)
}

/// How many organisations these parties belong to (`FLOOR-05`).
fn count_organisations<'a>(parties: impl Iterator<Item = &'a Party>) -> usize {
    let mut names: Vec<&str> = parties.map(|party| party.organisation.as_str()).collect();
    names.sort_unstable();
    if rule::in_force("FLOOR-05") {
        names.dedup();
    }
    names.len()
}

/// `CONS-04`: what an entry must be on its own.
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

/// `CONS-08`: no party has a number that another one had.
fn check_retired(file: &ConsortiumFile) -> Result<(), ConsortiumError> {
    let reused = file.parties.iter().find(|party| file.retired.contains(&party.id));
    reused.map_or(Ok(()), |party| {
        Err(ConsortiumError::RetiredNumber { name: party.name.clone(), number: party.id })
    })
}

/// `FLOOR-06`: no organisation has two custodians, because quorums and thresholds count custodians, not
/// organisations.
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

/// `CONS-03`: no two parties have the same value of one property, and none has the coordinator's. With one
/// key for two parties, its holder could sign as both.
fn check_unique(
    file: &ConsortiumFile,
    what: &'static str,
    value_of: impl Fn(&Party) -> String,
    coordinator_value: Option<String>,
) -> Result<(), ConsortiumError> {
    let mut seen: BTreeMap<String, String> =
        coordinator_value.into_iter().map(|value| (value, file.coordinator.name.clone())).collect();
    for party in &file.parties {
        if let Some(first) = seen.insert(value_of(party), party.name.clone()) {
            return Err(ConsortiumError::Duplicate { first, second: party.name.clone(), what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
