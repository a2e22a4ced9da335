//! What the log of a round has beside the entries that seals cover: signatures, and statements that no seal names
//! (`LOG-03`, `LOG-04`).

use std::collections::BTreeMap;

use cloister_params::id::PartyId;
use cloister_transcript::{EntryKind, EntrySignature, RoundLog};
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{BadDealing, Ending, Message};
use cloister_wire::statement::{Announcement, Certificate, Signed, Vote};

use super::Announced;
use crate::statement::{log_signed, signature_of};

/// What is kept in a round for its log, until the log is complete.
#[derive(Debug, Default)]
pub(super) struct LogAdditions {
    /// Signatures, each on the entry of its kind and party.
    signatures: Vec<(EntryKind, PartyId, Vec<EntrySignature>)>,
    /// The evidence against dealers that were excluded.
    excluded: BTreeMap<PartyId, BadDealing>,
}

impl LogAdditions {
    /// Keeps a party's signature on the entry of its statement.
    pub(super) fn keep_signature<T>(&mut self, kind: EntryKind, party: PartyId, signed: &Signed<T>) {
        self.signatures.push((kind, party, vec![signature_of(signed)]));
    }

    /// Keeps the custodians' signatures on what a quorum of them signed.
    pub(super) fn keep_certificate<T>(&mut self, kind: EntryKind, certificate: &Certificate<T>) {
        self.signatures.push((kind, PartyId::COORDINATOR, signatures_of(&certificate.votes)));
    }

    /// Keeps the evidence against a dealer that is excluded, with its announcement.
    pub(super) fn keep_excluded(&mut self, evidence: BadDealing) {
        self.excluded.insert(evidence.announcement.signer, evidence);
    }
}

impl Announced {
    /// The log with everything that is in no root, and with its ending, which comes after the root that it names.
    pub(super) fn end_log(&mut self, ending: &Ending) -> RoundLog {
        let mut log = std::mem::take(&mut self.log);
        for (kind, party, signatures) in &self.additions.signatures {
            log.add_signatures(*kind, *party, signatures);
        }
        self.log_announcements(&mut log);
        if let Message::Plan { plan, receiving_keys, .. } = &self.plan {
            log.add_signatures(EntryKind::Plan, PartyId::COORDINATOR, &[signature_of(plan)]);
            receiving_keys.iter().for_each(|key| log_signed(&mut log, EntryKind::ReceivingKey, key));
        }
        for (dealer, evidence) in &self.additions.excluded {
            log.push(EntryKind::BadDealing, *dealer, codec::encode(evidence));
        }
        let (kind, body, votes) = match ending {
            Ending::Closed { certificate, .. } => (EntryKind::Closing, &certificate.body, &certificate.votes),
            Ending::Aborted(certificate) => (EntryKind::Abort, &certificate.body, &certificate.votes),
        };
        log.push_signed(kind, PartyId::COORDINATOR, body.clone(), signatures_of(votes));
        log
    }

    /// Signs the entries of announcements, and appends those that no manifest lists, ascending by member.
    fn log_announcements(&self, log: &mut RoundLog) {
        // A dealer that is excluded early is relayed no more.
        let mut announcements: BTreeMap<PartyId, &Signed<Announcement>> = BTreeMap::new();
        for (dealer, evidence) in &self.additions.excluded {
            announcements.insert(*dealer, &evidence.announcement);
        }
        for (member, frame) in &self.relay {
            if let Frame::Message(Message::Announcement(announcement)) = frame {
                announcements.insert(*member, announcement);
            }
        }
        for (member, announcement) in announcements {
            let kind = EntryKind::Announcement;
            if log.entries().iter().any(|entry| (entry.kind, entry.party) == (kind, member)) {
                log.add_signatures(kind, member, &[signature_of(announcement)]);
            } else {
                log_signed(log, EntryKind::UnsealedAnnouncement, announcement);
            }
        }
    }
}

fn signatures_of(votes: &[Vote]) -> Vec<EntrySignature> {
    let mut signatures = Vec::with_capacity(votes.len());
    for vote in votes {
        signatures.push(EntrySignature { party: vote.custodian, signature: vote.signature.0 });
    }
    signatures
}
