//! What a custodian needs to sign a closing: evidence of members, masked blocks and parameters, and its
//! recomputation.

use std::collections::BTreeSet;

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_wire::codec;
use cloister_wire::frame::Chunk;
use cloister_wire::message::{Message, ModelPart, Reveal};
use cloister_wire::statement::{Body, Closing, Recomputed};

use super::{Custodian, SignedStep};
use crate::fault::{Misbehaviour, expect};
use crate::recompute::{check_closing, closed_blocks};
use crate::statement::{body_digest, sign};

impl Custodian {
    /// Signs the closing (step 7) if it follows the second seal, lists every valid block, names the root of
    /// the log with the reveals, and the sums that this custodian is asked to recompute are right.
    pub(super) fn handle_propose_closing(
        &mut self,
        closing: &[u8],
        recompute: &[BlockId],
    ) -> Result<(), Misbehaviour> {
        let (planned, recomputation) = self.phase.opening("a closing")?;
        let (context, cohorts) = (&planned.context, recomputation.cohorts());
        let body: Closing = codec::decode(closing)?;
        expect(Closing::TAG, "epoch", body.epoch, self.epoch.digest())?;
        expect(Closing::TAG, "round", body.round, context.round())?;
        expect(Closing::TAG, "plan", body.plan, context.plan_digest())?;
        expect(Closing::TAG, "second seal", body.seal2, cohorts.seal2().digest())?;
        check_closing(context, cohorts, &body)?;
        expect(Closing::TAG, "tree", body.tree, recomputation.log(context).root())?;

        let asked: BTreeSet<BlockId> = recompute.iter().copied().collect();
        let mut blocks = closed_blocks(&body, context.plan());
        // Its earlier recomputations are listed again, because the coordinator keeps one statement for each
        // custodian.
        blocks.retain(|closed| asked.contains(&closed.sum.block) || recomputation.has_confirmed(closed));
        for closed in &blocks {
            // All blocks before the first is opened: what is missing can still come, but a permit is used up.
            recomputation.check_complete(closed)?;
        }
        // A block can be opened once, so it is opened only for a closing that may be signed.
        self.check_vote::<Closing>(body.round, SignedStep::Closing, closing)?;
        let (context, recomputation) = self.phase.opening_mut("a closing")?;
        for closed in &blocks {
            recomputation.confirm(context, closed)?;
        }
        self.vote::<Closing>(body.round, SignedStep::Closing, closing)?;
        let statement = Recomputed {
            epoch: self.epoch.digest(),
            round: body.round,
            closing: body_digest(closing),
            blocks: blocks.iter().map(|closed| closed.sum.block).collect(),
        };
        let signed = sign(&self.key, self.id, &statement);
        self.send(Message::Recomputed(signed));
        Ok(())
    }

    pub(super) fn handle_revealed(&mut self, round: Round, reveal: &Reveal) -> Result<(), Misbehaviour> {
        let (context, recomputation) = self.phase.opening_mut("a revealed secret")?;
        expect("revealed secret", "round", round, context.round())?;
        recomputation.take_reveal(context, reveal)
    }

    pub(super) fn handle_old_parameters(&mut self, part: &ModelPart) -> Result<(), Misbehaviour> {
        let (context, recomputation) = self.phase.opening_mut("parameters")?;
        recomputation.take_parameters(context, part)
    }

    pub(super) fn handle_masked_block(
        &mut self,
        round: Round,
        place: (PartyId, BlockId),
        path: Vec<Digest>,
    ) -> Result<(), Misbehaviour> {
        let (context, recomputation) = self.phase.opening_mut("a masked block")?;
        expect("masked block", "round", round, context.round())?;
        recomputation.expect_masked_block(place, path)
    }

    pub(super) fn handle_chunk(&mut self, chunk: &Chunk) -> Result<(), Misbehaviour> {
        let (context, recomputation) = self.phase.opening_mut("a chunk")?;
        recomputation.take_chunk(context, chunk)
    }
}
