//! The coordinator's middle phases: first seal, uploads, second seal or abort, and the closing's signatures.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_transcript::EntryKind;
use cloister_wire::codec;
use cloister_wire::frame::{Chunk, Frame};
use cloister_wire::message::{Message, ReceivedChunks};
use cloister_wire::statement::{AbortReason, Certificate, Seal1, Seal2, Signature, Signed, Upload};

use super::ballot::Ballot;
use super::revealing::Revealing;
use super::uploads::{Arriving, Uploads};
use super::{Coordinator, CoordinatorOutput, CoordinatorPhase, Event, Time, unexpected};
use crate::fault::{Fault, Misbehaviour, expect};
use crate::manifest::{self, CheckedManifest};
use crate::openings::opened_blocks;
use crate::sealed::{SealedCohorts, SealedManifest, expected_seal1, log_to_uploads};
use crate::statement::{Verified, body_digest, check_partys};

/// Waiting for signatures on the first seal.
#[derive(Debug)]
pub(super) struct Sealing1 {
    pub(super) manifest: CheckedManifest,
    ballot: Ballot<Seal1>,
}

impl Sealing1 {
    pub(super) fn proposal(&self) -> Message {
        Message::ProposeSeal1 { manifest: self.manifest.bytes().to_vec(), seal: self.ballot.body().to_vec() }
    }
}

/// Waiting for uploads.
#[derive(Debug)]
pub(super) struct Uploading {
    pub(super) sealed: SealedManifest,
    certificate: Certificate<Seal1>,
    arriving: BTreeMap<PartyId, Arriving>,
    pub(super) arrived: BTreeMap<PartyId, (Signed<Upload>, Verified<Upload>)>,
}

impl Uploading {
    /// The first seal, with what arrived of a member's upload and need not be sent again (`ROUND-41`).
    pub(super) fn invitation(&self, member: PartyId) -> Message {
        let arriving = self.arriving.get(&member);
        self.first_seal(Some(arriving.map(Arriving::received).unwrap_or_default()))
    }

    /// The first seal once the second is proposed: nobody is to upload any more.
    pub(super) fn first_seal_alone(&self) -> Message {
        self.first_seal(None)
    }

    fn first_seal(&self, received: Option<Vec<ReceivedChunks>>) -> Message {
        Message::Sealed1 {
            manifest: self.sealed.manifest().bytes().to_vec(),
            certificate: self.certificate.clone(),
            received,
        }
    }
}

/// Waiting for signatures on the second seal.
#[derive(Debug)]
pub(super) struct Sealing2 {
    uploading: Uploading,
    ballot: Ballot<Seal2>,
}

impl Sealing2 {
    pub(super) fn first_seal_alone(&self) -> Message {
        self.uploading.first_seal_alone()
    }

    pub(super) fn proposal(&self) -> Message {
        let uploads = self.uploading.arrived.values().map(|(signed, _)| signed.clone()).collect();
        Message::ProposeSeal2 { seal: self.ballot.body().to_vec(), uploads }
    }
}

impl Coordinator {
    /// Scores the announcements and proposes the first seal (step 3).
    pub(super) fn propose_seal1(&mut self, whole: &BTreeSet<PartyId>, now: Time) {
        let Some(CoordinatorPhase::Announcing(announced)) = self.take_phase() else {
            return;
        };
        // Only members whose letters are all here: a custodian signs for none that lacks one.
        let mut members = announced.announcements.clone();
        members.retain(|member, _| whole.contains(member));
        let bytes = codec::encode(&manifest::write(&announced.context, &members));
        let manifest = CheckedManifest::check(&announced.context, bytes, &members)
            .expect("a manifest that was just written follows from its announcements");
        let ballot = Ballot::open(&expected_seal1(&announced.context, &manifest));
        let sealing = Sealing1 { manifest, ballot };
        let proposal = Frame::Message(sealing.proposal());
        let custodians: Vec<PartyId> = announced.context.custodians().collect();
        self.wait(now, announced.context.plan().settings.deadlines.seal);
        self.put_phase(CoordinatorPhase::Sealing1(announced, Box::new(sealing)));
        self.send_to(custodians, &proposal);
    }

