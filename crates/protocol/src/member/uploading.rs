//! The upload: masked once, and after a lost link sent from where it stopped.

use std::collections::BTreeMap;

use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, PartyId};
use cloister_wire::frame::{Frame, chunk_count, chunks};
use cloister_wire::message::{Message, ReceivedChunks};
use cloister_wire::statement::{Certificate, Seal1};

use super::masking::Masking;
use super::phase::{MemberPhase, MemberRound, SentUpload};
use super::{Member, MemberOutput};
use crate::fault::{Fault, Misbehaviour};
use crate::manifest::CheckedManifest;
use crate::opening::{MaskedBlocks, upload_root};
use crate::sealed::{SealedManifest, upload_body};
use crate::statement::sign;

impl Member {
    /// Checks manifest and certificate, then masks and uploads this member's blocks (step 4). After a lost
    /// link it sends of the same upload what the coordinator does not have (`ROUND-41`).
    pub(super) fn handle_sealed1(
        &mut self,
        manifest: Vec<u8>,
        certificate: &Certificate<Seal1>,
        received: Option<&[ReceivedChunks]>,
    ) -> Result<(), Fault> {
        if let MemberPhase::Announced(planned, announcement) = &self.phase {
            let sealed = check_first_seal(self.id, planned, manifest, certificate)?;
            // Uploads are over: masking would be for nothing, and this member stays out of the second seal.
            let Some(received) = received else { return Ok(()) };
            if let Some(claimed) = received.first() {
                return Err(refuse(claimed, "it has sent none").by_coordinator());
            }
            let contribution = self.contribution(planned)?;
            let (context, secrets) = (&planned.context, &announcement.secrets);
            let masking = Masking { id: self.id, context, sealed: &sealed, secrets };
            let blocks = masking.all(&contribution);
            let root = upload_root(&blocks);
            let signed = sign(&self.key, self.id, &upload_body(context, &sealed, root));
            // The others sealed an announcement made since the restore: what this member forgot is over.
            let settled = self.openings.settled(Role::Member);
            let uploading = self.openings.uploading(context, blocks.keys().copied());
            self.phase.upload(SentUpload { sealed, blocks, root, signed });
            self.keep_opening(settled);
            self.keep_opening(uploading);
        }
        self.send_upload(received)
    }

    /// Sends what the coordinator lacks of the upload. The blocks were masked once, so that the chunks that are
    /// here and those that arrived on an earlier link are of the same vectors.
    fn send_upload(&mut self, received: Option<&[ReceivedChunks]>) -> Result<(), Fault> {
        let (planned, _, upload) = self.phase.uploaded("a first seal")?;
        let Some(received) = received else { return Ok(()) };
        let arrived = check_received(&upload.blocks, received).map_err(Misbehaviour::by_coordinator)?;
        let round = planned.context.round();
        for (block, packed) in &upload.blocks {
            let first = arrived.get(block).copied().unwrap_or(0) as usize;
            let rest = chunks(round, self.id, *block, packed).skip(first).map(Frame::Chunk);
            self.outputs.extend(rest.map(MemberOutput::Send));
        }
        let uploaded = Frame::Message(Message::Uploaded(upload.signed.clone()));
        self.outputs.push_back(MemberOutput::Send(uploaded));
        Ok(())
    }
}

/// The first seal of a round that this member announced in.
fn check_first_seal(
    id: PartyId,
    planned: &MemberRound,
    manifest: Vec<u8>,
    certificate: &Certificate<Seal1>,
) -> Result<SealedManifest, Fault> {
    let context = &planned.context;
    let manifest = CheckedManifest::check(context, manifest, &planned.announcements)
        .map_err(Misbehaviour::by_coordinator)?;
    if !manifest.announcements().contains_key(&id) {
        // Not the coordinator's fault: the announcement may have arrived after the deadline.
        return Err(Fault::unexpected("a first seal without this member"));
    }
    SealedManifest::establish(context, manifest, certificate).map_err(Misbehaviour::by_coordinator)
}

/// How many chunks of each block arrived, if an upload of these blocks can have left this behind (`ROUND-41`).
fn check_received(
    blocks: &MaskedBlocks,
    received: &[ReceivedChunks],
) -> Result<BTreeMap<BlockId, u32>, Misbehaviour> {
    let mut arrived = BTreeMap::new();
    for claimed in received {
        let packed = blocks.get(&claimed.block).ok_or(refuse(claimed, "it uploads no such block"))?;
        if !(1..=chunk_count(packed.len())).contains(&claimed.chunks) {
            return Err(refuse(claimed, "between one and all chunks of the block were expected"));
        }
        if arrived.last_key_value().is_some_and(|(before, _)| *before >= claimed.block) {
            return Err(refuse(claimed, "blocks must ascend"));
        }
        arrived.insert(claimed.block, claimed.chunks);
    }
    Ok(arrived)
}

fn refuse(claimed: &ReceivedChunks, why: &'static str) -> Misbehaviour {
    Misbehaviour::Received { block: claimed.block, chunks: claimed.chunks, why }
}
