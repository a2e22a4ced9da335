//! What a custodian needs to sign a closing: evidence of members, masked blocks and parameters, and its recomputation.

use std::collections::BTreeSet;

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_wire::codec;
use cloister_wire::frame::Chunk;
use cloister_wire::message::{Message, ModelPart, Reveal};
use cloister_wire::statement::{Body, Closing, ListedSum, Recomputed};

use super::{Custodian, RoundState, SignedStep, no_round};
use crate::fault::{Misbehaviour, expect};
use crate::late::LateEvidence;
use crate::recompute::{
    ClosedBlock, check_closing, check_handed, log_to_evidence, recompute as recompute_block,
};
use crate::round::RoundContext;
use crate::sealed::SealedCohorts;
use crate::statement::{body_digest, sign};

impl Custodian {
    /// Signs the closing if it follows the second seal, lists what it must, the log's root covers the reveals, and
    /// the sums that this custodian is asked to recompute are right (step 7).
    pub(super) fn handle_propose_closing(
        &mut self,
        closing: &[u8],
        recompute: &[BlockId],
    ) -> Result<(), Misbehaviour> {
        let state = self.round.as_ref().ok_or(no_round("a closing"))?;
        let cohorts = state.cohorts.as_ref().ok_or(no_round("a closing"))?;
        let body: Closing = codec::decode(closing)?;
        expect(Closing::TAG, "epoch", body.epoch, self.epoch.digest())?;
        expect(Closing::TAG, "round", body.round, state.context.round())?;
        expect(Closing::TAG, "plan", body.plan, state.context.plan_digest())?;
        expect(Closing::TAG, "second seal", body.seal2, cohorts.seal2().digest())?;
        check_closing(&state.context, cohorts, &body)?;
        let log = log_to_evidence(&state.context, cohorts, &state.reveals, &state.evidence);
        expect(Closing::TAG, "tree", body.tree, log.root())?;
        let asked: BTreeSet<BlockId> = recompute.iter().copied().collect();
        let mut blocks = closed_blocks(&body, &state.context.plan().parameters);
        blocks.retain(|closed| asked.contains(&closed.sum.block) || state.has_recomputed(closed));
        for closed in blocks.iter().filter(|closed| !state.has_recomputed(closed)) {
            check_handed(cohorts, &state.handed, &state.reveals, closed)?;
        }
        self.check_vote::<Closing>(body.round, SignedStep::Closing, closing)?;
        self.recompute_blocks(&blocks)?;
        self.vote::<Closing>(body.round, SignedStep::Closing, closing)?;
        let (epoch, round) = (self.epoch.digest(), body.round);
        let blocks = blocks.iter().map(|closed| closed.sum.block).collect();
        let statement = Recomputed { epoch, round, closing: body_digest(closing), blocks };
        let signed = sign(&self.key, self.id, &statement);
        self.send(Message::Recomputed(signed));
        Ok(())
    }

    /// Recomputes the sums of blocks that were not recomputed before. A block's permit is used up whether its sum is right or
    /// not.
    fn recompute_blocks(&mut self, blocks: &[ClosedBlock]) -> Result<(), Misbehaviour> {
        let state = self.round.as_mut().ok_or(no_round("a closing"))?;
        for closed in blocks {
            if !state.has_recomputed(closed) {
                let cohorts = state.cohorts.as_mut().ok_or(no_round("a closing"))?;
                let shown = (&state.reveals, &state.evidence);
                recompute_block(&state.context, cohorts, &mut state.handed, shown, closed)?;
                state.recomputed.insert(closed.sum.block, closed.clone());
            }
        }
        Ok(())
    }

    pub(super) fn handle_revealed(&mut self, round: Round, reveal: &Reveal) -> Result<(), Misbehaviour> {
        let state = self.round.as_mut().ok_or(no_round("a revealed secret"))?;
        expect("revealed secret", "round", round, state.context.round())?;
        let cohorts = state.cohorts.as_ref().ok_or(no_round("a revealed secret"))?;
        state.reveals.take(&state.context, cohorts, reveal)
    }

    pub(super) fn handle_old_parameters(&mut self, part: &ModelPart) -> Result<(), Misbehaviour> {
        let state = self.round.as_mut().ok_or(no_round("parameters"))?;
        state.handed.take_parameters(&state.context, part)
    }

    pub(super) fn handle_masked_block(
        &mut self,
        round: Round,
        place: (PartyId, BlockId),
        path: Vec<Digest>,
    ) -> Result<(), Misbehaviour> {
        let state = self.round.as_mut().ok_or(no_round("a masked block"))?;
        expect("masked block", "round", round, state.context.round())?;
        let cohorts = state.cohorts.as_ref().ok_or(no_round("a masked block"))?;
        state.handed.expect(cohorts, place, path)
    }

    /// Takes what a member signed or showed of its upload; the closing's log must have all of it.
    pub(super) fn take_evidence(
        &mut self,
        what: &'static str,
        take: impl FnOnce(&mut LateEvidence, &RoundContext, &SealedCohorts) -> Result<(), Misbehaviour>,
    ) -> Result<(), Misbehaviour> {
        let state = self.round.as_mut().ok_or(no_round(what))?;
        let cohorts = state.cohorts.as_ref().ok_or(no_round(what))?;
        take(&mut state.evidence, &state.context, cohorts)
    }

    pub(super) fn handle_chunk(&mut self, chunk: &Chunk) -> Result<(), Misbehaviour> {
        let state = self.round.as_mut().ok_or(no_round("a chunk"))?;
        state.handed.take_chunk(&state.context, chunk)
    }
}

impl RoundState {
    /// Whether this custodian came to the same of a block.
    fn has_recomputed(&self, closed: &ClosedBlock) -> bool {
        self.recomputed.get(&closed.sum.block) == Some(closed)
    }
}

/// What a closing that was checked says of each block that it lists.
fn closed_blocks(closing: &Closing, before: &[Digest]) -> Vec<ClosedBlock> {
    closing.sums.iter().map(|sum| closed_block(closing, before, sum)).collect()
}

fn closed_block(closing: &Closing, before: &[Digest], sum: &ListedSum) -> ClosedBlock {
    let (block, place) = (sum.block, sum.block.0 as usize);
    let (before, after) = (before[place], closing.parameters[place]);
    ClosedBlock { sum: *sum, blamed: blamed_for(closing, block), before, after }
}

fn blamed_for(closing: &Closing, block: BlockId) -> Vec<PartyId> {
    closing.blamed.iter().filter(|blamed| blamed.block == block).map(|blamed| blamed.member).collect()
}