    /// Counts a vote on whatever is proposed now.
    pub(super) fn handle_vote(
        &mut self,
        from: PartyId,
        body: Digest,
        signature: Signature,
        now: Time,
    ) -> Result<(), Fault> {
        self.count_vote(from, body, signature, now).map_err(|what| what.by(from))
    }

    fn count_vote(
        &mut self,
        from: PartyId,
        body: Digest,
        signature: Signature,
        now: Time,
    ) -> Result<(), Misbehaviour> {
        let epoch = self.epoch.clone();
        // Votes beyond the quorum arrive in the next phase, where they would look like votes on another body.
        if self.is_late(body) {
            return Ok(());
        }
        match self.round.as_mut().map(|active| &mut active.phase) {
            Some(CoordinatorPhase::Sealing1(_, sealing)) => {
                if let Some(certificate) = sealing.ballot.count(from, body, signature, &epoch)? {
                    self.finish_seal1(certificate, now);
                }
            }
            Some(CoordinatorPhase::Sealing2(_, sealing)) => {
                if let Some(certificate) = sealing.ballot.count(from, body, signature, &epoch)? {
                    self.finish_seal2(certificate, now);
                }
            }
            Some(CoordinatorPhase::Aborting(_, ballot)) => {
                if let Some(certificate) = ballot.count(from, body, signature, &epoch)? {
                    self.finish_abort(certificate);
                }
            }
            Some(CoordinatorPhase::Closing(_, closing)) => {
                closing.count_vote(from, body, signature, &epoch)?;
                self.finish_closing_if_complete();
            }
            // A quorum had signed before this vote came.
            _ => {}
        }
        Ok(())
    }

    /// Whether a vote is for a body that a quorum has signed already.
    fn is_late(&self, body: Digest) -> bool {
        let active = self.round.as_ref();
        let certified =
            active.and_then(|active| active.phase.announced()).map(|announced| &announced.certified);
        certified.is_some_and(|certified| certified.contains(&body))
    }

    /// The first seal is certified: members upload (step 4).
    fn finish_seal1(&mut self, certificate: Certificate<Seal1>, now: Time) {
        let Some(CoordinatorPhase::Sealing1(mut announced, sealing)) = self.take_phase() else {
            return;
        };
        announced.cohorts = sealing.manifest.cohorts().to_vec();
        announced.certified.insert(body_digest(&certificate.body));
        announced.additions.keep_certificate(EntryKind::Seal1, &certificate);
        let sealed = SealedManifest::establish(&announced.context, sealing.manifest, &certificate)
            .expect("votes were checked one by one");
        let manifest = sealed.manifest();
        let mut arriving = BTreeMap::new();
        for member in manifest.announcements().keys() {
            let blocks = manifest.blocks_of(*member).iter().map(|(block, _)| *block);
            arriving.insert(*member, Arriving::new(blocks));
        }
        let uploading = Uploading { sealed, certificate, arriving, arrived: BTreeMap::new() };
        let invitation = Frame::Message(uploading.invitation(PartyId::COORDINATOR));
        self.event(Event::Sealed);
        self.wait(now, announced.context.plan().settings.deadlines.upload);
        self.put_phase(CoordinatorPhase::Uploading(announced, Box::new(uploading)));
        self.send_to(self.everyone(), &invitation);
    }

    pub(super) fn handle_chunk(&mut self, from: PartyId, chunk: &Chunk) -> Result<(), Fault> {
        let Some(CoordinatorPhase::Uploading(announced, uploading)) =
            self.round.as_mut().map(|active| &mut active.phase)
        else {
            return Err(unexpected(from, "a chunk"));
        };
        let wrong = Misbehaviour::Chunk { block: chunk.block, index: chunk.index }.by(from);
        // An upload that is complete takes no chunk: its root was compared, and nothing may change under it.
        if chunk.round != announced.context.round() || uploading.arrived.contains_key(&from) {
            return Err(unexpected(from, "a chunk"));
        }
        if chunk.owner != from {
            return Err(wrong);
        }
        let block = announced.context.block(chunk.block).ok_or(wrong.clone())?;
        let whole = announced.context.plan().packed_bytes(block);
        let arriving = uploading.arriving.get_mut(&from).ok_or(wrong.clone())?;
        if arriving.is_whole() {
            return Err(unexpected(from, "a chunk of an upload that is whole"));
        }
        arriving.append(chunk, whole).ok_or(wrong)
    }

