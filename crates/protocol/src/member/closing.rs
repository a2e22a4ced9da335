//! The end of a round at a member: it takes the published sums and applies them to its model.

use std::collections::BTreeSet;

use cloister_params::id::{BlockId, PartyId};
use cloister_params::plan::{ScoringRule, SketchForm};
use cloister_params::rule;
use cloister_wire::frame::Chunk;
use cloister_wire::message::Ending;
use cloister_wire::statement::Closing;

use super::phase::{MemberPhase, MemberRound};
use super::{KeptContribution, Member, MemberOutput};
use crate::ending::KnownEnding;
use crate::fault::Misbehaviour;
use crate::late::is_applied;
use crate::model::Model;
use crate::opening::{OpenedSum, append_chunk_to};

impl Member {
    /// Takes a chunk of a published sum.
    pub(super) fn handle_sum_chunk(&mut self, chunk: &Chunk) -> Result<(), Misbehaviour> {
        let planned = self.phase.planned_mut().filter(|planned| planned.context.round() == chunk.round);
        // A chunk of a round that ended, or whose plan did not come, is harmless: a member that lacks sums
        // asks for the model.
        let Some(planned) = planned else { return Ok(()) };
        let wrong = Misbehaviour::Chunk { block: chunk.block, index: chunk.index };
        let block = planned.context.block(chunk.block).ok_or(wrong.clone())?;
        // The plan bounds what is stored, whatever number of chunks comes.
        let whole = planned.context.plan().packed_bytes(block);
        if chunk.owner != PartyId::COORDINATOR {
            return Err(wrong);
        }
        append_chunk_to(&mut planned.sums, chunk, whole).ok_or(wrong)
    }

    /// Takes the ending (step 7). Without the round's plan or all its sums this member is behind, and asks
    /// for the model.
    pub(super) fn handle_ended(&mut self, ending: &Ending) -> Result<(), Misbehaviour> {
        let known = KnownEnding::check(ending, &self.epoch)?;
        self.take_ending(ending, &known);
        if self.is_behind() {
            self.catch_up();
        }
        Ok(())
    }

    /// Takes an ending, from a plan or an `Ended` message alike (`ROUND-31`): the chain moves on, sums are
    /// applied if they are here, and what was contributed to a round that closed is erased.
    pub(super) fn take_ending(&mut self, ending: &Ending, known: &KnownEnding) {
        // Endings come again with each plan and each new link. An old one must not move the chain back.
        if known.round <= self.chain.round {
            return;
        }
        self.chain.advance(known);
        self.catching_up.take_if(|catching_up| !catching_up.is_for(known.model));
        let record = self.openings.ended(&self.epoch, ending, known);
        self.keep_opening(record);
        if !self.kept.as_ref().is_some_and(|kept| self.survives(kept, Some(known))) {
            self.kept = None;
        }
        if self.rehearses(known) {
            self.last_rehearsal = Some(known.round);
        }
        let ended = self.phase.end(known.round);
        let Some(planned) = ended.planned().filter(|planned| planned.context.round() == known.round) else {
            return;
        };
        match ending {
            Ending::Closed { certificate, .. } => {
                // Without all sums `apply` gives none, and the model is then behind the chain; the caller
                // asks for it.
                if let Ok(closing) = certificate.parse()
                    && let Some((model, applied)) = self.apply(planned, &closing)
                {
                    self.move_to(model.clone(), &planned.context.plan().settings.scoring);
                    self.outputs.push_back(MemberOutput::Closed {
                        round: closing.round,
                        model: Box::new(model),
                        applied,
                        closing: known.digest,
                        rehearsal: planned.is_rehearsal(),
                        summed: summed_with(&ended, self.id, &closing),
                    });
                }
            }
            Ending::Aborted(_) => self.outputs.push_back(MemberOutput::Aborted(known.round)),
        }
    }

    /// Takes the model after a closing. If sketches are withheld, keeps what its blocks were before; otherwise that would
    /// be a second model in memory for nothing.
    fn move_to(&mut self, model: Model, rule: &ScoringRule) {
        if rule.sketches != SketchForm::Withheld {
            self.before_last_changes = None;
            self.model = model;
            return;
        }
        let (before, after) = (self.model.block_digests(), model.block_digests());
        if before != after {
            let kept = self.before_last_changes.take().unwrap_or_else(|| self.model.clone());
            self.before_last_changes = Some(kept.updated(&self.model, |block| before[block] != after[block]));
        }
        self.model = model;
    }

    /// Whether a contribution may be sent again once an ending is known: only the abort of the round that it
    /// was last announced in leaves it (`ROUND-31`), and a rehearsal says nothing of it (`ROUND-39`).
    pub(super) fn survives(&self, kept: &KeptContribution, known: Option<&KnownEnding>) -> bool {
        let Some(known) = known else { return true };
        let is_its_abort = known.is_abort() && known.round == kept.round;
        is_its_abort || self.rehearses(known) || !rule::in_force("ROUND-31")
    }

    /// Whether an ending is that of a rehearsal whose plan this member admitted.
    fn rehearses(&self, known: &KnownEnding) -> bool {
        let planned = self.phase.planned().filter(|planned| planned.context.plan_digest() == known.plan);
        planned.is_some_and(MemberRound::is_rehearsal) || self.last_rehearsal == Some(known.round)
    }

    /// The model after a closing, and the blocks whose sums were applied. `None` when not all sums are here,
    /// and this member has to ask for the model.
    fn apply(&self, planned: &MemberRound, closing: &Closing) -> Option<(Model, Vec<BlockId>)> {
        let context = &planned.context;
        // A quorum can close another plan of this round than the one that this member was shown.
        if closing.plan != context.plan_digest() {
            return None;
        }
        let mut sums = Vec::new();
        for listed in closing.sums.iter().filter(|listed| is_applied(context, listed.check)) {
            let packed = planned.sums.get(&listed.block).map_or(&[][..], Vec::as_slice);
            sums.push(OpenedSum::published(context, listed, packed).ok()?);
        }
        let model = self.model.after(context.plan(), &sums).ok()?;
        // A model that the closing does not name would make every later plan fail its check, so it is fetched
        // instead.
        (closing.model == model.digest()).then(|| (model, sums.iter().map(OpenedSum::block).collect()))
    }
}

/// The opened blocks that a member is summed in, each with how many members are. None for a member that did
/// not see the second seal.
fn summed_with(ended: &MemberPhase, member: PartyId, closing: &Closing) -> Vec<(BlockId, u32)> {
    let MemberPhase::Revealed(_, sealed) = ended else { return Vec::new() };
    let listed: BTreeSet<BlockId> = closing.sums.iter().map(|sum| sum.block).collect();
    let mut summed = Vec::new();
    for cohort in sealed.cohorts.valid() {
        if listed.contains(&cohort.block()) && cohort.has(member) {
            summed.push((cohort.block(), cohort.weighted().len() as u32));
        }
    }
    summed
}
