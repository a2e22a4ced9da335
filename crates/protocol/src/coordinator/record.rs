//! What the log of a round has beside the entries that seals cover: signatures, and statements that no seal names
//! (`LOG-03`, `LOG-04`).

use cloister_params::id::PartyId;
use cloister_transcript::{EntryKind, EntrySignature, RoundLog};
use cloister_wire::codec;
use cloister_wire::frame::Frame;
use cloister_wire::message::{BadDealing, Ending, Message};
use cloister_wire::statement::{Announcement, Certificate, Signed, Vote};

use super::Announced;
use crate::statement::{log_signed, signature_of};

/// What was signed in a round, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct LogAdditions {
    /// Signatures on entries that are in the log by the end of the round.
    signatures: Vec<(EntryKind, PartyId, Vec<EntrySignature>)>,
    /// Announcements of dealers that were excluded, each with the evidence against its dealer.
    excluded: Vec<(Signed<Announcement>, BadDealing)>,
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

    /// Keeps the announcement of a dealer that is excluded, with the evidence.
    pub(super) fn keep_excluded(&mut self, announcement: Signed<Announcement>, evidence: BadDealing) {
        self.excluded.push((announcement, evidence));
    }

    fn complete(&self, log: &mut RoundLog) {
        for (kind, party, signatures) in &self.signatures {
            log.add_signatures(*kind, *party, signatures);
        }
        for (announcement, evidence) in &self.excluded {
            let dealer = announcement.signer;
            let is_logged = log.entries().iter().any(|entry| entry.body == announcement.body);
            if !is_logged {
                log_signed(log, EntryKind::UnsealedAnnouncement, announcement);
            }
            log.push(EntryKind::BadDealing, dealer, codec::encode(evidence));
        }
    }
}

impl Announced {
    /// The log with its ending, which comes after the root that it names, and with everything that is in no root.
    pub(super) fn end_log(&mut self, ending: &Ending) -> RoundLog {
        self.complete_log();
        let mut log = std::mem::take(&mut self.log);
        let (kind, body, votes) = match ending {
            Ending::Closed { certificate, .. } => (EntryKind::Closing, &certificate.body, &certificate.votes),
            Ending::Aborted(certificate) => (EntryKind::Abort, &certificate.body, &certificate.votes),
        };
        log.push_signed(kind, PartyId::COORDINATOR, body.clone(), signatures_of(votes));
        log
    }

    fn complete_log(&mut self) {
        let Self { plan, relay, record, log, .. } = self;
        for frame in relay.values() {
            let Frame::Message(Message::Announcement(announcement)) = frame else { continue };
            let (kind, member) = (EntryKind::Announcement, announcement.signer);
            if log.entries().iter().any(|entry| (entry.kind, entry.party) == (kind, member)) {
                record.keep_signature(kind, member, announcement);
            } else {
                log_signed(log, EntryKind::UnsealedAnnouncement, announcement);
            }
        }
        if let Message::Plan { plan, receiving_keys, .. } = plan {
            record.keep_signature(EntryKind::Plan, PartyId::COORDINATOR, plan);
            receiving_keys.iter().for_each(|key| log_signed(log, EntryKind::ReceivingKey, key));
        }
        record.complete(log);
    }
}

fn signatures_of(votes: &[Vote]) -> Vec<EntrySignature> {
    let mut signatures = Vec::with_capacity(votes.len());
    for vote in votes {
        signatures.push(EntrySignature { party: vote.custodian, signature: vote.signature.0 });
    }
    signatures
}