    /// Takes what an upload's masked block was erased to before a restart (`ROUND-29`).
    pub(super) fn handle_erased(&mut self, from: PartyId, block: BlockId, leaf: Digest) -> Result<(), Fault> {
        let Some(CoordinatorPhase::Uploading(_, uploading)) =
            self.round.as_mut().map(|active| &mut active.phase)
        else {
            return Err(Fault::ApiMisuse("only a block of an upload in progress can be erased"));
        };
        let arriving = uploading.arriving.get_mut(&from);
        let erased = arriving.and_then(|arriving| arriving.erase(block, leaf));
        erased.ok_or(Fault::ApiMisuse("this member uploads no such block"))
    }

    /// How many bytes of a member's upload were hashed: each that came, once (`ROUND-32`).
    pub fn hashed_bytes(&self, member: PartyId) -> u64 {
        match self.round.as_ref().map(|active| &active.phase) {
            Some(CoordinatorPhase::Uploading(_, uploading)) => {
                uploading.arriving.get(&member).map_or(0, Arriving::hashed)
            }
            _ => 0,
        }
    }

    /// Takes a member's claim that its upload is complete. The claim is true if the root over its blocks is
    /// the one that it signed.
    pub(super) fn handle_uploaded(&mut self, from: PartyId, signed: &Signed<Upload>) -> Result<(), Fault> {
        let epoch = self.epoch.clone();
        let Some(CoordinatorPhase::Uploading(announced, uploading)) =
            self.round.as_mut().map(|active| &mut active.phase)
        else {
            return Err(unexpected(from, "an upload"));
        };
        if uploading.arrived.contains_key(&from) {
            return Err(unexpected(from, "an upload that is here"));
        }
        let upload = check_partys(signed, &epoch, Role::Member).map_err(|what| what.by(from))?;
        expect("upload", "signer", upload.signer(), from)
            .and_then(|()| expect("upload", "round", upload.body().round, announced.context.round()))
            .and_then(|()| expect("upload", "first seal", upload.body().seal1, uploading.sealed.digest()))
            .map_err(|what| what.by(from))?;
        let arriving = uploading.arriving.get_mut(&from);
        if !arriving.is_some_and(|arriving| arriving.makes_up(upload.body().root)) {
            return Err(Misbehaviour::UploadRoot { member: from }.by(from));
        }
        uploading.arrived.insert(from, (signed.clone(), upload));
        self.event(Event::Uploaded(from));
        Ok(())
    }

    pub(super) fn advance_uploading(&mut self, now: Time, expired: bool) {
        let awaited = self.awaited_members();
        let Some(CoordinatorPhase::Uploading(announced, uploading)) =
            self.round.as_ref().map(|active| &active.phase)
        else {
            return;
        };
        let manifest = uploading.sealed.manifest();
        let missing: Vec<PartyId> = manifest
            .announcements()
            .keys()
            .copied()
            .filter(|member| !uploading.arrived.contains_key(member))
            .collect();
        let all_here = missing.iter().all(|member| !awaited.contains(member));
        let reaches_floor = announced.context.reaches_floor(uploading.arrived.keys().copied());
        if reaches_floor && (all_here || expired) {
            if !missing.is_empty() {
                self.event(Event::Missing(missing));
            }
            self.propose_seal2(now);
        } else if expired {
            self.propose_abort(AbortReason::TooFewUploaded, now);
        }
    }

