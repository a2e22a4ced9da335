//! Checks of what hospitals and custodians share: links to the coordinator, and the records in the data folder.

use std::path::{Path, PathBuf};

use cloister_client::{Journal, JournalError, journal_path, openings_path, verify_openings};
use cloister_crypto::consortium::Epoch;
use cloister_transport::Carrier;

use super::Check;
use super::links::ProbedLinks;
use super::outcome::CheckOutcome;
use super::party::ExaminedParty;
use crate::failure::Failure;
use crate::party::{PartyFlags, find_party};

/// A party that has a link to the coordinator, and what the checks have read of it so far.
pub(super) struct LinkedParty {
    pub(super) flags: PartyFlags,
    pub(super) party: ExaminedParty,
    /// The command that runs it.
    service: &'static str,
    links: ProbedLinks,
}

/// The checks of every party other than the coordinator, in the order in which they run: later ones need what earlier ones
/// have read.
pub(super) const CHECKS: &[Check<LinkedParty>] = &[
    ("keys", |linked| linked.party.check_keys()),
    ("certificate", |linked| linked.party.check_certificate()),
    ("policy", |linked| linked.party.check_policy()),
    ("consortium_file", |linked| linked.party.check_consortium(listed)),
    ("host_name", |linked| linked.links.check_name(&linked.flags, &linked.party)),
    ("quic", |linked| linked.links.check_carrier(Carrier::Quic)),
    ("tcp", |linked| linked.links.check_carrier(Carrier::Tcp)),
    ("clock", |linked| linked.links.check_clock()),
    ("coordinator", |linked| linked.links.check_coordinator(linked.party.epoch.as_deref())),
    ("data_folder", LinkedParty::check_folder),
    ("journal", LinkedParty::check_journal),
];

/// That the consortium file lists the party whose keys these are.
fn listed(party: &ExaminedParty, epoch: &Epoch) -> Result<String, Failure> {
    let (Some(identity), Some(key)) = (&party.identity, &party.signing_key) else {
        return Ok("whether it lists this party cannot be told without the keys".to_owned());
    };
    let listed = find_party(epoch, identity, key)?;
    Ok(format!("it lists this party ({}, number {})", listed.name, listed.id.0))
}

impl LinkedParty {
    pub(super) fn new(flags: PartyFlags, service: &'static str) -> Self {
        let party = ExaminedParty::new(flags.identity.clone(), flags.consortium.clone(), flags.data.clone());
        Self { flags, party, service, links: ProbedLinks::untried() }
    }

    fn check_folder(&mut self) -> CheckOutcome {
        let lock = self.journal();
        self.party.check_data_folder(lock.as_deref(), self.service)
    }

    fn journal(&self) -> Option<PathBuf> {
        self.party.epoch.as_ref().map(|epoch| journal_path(&self.party.data, epoch))
    }

    /// The journal of this epoch, and the openings of all epochs, as far as they are written.
    fn check_journal(&mut self) -> CheckOutcome {
        let Some(journal) = self.journal() else {
            return CheckOutcome::not_checked(
                "each edition has a journal, and the consortium file cannot be read",
            );
        };
        let counts = verified(&journal, Journal::verify)
            .and_then(|records| Ok((records, verified(&openings_path(&self.party.data), verify_openings)?)));
        match counts {
            Ok((None, None)) => CheckOutcome::ok("there is none yet; the first start makes it"),
            Ok((records, openings)) => CheckOutcome::ok(format!(
                "records: {}; records of openings: {}; none is damaged",
                records.unwrap_or(0),
                openings.unwrap_or(0)
            )),
            Err(failure) => CheckOutcome::failure(&failure),
        }
    }
}

/// How many records a file has; `None` without the file.
fn verified(path: &Path, verify: fn(&Path) -> Result<usize, JournalError>) -> Result<Option<usize>, Failure> {
    path.exists().then(|| verify(path)).transpose().map_err(Failure::config)
}
