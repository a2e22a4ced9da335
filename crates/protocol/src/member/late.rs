//! A member's late sketches, and its answers when they do not make up a sum.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::{BlockId, PartyId, Round};
use cloister_params::{late, rule};
use cloister_wire::frame::Frame;
use cloister_wire::message::{Message, Reveal};
use cloister_wire::statement::{BlameAnswer, LateSketch, LateSketches, PairValue, Signed};
use rand_core::CryptoRng;

use super::{Member, MemberOutput, RoundState, not_awaited};
use crate::fault::{Fault, Misbehaviour};
use crate::late::blame::BlamedRow;
use crate::late::check::first_failing_row;
use crate::late::{LateEvidence, contradicts, projection, sketched_blocks};
use crate::opening::mask_key_of;
use crate::reveals::CheckedReveals;
use crate::round::RoundContext;
use crate::sealed::SealedCohorts;
use crate::statement::sign;

/// What a member said and saw of late sketches in this round. It says each thing once.
#[derive(Debug, Default)]
pub(super) struct OwnLate {
    reveals: CheckedReveals,
    sketches: Option<Signed<LateSketches>>,
    evidence: LateEvidence,
    answers: BTreeMap<BlockId, Signed<BlameAnswer>>,
    opened: BTreeSet<PartyId>,
}

impl Member {
    /// Takes seeds, from which the late sketches' own seeds follow. Once this member has sketched, no others count.
    pub(super) fn handle_revealed(&mut self, round: Round, reveal: &Reveal) -> Result<(), Fault> {
        let what = "a revealed secret";
        self.sealed_round(round, what)?;
        let Some(state) = &mut self.round else { return Err(not_awaited(what)) };
        let Some(cohorts) = &state.cohorts else { return Err(not_awaited(what)) };
        if state.late.sketches.is_some() && rule::in_force("LATE-02") {
            return Ok(());
        }
        let taken = state.late.reveals.take(&state.context, cohorts, reveal);
        taken.map_err(|what| what.by(PartyId::COORDINATOR))
    }

    /// Sketches what it uploaded, for seeds that came with a proof (`LATE-02`). It does so once a round: whatever
    /// other seeds come later, the same sketches go out again.
    pub(super) fn handle_late_request(&mut self, round: Round) -> Result<(), Fault> {
        let (state, cohorts) = self.sealed_round(round, "a request for late sketches")?;
        if state.late.sketches.is_none() || !rule::in_force("LATE-02") {
            let signed = sign(&self.key, self.id, &self.sketch_uploads(state, cohorts)?);
            if let Some(state) = &mut self.round {
                state.late.sketches = Some(signed);
            }
        }
        let sketches = self.round.as_ref().and_then(|state| state.late.sketches.clone());
        self.send_all(sketches.map(Message::LateSketches));
        Ok(())
    }

    /// The blocks of which enough late sketches from the same parameters were sent, which no budget counts (`LATE-10`).
    fn shown_enough(&self, round: &RoundContext) -> BTreeSet<BlockId> {
        if self.policy.privacy.is_some() || !rule::in_force("LATE-10") {
            return BTreeSet::new();
        }
        let shown = self.openings.rounds_uploaded_from(round);
        let blocks = round.plan().settings.blocks.iter().zip(&round.plan().parameters);
        let enough = blocks.filter(|(planned, parameters)| {
            shown.get(parameters).is_some_and(|rounds| *rounds >= late::most_sketches(planned))
        });
        enough.map(|(planned, _)| planned.shape.id).collect()
    }

    fn sketch_uploads(&self, state: &RoundState, cohorts: &SealedCohorts) -> Result<LateSketches, Fault> {
        let kept = self.kept.as_ref().ok_or(Fault::ApiMisuse("no contribution is kept"))?;
        let ring = state.context.plan().settings.ring;
        let weights: BTreeMap<BlockId, u8> =
            cohorts.sealed_manifest().manifest().blocks_of(self.id).iter().copied().collect();
        let sketch = |block: BlockId, projection: cloister_alignment::late::LateProjection| {
            let weight = weights.get(&block).copied().map_or(0, u32::from);
            let integers = &kept.contribution.integers[block.0 as usize];
            let words = integers.iter().map(|integer| integer.cast_unsigned().wrapping_mul(weight));
            LateSketch { block, rows: projection.rows(ring, words) }
        };
        let own = sketched_blocks(&state.context, cohorts, self.id, &state.late.reveals.seeds);
        let shown_enough = self.shown_enough(&state.context);
        let own = own.filter(|(cohort, _)| !shown_enough.contains(&cohort.block()));
        Ok(LateSketches {
            epoch: state.context.epoch().digest(),
            round: state.context.round(),
            seal2: cohorts.seal2().digest(),
            sketches: own.map(|(cohort, projection)| sketch(cohort.block(), projection)).collect(),
        })
    }

    /// Keeps the late sketches of another member.
    pub(super) fn handle_late_sketches(&mut self, signed: &Signed<LateSketches>) -> Result<(), Fault> {
        self.take_evidence("late sketches", |evidence, state, cohorts| {
            evidence.take_sketches(&state.context, cohorts, signed)
        })
    }

