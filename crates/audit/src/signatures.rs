//! Who has to have signed an entry, and whether they did (`LOG-03`).

use std::collections::BTreeSet;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::sign::verify;
use cloister_params::consortium::Role;
use cloister_params::id::PartyId;
use cloister_params::plan::RoundPlan;
use cloister_transcript::{EntryKind, LogEntry};
use cloister_wire::statement::{
    Abort, Announcement, BlameAnswer, Body, Closing, LateSketches, ReceivingKey, Seal1, Seal2, Upload,
};

/// Who signs entries of a kind.
enum RequiredSigners {
    Nobody,
    Party(Role),
    Coordinator,
    Quorum,
}

/// The tag under which entries of a kind are signed, and by whom.
fn signed_as(kind: EntryKind) -> (&'static str, RequiredSigners) {
    use RequiredSigners::{Coordinator, Nobody, Party, Quorum};
    match kind {
        EntryKind::Plan => (RoundPlan::TAG, Coordinator),
        EntryKind::Announcement | EntryKind::UnsealedAnnouncement => (Announcement::TAG, Party(Role::Member)),
        EntryKind::Upload => (Upload::TAG, Party(Role::Member)),
        EntryKind::LateSketches => (LateSketches::TAG, Party(Role::Member)),
        EntryKind::BlameAnswer => (BlameAnswer::TAG, Party(Role::Member)),
        EntryKind::ReceivingKey => (ReceivingKey::TAG, Party(Role::Custodian)),
        EntryKind::Seal1 => (Seal1::TAG, Quorum),
        EntryKind::Seal2 => (Seal2::TAG, Quorum),
        EntryKind::Closing => (Closing::TAG, Quorum),
        EntryKind::Abort => (Abort::TAG, Quorum),
        EntryKind::Manifest | EntryKind::Reveal | EntryKind::PairOpening | EntryKind::BadDealing => {
            ("", Nobody)
        }
    }
}

/// Checks the signatures of an entry.
pub(crate) fn check_signatures(entry: &LogEntry, epoch: &Epoch) -> Result<(), String> {
    let consortium = epoch.consortium();
    let (tag, signers) = signed_as(entry.kind);
    let named: BTreeSet<PartyId> = entry.signatures.iter().map(|signature| signature.party).collect();
    let what = format!("the {} of {}", entry.kind.name(), entry.party);
    if named.len() != entry.signatures.len() {
        return Err(format!("{what} has two signatures of one party"));
    }
    let expected = match signers {
        RequiredSigners::Nobody if named.is_empty() => None,
        RequiredSigners::Coordinator if named == BTreeSet::from([PartyId::COORDINATOR]) => None,
        RequiredSigners::Party(role)
            if named == BTreeSet::from([entry.party]) && consortium.has_role(entry.party, role) =>
        {
            None
        }
        RequiredSigners::Quorum
            if named.len() >= consortium.floors().seal_quorum
                && named.iter().all(|party| consortium.has_role(*party, Role::Custodian)) =>
        {
            None
        }
        RequiredSigners::Nobody => Some("nobody".to_owned()),
        RequiredSigners::Coordinator => Some("the coordinator".to_owned()),
        RequiredSigners::Party(role) => Some(format!("{} as a {role:?}", entry.party)),
        RequiredSigners::Quorum => Some(format!("{} custodians", consortium.floors().seal_quorum)),
    };
    if let Some(expected) = expected {
        let signers: Vec<String> = named.iter().map(PartyId::to_string).collect();
        return Err(format!("{what} should be signed by {expected}, and is by [{}]", signers.join(", ")));
    }
    for signature in &entry.signatures {
        let key = consortium.signing_key(signature.party);
        let holds = key.is_some_and(|key| verify(key, tag, &entry.body, &signature.signature).is_ok());
        if !holds {
            return Err(format!("the signature of {} on {what} does not hold", signature.party));
        }
    }
    Ok(())
}
