//! The end of a round at a member: the published sums, and what they make of its model.

use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_wire::frame::Chunk;
use cloister_wire::message::Ending;
use cloister_wire::statement::Closing;

use super::{Member, MemberOutput, RoundState};
use crate::fault::{Misbehaviour, expect};
use crate::late::is_applied;
use crate::opening::{OpenedSum, append_chunk};
use crate::round::KnownEnding;
use crate::sealed::{SealedCohorts, SummedCohort};
use crate::statement::check_certificate;

impl Member {
    pub(super) fn handle_sum_chunk(&mut self, chunk: Chunk) -> Result<(), Misbehaviour> {
        if chunk.round <= self.chain.round {
            // Sent again, in case that this member was away when its round ended.
            return Ok(());
        }
        // A member without the round's plan gets the model in place of its sums.
        let Some(state) = self.round.as_mut().filter(|state| state.context.round() == chunk.round) else {
            return Ok(());
        };
        let wrong = Misbehaviour::Chunk { block: chunk.block, index: chunk.index };
        let block = state.context.block(chunk.block).ok_or(wrong.clone())?;
        let whole = state.context.plan().packed_bytes(block);
        if chunk.owner != PartyId::COORDINATOR {
            return Err(wrong);
        }
        append_chunk(state.sums.entry(chunk.block).or_default(), &chunk, whole).ok_or(wrong)
    }

    /// Checks the ending and applies its sums (step 7). Without the round's plan or all its sums this member is
    /// behind, and asks for the model.
    pub(super) fn handle_ended(&mut self, ending: &Ending) -> Result<(), Misbehaviour> {
        let known = KnownEnding::check(ending, &self.epoch)?;
        let follows = known.round == self.chain.round.next();
        self.chain.advance(&known);
        self.catching_up = None;
        let outcome = match ending {
            Ending::Closed { certificate, .. } if follows && self.round.is_some() => {
                let closing = check_certificate(certificate, &self.epoch)?;
                let applied = self.apply(closing.body(), closing.digest());
                self.round = None;
                self.kept = None;
                applied
            }
            Ending::Aborted(_) if follows => {
                self.round = None;
                self.outputs.push_back(MemberOutput::Aborted(known.round));
                Ok(())
            }
            _ => Ok(()),
        };
        if self.is_behind() {
            self.round.take_if(|state| state.context.round() <= known.round);
            self.catch_up();
        }
        outcome
    }

    fn apply(&mut self, closing: &Closing, digest: Digest) -> Result<(), Misbehaviour> {
        let Some(state) = &self.round else { return Ok(()) };
        expect("closing", "plan", closing.plan, state.context.plan_digest())?;
        let applied = closing.sums.iter().filter(|listed| is_applied(&state.context, listed.check));
        let sums = applied
            .map(|listed| {
                let packed = state.sums.get(&listed.block).map_or(&[][..], Vec::as_slice);
                OpenedSum::published(&state.context, listed, packed)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let model = self.model.after(state.context.plan(), &sums)?;
        expect("closing", "model", closing.model, model.digest())?;
        let summed = state.summed_with(self.id, closing);
        self.model = model.clone();
        self.outputs.push_back(MemberOutput::Closed {
            round: closing.round,
            model: Box::new(model),
            applied: sums.iter().map(OpenedSum::block).collect(),
            closing: digest,
            summed,
        });
        Ok(())
    }
}

impl RoundState {
    /// The opened blocks that a member is summed in, each with how many members are. None for one that did not see the
    /// second seal.
    fn summed_with(&self, member: PartyId, closing: &Closing) -> Vec<(BlockId, u32)> {
        let cohorts = self.cohorts.iter().flat_map(SealedCohorts::valid);
        let opened = |cohort: &&SummedCohort| closing.sums.iter().any(|sum| sum.block == cohort.block());
        let with_member = cohorts.filter(opened).filter(|cohort| cohort.members().any(|own| own == member));
        with_member.map(|cohort| (cohort.block(), cohort.weighted().len() as u32)).collect()
    }
}
