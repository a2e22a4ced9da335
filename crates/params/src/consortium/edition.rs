//! Changes from one edition of the consortium file to the next.

use super::{Consortium, ConsortiumError, ConsortiumFile, EpochStart, MAX_FILE_BYTES, Party, PublicBytes};
use crate::id::PartyId;

impl ConsortiumFile {
    /// Reads a file that nobody has signed yet, such as a draft. Its rules are not checked.
    ///
    /// # Errors
    /// A text that is too large or is not a consortium file in TOML.
    pub fn read_draft(text: &str) -> Result<Self, ConsortiumError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(ConsortiumError::TooLarge { got: text.len() });
        }
        toml::from_str(text).map_err(|error| ConsortiumError::Syntax(error.to_string()))
    }

    /// The file's text, for the governance key to sign.
    ///
    /// # Errors
    /// Never for the types of this file; the TOML library's error is passed on.
    pub fn to_toml(&self) -> Result<String, ConsortiumError> {
        toml::to_string(self).map_err(|error| ConsortiumError::Syntax(error.to_string()))
    }

    /// The number for a new party: one above all that parties have or had (`CONS-08`).
    pub fn next_number(&self) -> PartyId {
        let used = self.parties.iter().map(|party| party.id.0).chain(self.retired.iter().map(|id| id.0));
        PartyId(used.max().unwrap_or(0) + 1)
    }

    /// Takes a party out and retires its number. The result is its entry; `None` if no party has the number.
    pub fn remove(&mut self, id: PartyId) -> Option<Party> {
        let index = self.parties.iter().position(|party| party.id == id)?;
        self.retired.push(id);
        self.retired.sort_unstable();
        Some(self.parties.remove(index))
    }

    /// Gives a party new keys. Its number, name, organisation and roles stay. The result is whether a party
    /// has the number.
    pub fn rotate(&mut self, id: PartyId, signing_key: PublicBytes, certificate: PublicBytes) -> bool {
        let party = self.parties.iter_mut().find(|party| party.id == id);
        party.is_some_and(|party| {
            party.signing_key = signing_key;
            party.certificate = certificate;
            true
        })
    }

    /// Which changes the next edition makes to this one, in words.
    pub fn changes_to(&self, next: &Self) -> Vec<String> {
        let find = |file: &Self, id| file.parties.iter().find(|party| party.id == id).cloned();
        let mut changes = Vec::new();
        if self.coordinator != next.coordinator {
            changes.push("the coordinator has another name or other keys".to_owned());
        }
        for party in &self.parties {
            let name = &party.name;
            match find(next, party.id) {
                None => changes.push(format!("{} ({name}) leaves", party.id)),
                Some(after) => changes.extend(differences(party, &after)),
            }
        }
        for party in next.parties.iter().filter(|party| find(self, party.id).is_none()) {
            changes.push(format!("{} ({}, {}) joins", party.id, party.name, party.organisation));
        }
        changes.extend(next.start.and_then(other_model));
        changes
    }
}

/// That an edition starts from another model than the last ending left.
fn other_model(start: EpochStart) -> Option<String> {
    let digest = start.model;
    match start.back_to {
        Some(closing) => {
            Some(format!("the model is again {digest}, that after {} of an earlier edition", closing.round))
        }
        None => {
            start.replaced.then(|| format!("the model is another one, which the consortium chose: {digest}"))
        }
    }
}

impl Consortium {
    /// The consortium as its file has it.
    pub fn to_file(&self) -> ConsortiumFile {
        ConsortiumFile {
            name: self.name.clone(),
            epoch: self.epoch_number,
            start: self.start,
            until: self.until,
            retired: self.retired.clone(),
            coordinator: self.coordinator.clone(),
            parties: self.parties.values().cloned().collect(),
        }
    }
}

/// What is different in one party's entry.
fn differences(before: &Party, after: &Party) -> Vec<String> {
    let id = before.id;
    let mut differences = Vec::new();
    if (before.signing_key, before.certificate) != (after.signing_key, after.certificate) {
        differences.push(format!("{id} ({}) has new keys", before.name));
    }
    if (&before.name, &before.organisation) != (&after.name, &after.organisation) {
        differences.push(format!(
            "{id} was {} of {}, and is {} of {}: a number must not be given to another party",
            before.name, before.organisation, after.name, after.organisation
        ));
    }
    if before.roles != after.roles || before.weight != after.weight {
        differences.push(format!("{id} ({}) has other roles or another weight", before.name));
    }
    differences
}
