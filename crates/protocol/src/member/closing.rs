//! The end of a round at a member: the published sums, and what they make of its model.

use std::collections::BTreeSet;

use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::rule;
use cloister_wire::frame::Chunk;
use cloister_wire::message::Ending;
use cloister_wire::statement::Closing;

use super::{Kept, Member, MemberOutput, RoundState};
use crate::ending::KnownEnding;
use crate::fault::Misbehaviour;
use crate::late::is_applied;
use crate::opening::{OpenedSum, append_chunk_to};
use crate::sealed::{SealedCohorts, SummedCohort};

impl Member {
    pub(super) fn handle_sum_chunk(&mut self, chunk: Chunk) -> Result<(), Misbehaviour> {
        let Some(state) = self.round.as_mut().filter(|state| state.context.round() == chunk.round) else {
            // Of a round that ended, or whose plan did not come: whoever lacks sums asks for the model.
            return Ok(());
        };
        let wrong = Misbehaviour::Chunk { block: chunk.block, index: chunk.index };
        let block = state.context.block(chunk.block).ok_or(wrong.clone())?;
        let whole = state.context.plan().packed_bytes(block);
        if chunk.owner != PartyId::COORDINATOR {
            return Err(wrong);
        }
        append_chunk_to(&mut state.sums, &chunk, whole).ok_or(wrong)
    }

    /// Takes the ending (step 7). Without the round's plan or all its sums this member is behind, and asks for the model.
    pub(super) fn handle_ended(&mut self, ending: &Ending) -> Result<(), Misbehaviour> {
        let known = KnownEnding::check(ending, &self.epoch)?;
        self.take_ending(ending, &known);
        if self.is_behind() {
            self.catch_up();
        }
        Ok(())
    }

    /// An ending became known, whatever message brought it (`ROUND-31`): the chain moves on, sums are applied if they are
    /// here, and what was contributed to a round that closed is erased.
    pub(super) fn take_ending(&mut self, ending: &Ending, known: &KnownEnding) {
        if known.round <= self.chain.round {
            return;
        }
        self.chain.advance(known);
        self.catching_up = None;
        let record = self.openings.ended(&self.epoch, ending, known);
        self.outputs.extend(record.map(MemberOutput::KeepOpening));
        if !self.kept.as_ref().is_some_and(|kept| self.survives(kept, Some(known))) {
            self.kept = None;
        }
        let round = self.round.take_if(|state| state.context.round() <= known.round);
        let Some(state) = round.filter(|state| state.context.round() == known.round) else { return };
        match ending {
            Ending::Closed { certificate, .. } => {
                if let Ok(closing) = certificate.parse()
                    && let Some(applied) = self.apply(&state, &closing, known.digest)
                {
                    self.outputs.push_back(applied);
                }
            }
            Ending::Aborted(_) => self.outputs.push_back(MemberOutput::Aborted(known.round)),
        }
    }

    /// Whether a contribution may be sent again once an ending is known: only the abort of the round that it was last announced
    /// in leaves it (`ROUND-31`).
    pub(super) fn survives(&self, kept: &Kept, known: Option<&KnownEnding>) -> bool {
        let is_its_abort = |known: &KnownEnding| known.is_abort() && known.round == kept.round;
        known.is_none_or(is_its_abort) || !rule::in_force("ROUND-31")
    }

    /// Applies the sums of a closing; `None` when not all of them are here, and this member has to ask for the model.
    fn apply(&mut self, state: &RoundState, closing: &Closing, digest: Digest) -> Option<MemberOutput> {
        if closing.plan != state.context.plan_digest() {
            return None;
        }
        let applied = closing.sums.iter().filter(|listed| is_applied(&state.context, listed.check));
        let sums = applied
            .map(|listed| {
                let packed = state.sums.get(&listed.block).map_or(&[][..], Vec::as_slice);
                OpenedSum::published(&state.context, listed, packed).ok()
            })
            .collect::<Option<Vec<_>>>()?;
        let model = self.model.after(state.context.plan(), &sums).ok()?;
        if closing.model != model.digest() {
            return None;
        }
        let summed = state.summed_with(self.id, closing);
        self.model = model.clone();
        Some(MemberOutput::Closed {
            round: closing.round,
            model: Box::new(model),
            applied: sums.iter().map(OpenedSum::block).collect(),
            closing: digest,
            summed,
        })
    }
}

impl RoundState {
    /// The opened blocks that a member is summed in, each with how many members are. None for one that did not see the
    /// second seal.
    fn summed_with(&self, member: PartyId, closing: &Closing) -> Vec<(BlockId, u32)> {
        let sums: BTreeSet<BlockId> = closing.sums.iter().map(|sum| sum.block).collect();
        let cohorts = self.cohorts.iter().flat_map(SealedCohorts::valid);
        let opened = |cohort: &&SummedCohort| sums.contains(&cohort.block());
        let with_member = cohorts.filter(opened).filter(|cohort| cohort.members().any(|own| own == member));
        with_member.map(|cohort| (cohort.block(), cohort.weighted().len() as u32)).collect()
    }
}