    /// Answers for the first row that the late sketches do not make up, once a block (`LATE-07`): the row follows from
    /// what the members signed and from the sum that came, and cannot be asked for.
    pub(super) fn handle_blame_request(&mut self, round: Round, block: BlockId) -> Result<(), Fault> {
        let (state, cohorts) = self.sealed_round(round, "a blame request")?;
        let signed = match state.late.answers.get(&block) {
            Some(signed) if rule::in_force("LATE-07") => signed.clone(),
            _ => {
                let blamed = self.blamed_row(state, cohorts, block).ok_or(not_awaited("a blame request"))?;
                sign(&self.key, self.id, &self.answer(state, cohorts, &blamed))
            }
        };
        if let Some(state) = &mut self.round {
            state.late.answers.insert(block, signed.clone());
        }
        self.send_all([Message::BlameAnswer(signed)]);
        Ok(())
    }

    /// The row that fails by what this member holds; `None` where none does, or it said nothing about the block.
    fn blamed_row<'a>(
        &self,
        state: &'a RoundState,
        cohorts: &'a SealedCohorts,
        block: BlockId,
    ) -> Option<BlamedRow<'a>> {
        let own = state.late.sketches.as_ref()?.parse().ok()?;
        own.sketches.iter().find(|sketch| sketch.block == block)?;
        let cohort = cohorts.valid_cohort(block)?;
        let projection = projection(cohorts, cohort, &state.late.reveals.seeds)?;
        let planned = state.context.block(block)?;
        let packed = state.sums.get(&block)?;
        if packed.len() != state.context.plan().packed_bytes(planned) {
            return None;
        }
        let sum = state.context.plan().settings.ring.unpack(packed);
        let row = first_failing_row(&state.context, cohort, &state.late.evidence, projection, &sum)?;
        let manifest = cohorts.sealed_manifest().manifest().digest();
        Some(BlamedRow { round: &state.context, manifest, cohort, projection, row })
    }

    fn answer(&self, state: &RoundState, cohorts: &SealedCohorts, blamed: &BlamedRow<'_>) -> BlameAnswer {
        let announcements = cohorts.sealed_manifest().manifest().announcements();
        let value = |other: PartyId| {
            let public = mask_key_of(announcements, other)?;
            let agreed = state.own.as_ref()?.secrets.mask_key().agree(&public);
            Some(PairValue { other, value: blamed.over_pair(self.id, other, &agreed) })
        };
        let others = blamed.cohort.members().filter(|other| *other != self.id);
        BlameAnswer {
            epoch: state.context.epoch().digest(),
            round: state.context.round(),
            seal2: cohorts.seal2().digest(),
            block: blamed.cohort.block(),
            row: u32::try_from(blamed.row).expect("a row is below 48"),
            pairs: others.filter_map(value).collect(),
        }
    }

    /// Takes another member's answer; if it contradicts this member's own, shows what the two agree on (`LATE-08`).
    pub(super) fn handle_blame_answer(
        &mut self,
        signed: &Signed<BlameAnswer>,
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        self.take_evidence("an answer", |evidence, state, cohorts| {
            evidence.take_answer(&state.context, cohorts, signed)
        })?;
        let (Some(state), Ok(theirs)) = (&self.round, signed.parse()) else { return Ok(()) };
        let own = state.late.answers.get(&theirs.block).and_then(|own| own.parse().ok());
        if !own.is_some_and(|own| contradicts(self.id, &own, signed.signer, &theirs)) {
            return Ok(());
        }
        let announcements = state.cohorts.as_ref().map(|it| it.sealed_manifest().manifest().announcements());
        let public = announcements.and_then(|announcements| mask_key_of(announcements, signed.signer));
        let (Some(own), Some(public)) = (&state.own, public) else { return Ok(()) };
        let pair = (signed.signer, &public);
        let opening = crate::late::open_pair(&state.context, (self.id, own.secrets.mask_key()), pair, random);
        let round = state.context.round();
        let is_new = self.round.as_mut().is_some_and(|state| state.late.opened.insert(signed.signer));
        self.send_all(is_new.then_some(Message::PairOpened { round, opening }));
        Ok(())
    }

    fn take_evidence(
        &mut self,
        what: &'static str,
        take: impl FnOnce(&mut LateEvidence, &RoundState, &SealedCohorts) -> Result<(), Misbehaviour>,
    ) -> Result<(), Fault> {
        let mut state = self.round.take().ok_or(not_awaited(what))?;
        let mut evidence = std::mem::take(&mut state.late.evidence);
        let taken = match &state.cohorts {
            Some(cohorts) => {
                take(&mut evidence, &state, cohorts).map_err(|what| what.by(PartyId::COORDINATOR))
            }
            None => Err(not_awaited(what)),
        };
        state.late.evidence = evidence;
        self.round = Some(state);
        taken
    }

    /// The round under its second seal, if that has this member's upload.
    fn sealed_round(&self, round: Round, what: &'static str) -> Result<(&RoundState, &SealedCohorts), Fault> {
        let state = self.round.as_ref().filter(|state| state.context.round() == round);
        let state = state.ok_or(not_awaited(what))?;
        let cohorts = state.cohorts.as_ref().filter(|cohorts| cohorts.has_uploaded(self.id));
        Ok((state, cohorts.ok_or(not_awaited(what))?))
    }

    fn send_all(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.outputs.extend(messages.into_iter().map(|message| MemberOutput::Send(Frame::Message(message))));
    }
}