    /// Fixes who arrived, and proposes the second seal (step 5).
    fn propose_seal2(&mut self, now: Time) {
        let Some(CoordinatorPhase::Uploading(mut announced, uploading)) = self.take_phase() else {
            return;
        };
        let present: BTreeSet<PartyId> = uploading.arrived.keys().copied().collect();
        announced.uploaded = present.iter().copied().collect();
        let blocks = present.iter().flat_map(|member| uploading.sealed.manifest().blocks_of(*member));
        let bytes = blocks.filter_map(|(block, _)| announced.packed_bytes(*block));
        announced.masked_bytes = bytes.map(|bytes| bytes as u64).sum();
        let uploaded = announced.keep_uploads(&uploading);
        // Roots in place of the masked blocks: the log stays small, and custodians without the blocks compute
        // it too.
        announced.log = log_to_uploads(&announced.context, &uploading.sealed, &uploaded);
        let mut body = Seal2 {
            epoch: self.epoch.digest(),
            round: announced.context.round(),
            seal1: uploading.sealed.digest(),
            uploaded,
            void: uploading.sealed.void_blocks(&announced.context, &present),
            repeated: Vec::new(),
            tree: announced.log.root(),
        };
        let valid = uploading.sealed.valid_cohorts(&body);
        let blocks = opened_blocks(&announced.context, &uploading.sealed, &valid);
        // Custodians reject a seal that leaves out a repeat they know, so the coordinator keeps the same
        // history.
        body.repeated = self.openings.repeated(&announced.context, &blocks);
        if !body.repeated.is_empty() {
            self.event(Event::Repeated(body.repeated.clone()));
        }
        let sealing = Sealing2 { uploading: *uploading, ballot: Ballot::open(&body) };
        let proposal = Frame::Message(sealing.proposal());
        let custodians: Vec<PartyId> = announced.context.custodians().collect();
        self.wait(now, announced.context.plan().settings.deadlines.seal);
        self.put_phase(CoordinatorPhase::Sealing2(announced, Box::new(sealing)));
        self.send_to(custodians, &proposal);
    }

    /// The second seal is certified: secrets of the summed cohorts may be revealed (step 6).
    fn finish_seal2(&mut self, certificate: Certificate<Seal2>, now: Time) {
        let Some(CoordinatorPhase::Sealing2(mut announced, sealing)) = self.take_phase() else {
            return;
        };
        announced.certified.insert(body_digest(&certificate.body));
        announced.additions.keep_certificate(EntryKind::Seal2, &certificate);
        let Sealing2 { uploading, .. } = *sealing;
        let first_seal = uploading.first_seal_alone();
        let cohorts = SealedCohorts::establish(&announced.context, uploading.sealed, &certificate)
            .expect("votes were checked one by one");
        // Before secrets are revealed: a masked block that no sum needs must not be stored beside them.
        let (uploads, erasure) = Uploads::sealed(&cohorts, uploading.arriving);
        if !erasure.is_empty() {
            self.outputs.push_back(CoordinatorOutput::Erase(erasure));
        }
        self.openings
            .sealed(&announced.context, cohorts.sealed_manifest(), cohorts.seal2().body())
            .expect("the seal that this coordinator wrote lists what is repeated");
        let message = Message::Sealed2 { certificate };
        let revealing = Revealing::new(cohorts, uploads, vec![first_seal, message.clone()]);
        let departed = revealing.departed();
        if !departed.is_empty() {
            self.event(Event::Recovering(departed));
        }
        self.wait(now, announced.context.plan().settings.deadlines.reveal);
        self.put_phase(CoordinatorPhase::Revealing(announced, Box::new(revealing)));
        self.send_to(self.everyone(), &Frame::Message(message));
    }

    pub(super) fn take_phase(&mut self) -> Option<CoordinatorPhase> {
        let active = self.round.as_mut()?;
        // `Keys` is a placeholder: each caller puts the next phase in, or ends the round.
        Some(std::mem::replace(&mut active.phase, CoordinatorPhase::Keys(BTreeMap::new())))
    }

    pub(super) fn put_phase(&mut self, phase: CoordinatorPhase) {
        if let Some(active) = &mut self.round {
            active.phase = phase;
        }
    }
}
