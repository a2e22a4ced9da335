//! What an attacker knows about one round, and the proposals that it can derive from that.

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::consortium::Epoch;
use cloister_params::consortium::Role;
use cloister_params::id::{Digest, PartyId};
use cloister_protocol::manifest::{self, Announcements, CheckedManifest};
use cloister_protocol::round::RoundContext;
use cloister_protocol::sealed::{SealedManifest, expected_seal1, log_to_uploads};
use cloister_protocol::statement::{Verified, body_digest, check_partys, check_vote};
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::codec;
use cloister_wire::message::{Ending, Message};
use cloister_wire::statement::{
    Abort, AbortReason, Body, Certificate, Closing, Seal1, Seal2, Signature, Signed, Upload, UploadedMember,
    Vote,
};

/// A proposal of the attacker's own.
#[derive(Clone, Debug)]
enum Proposal {
    Seal1 { manifest: Vec<u8>, seal: Vec<u8> },
    Seal2(Vec<u8>),
    Abort(Vec<u8>),
    Closing(Vec<u8>),
}

/// What the attacker knows about the present round.
#[derive(Debug)]
pub(super) struct Knowledge {
    pub(super) context: RoundContext,
    pub(super) plan: Message,
    pub(super) announcements: Announcements,
    sealed: Option<SealedManifest>,
    /// Reveals, late sketches and answers, as the coordinator shows them: a custodian signs no closing before
    /// it has them.
    pub(super) shown: Vec<Message>,
    pub(super) uploads: BTreeMap<PartyId, Signed<Upload>>,
    proposals: BTreeMap<Digest, Proposal>,
    pub(super) votes: BTreeMap<Digest, BTreeMap<PartyId, Signature>>,
    used: BTreeSet<Digest>,
}

impl Knowledge {
    pub(super) fn new(context: RoundContext, plan: Message) -> Self {
        Self {
            context,
            plan,
            announcements: Announcements::new(),
            sealed: None,
            shown: Vec::new(),
            uploads: BTreeMap::new(),
            proposals: BTreeMap::new(),
            votes: BTreeMap::new(),
            used: BTreeSet::new(),
        }
    }

    pub(super) fn take_seal(&mut self, manifest: &[u8], certificate: &Certificate<Seal1>) {
        let checked = CheckedManifest::check(&self.context, manifest.to_vec(), &self.announcements);
        let sealed =
            checked.and_then(|manifest| SealedManifest::establish(&self.context, manifest, certificate)).ok();
        self.sealed = sealed.or(self.sealed.take());
    }

    /// A closing that hides all sums of an honest one, preceded by everything that custodians must have seen
    /// for either.
    pub(super) fn hide_sums(&mut self, honest: &[u8]) -> Vec<Message> {
        let Ok(honest) = codec::decode::<Closing>(honest) else { return Vec::new() };
        let body = Closing {
            sums: Vec::new(),
            blamed: Vec::new(),
            parameters: self.context.plan().parameters.clone(),
            model: self.context.plan().model,
            ..honest
        };
        let closing = codec::encode(&body);
        self.proposals.insert(body_digest(&closing), Proposal::Closing(closing.clone()));
        let proposal = Message::ProposeClosing { closing, recompute: Vec::new() };
        self.shown.iter().cloned().chain([proposal]).collect()
    }

    /// The announced members without one of them.
    fn without_one(&self, choice: u32) -> Announcements {
        let mut members = self.announcements.clone();
        let left_out = members.keys().nth(choice as usize % members.len().max(1)).copied();
        // Two manifests that differ in one member would open two sums whose difference is its update.
        members.retain(|member, _| Some(*member) != left_out);
        members
    }

    pub(super) fn second_manifest(&mut self, choice: u32) -> Option<Message> {
        let members = self.without_one(choice);
        let bytes = codec::encode(&manifest::write(&self.context, &members));
        let checked = CheckedManifest::check(&self.context, bytes.clone(), &members).ok()?;
        let seal = codec::encode(&expected_seal1(&self.context, &checked));
        let proposal = Proposal::Seal1 { manifest: bytes.clone(), seal: seal.clone() };
        self.proposals.insert(body_digest(&seal), proposal);
        Some(Message::ProposeSeal1 { manifest: bytes, seal })
    }

    /// A manifest whose first cohort is reduced to one member, whose sum would be that member's update.
    pub(super) fn thin_cohort(&self, choice: u32) -> Option<Message> {
        let mut body = manifest::write(&self.context, &self.announcements);
        let blocks = body.cohorts.len();
        body.cohorts.get_mut(choice as usize % blocks)?.members.truncate(1);
        let manifest = codec::encode(&body);
        // The seal is otherwise correct, so that custodians can object to nothing but the cohort.
        let mut log = RoundLog::default();
        log.push(EntryKind::Plan, PartyId::COORDINATOR, self.context.plan_bytes().to_vec());
        for (member, announcement) in &self.announcements {
            log.push(EntryKind::Announcement, *member, announcement.bytes().to_vec());
        }
        log.push(EntryKind::Manifest, PartyId::COORDINATOR, manifest.clone());
        let seal = Seal1 {
            epoch: self.context.epoch().digest(),
            round: self.context.round(),
            plan: self.context.plan_digest(),
            manifest: body_digest(&manifest),
            previous: self.context.plan().previous,
            tree: log.root(),
        };
        let seal = codec::encode(&seal);
        Some(Message::ProposeSeal1 { manifest, seal })
    }

    /// A second seal over the uploads so far, without this many of them. Two of these seals would open sums
    /// over different members, and their difference is an update.
    pub(super) fn second_seal2(&mut self, choice: u32, left_out: usize, epoch: &Epoch) -> Option<Message> {
        let sealed = self.sealed.clone()?;
        let mut uploads = self.uploads.clone();
        // Uploads for another first seal would make the proposal invalid for a reason that is not the one
        // under test.
        uploads.retain(|_, signed| signed.parse().is_ok_and(|body| body.seal1 == sealed.digest()));
        for _ in 0..left_out.min(uploads.len().saturating_sub(1)) {
            let member = *uploads.keys().nth(choice as usize % uploads.len())?;
            uploads.remove(&member);
        }
        let verified: BTreeMap<PartyId, Verified<Upload>> = uploads
            .iter()
            .filter_map(|(member, signed)| Some((*member, check_partys(signed, epoch, Role::Member).ok()?)))
            .collect();
        let uploaded: Vec<UploadedMember> = verified.iter().map(uploaded_member).collect();
        let body = Seal2 {
            epoch: epoch.digest(),
            round: self.context.round(),
            seal1: sealed.digest(),
            tree: log_to_uploads(&self.context, &sealed, &uploaded).root(),
            uploaded,
            void: sealed.void_blocks(&self.context, &verified.keys().copied().collect()),
            repeated: Vec::new(),
        };
        let seal = codec::encode(&body);
        self.proposals.insert(body_digest(&seal), Proposal::Seal2(seal.clone()));
        Some(Message::ProposeSeal2 { seal, uploads: uploads.into_values().collect() })
    }

    pub(super) fn abort(&mut self, choice: u32) -> Message {
        let reasons = [AbortReason::TooFewAnnounced, AbortReason::TooFewUploaded];
        let body = Abort {
            epoch: self.context.epoch().digest(),
            round: self.context.round(),
            plan: self.context.plan_digest(),
            model: self.context.plan().model,
            reason: reasons[choice as usize % 2],
        };
        let abort = codec::encode(&body);
        self.proposals.insert(body_digest(&abort), Proposal::Abort(abort.clone()));
        Message::ProposeAbort { abort }
    }

    fn votes_for(&self, body: &Digest) -> Vec<Vote> {
        let votes = self.votes.get(body).into_iter().flatten();
        votes.map(|(custodian, signature)| Vote { custodian: *custodian, signature: *signature }).collect()
    }

    /// A certificate in which one custodian's signature stands for all that are missing.
    pub(super) fn short_certificate(&self, choice: u32) -> Option<Message> {
        let quorum = self.context.roster().floors().seal_quorum;
        let seals = self.proposals.values().filter_map(|proposal| match proposal {
            Proposal::Seal2(seal) => Some(seal),
            _ => None,
        });
        let seals: Vec<&Vec<u8>> = seals.collect();
        let seal = *seals.get(choice as usize % seals.len().max(1))?;
        let mut votes = self.votes_for(&body_digest(seal));
        // The length is right, so only a check for distinct custodians can reject it.
        let filler = *votes.first()?;
        votes.resize(quorum, filler);
        Some(Message::Sealed2 { certificate: Certificate::new(seal.clone(), votes) })
    }

    /// Certificates of the attacker's own proposals that a quorum has signed and that were not used before.
    pub(super) fn certified(&mut self, epoch: &Epoch) -> Vec<Message> {
        let fresh: Vec<(Digest, Proposal)> = self
            .proposals
            .iter()
            .filter(|(digest, _)| !self.used.contains(*digest))
            .map(|(digest, proposal)| (*digest, proposal.clone()))
            .collect();
        let mut messages = Vec::new();
        for (digest, proposal) in fresh {
            if let Some(message) = self.certificate_of(&digest, proposal, epoch) {
                self.used.insert(digest);
                messages.push(message);
            }
        }
        messages
    }

    fn certificate_of(&self, digest: &Digest, proposal: Proposal, epoch: &Epoch) -> Option<Message> {
        let votes = self.votes_for(digest);
        Some(match proposal {
            Proposal::Seal1 { manifest, seal } => Message::Sealed1 {
                manifest,
                certificate: quorum::<Seal1>(seal, votes, epoch)?,
                received: None,
            },
            Proposal::Seal2(seal) => Message::Sealed2 { certificate: quorum::<Seal2>(seal, votes, epoch)? },
            Proposal::Abort(abort) => Message::Ended(Ending::Aborted(quorum::<Abort>(abort, votes, epoch)?)),
            Proposal::Closing(closing) => {
                let certificate = quorum::<Closing>(closing, votes, epoch)?;
                Message::Ended(Ending::Closed { certificate, recomputed: Vec::new() })
            }
        })
    }
}

fn uploaded_member((member, upload): (&PartyId, &Verified<Upload>)) -> UploadedMember {
    UploadedMember { member: *member, root: upload.body().root }
}

fn quorum<T: Body>(body: Vec<u8>, mut votes: Vec<Vote>, epoch: &Epoch) -> Option<Certificate<T>> {
    votes.retain(|vote| check_vote::<T>(vote, &body, epoch).is_ok());
    // Counted after checking: an attacker that sent certificates with invalid votes would only test the
    // signature check.
    let enough = votes.len() >= epoch.consortium().floors().seal_quorum;
    enough.then(|| Certificate::new(body, votes))
}
