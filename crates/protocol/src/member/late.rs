//! A member's late sketches, and its answers when the sketches do not add up to a sum.

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::{BlockId, Round};
use cloister_params::{late, rule};
use cloister_wire::message::{Message, Reveal};
use cloister_wire::statement::{BlameAnswer, LateSketch, LateSketches, PairValue, Signed};
use rand_core::CryptoRng;

use super::Member;
use super::phase::{MemberRound, SealedRound};
use crate::fault::{Fault, Misbehaviour};
use crate::late::blame::BlamedRow;
use crate::late::check::first_failing_row;
use crate::late::{contradicts, open_pair, projection, sketched_blocks};
use crate::opening::mask_key_of;
use crate::round::RoundContext;
use crate::statement::sign;

impl Member {
    /// Takes seeds, from which the seeds of the projections follow. A member sketches once in a round, so it
    /// ignores seeds that come after it has sketched.
    pub(super) fn handle_revealed(&mut self, round: Round, reveal: &Reveal) -> Result<(), Fault> {
        self.check_round(round, "a revealed secret")?;
        let (planned, sealed) = self.phase.sealed_mut("a revealed secret")?;
        if sealed.late.sketches.is_some() && rule::in_force("LATE-02") {
            return Ok(());
        }
        let taken = sealed.late.reveals.take(&planned.context, &sealed.cohorts, reveal);
        taken.map_err(Misbehaviour::by_coordinator)
    }

    /// Sketches what it uploaded, for seeds that came with a proof (`LATE-02`). It does so once in a round:
    /// if it is asked again, it sends the same sketches again.
    pub(super) fn handle_late_request(&mut self, round: Round) -> Result<(), Fault> {
        let what = "a request for late sketches";
        self.check_round(round, what)?;
        let (planned, sealed) = self.phase.sealed(what)?;
        let signed = match &sealed.late.sketches {
            Some(signed) if rule::in_force("LATE-02") => signed.clone(),
            _ => sign(&self.key, self.id, &self.sketch_uploads(planned, sealed)?),
        };
        let (_, sealed) = self.phase.sealed_mut(what)?;
        sealed.late.sketches = Some(signed.clone());
        self.send(Message::LateSketches(signed));
        Ok(())
    }

    /// The blocks of which enough late sketches from the same parameters were sent, which no budget counts
    /// (`LATE-10`).
    fn shown_enough(&self, round: &RoundContext) -> BTreeSet<BlockId> {
        // With a budget, an update is charged with all that is derived from it; without one, this count is
        // the only limit.
        if self.policy.privacy.is_some() || !rule::in_force("LATE-10") {
            return BTreeSet::new();
        }
        let uploaded = self.openings.rounds_uploaded_from(round);
        let mut enough = BTreeSet::new();
        for planned in &round.plan().settings.blocks {
            let parameters = round.plan().parameters_of(planned.shape.id);
            let rounds = parameters.and_then(|parameters| uploaded.get(&parameters));
            if rounds.is_some_and(|rounds| *rounds >= late::most_sketches(planned)) {
                enough.insert(planned.shape.id);
            }
        }
        enough
    }

    fn sketch_uploads(&self, planned: &MemberRound, sealed: &SealedRound) -> Result<LateSketches, Fault> {
        let kept = self.kept.as_ref().ok_or(Fault::ApiMisuse("no contribution is held"))?;
        let (context, cohorts) = (&planned.context, &sealed.cohorts);
        let ring = context.plan().settings.ring;
        let weights: BTreeMap<BlockId, u8> =
            cohorts.sealed_manifest().manifest().blocks_of(self.id).iter().copied().collect();
        let shown_enough = self.shown_enough(context);
        let mut sketches = Vec::new();
        for (cohort, projection) in sketched_blocks(context, cohorts, self.id, &sealed.late.reveals.seeds) {
            let block = cohort.block();
            if shown_enough.contains(&block) {
                continue;
            }
            let weight = weights.get(&block).copied().map_or(0, u32::from);
            let integers = &kept.contribution.integers[block];
            // The words that it uploaded, before their masks.
            let words = integers.iter().map(|integer| integer.cast_unsigned().wrapping_mul(weight));
            sketches.push(LateSketch { block, rows: projection.rows(ring, words) });
        }
        Ok(LateSketches {
            epoch: context.epoch().digest(),
            round: context.round(),
            seal2: cohorts.seal2().digest(),
            sketches,
        })
    }

    /// Keeps the late sketches of another member.
    pub(super) fn handle_late_sketches(&mut self, signed: &Signed<LateSketches>) -> Result<(), Fault> {
        let (planned, sealed) = self.phase.sealed_mut("late sketches")?;
        let taken = sealed.late.evidence.take_sketches(&planned.context, &sealed.cohorts, signed);
        taken.map_err(Misbehaviour::by_coordinator)
    }

    /// Answers for the first row that does not add up, once for each block (`LATE-07`). The row follows from
    /// what the members signed and from the sum that came, and cannot be asked for.
    pub(super) fn handle_blame_request(&mut self, round: Round, block: BlockId) -> Result<(), Fault> {
        let what = "a blame request";
        self.check_round(round, what)?;
        let (planned, sealed) = self.phase.sealed(what)?;
        let signed = match sealed.late.answers.get(&block) {
            Some(signed) if rule::in_force("LATE-07") => signed.clone(),
            _ => {
                let blamed = blamed_row(planned, sealed, block).ok_or(Fault::unexpected(what))?;
                sign(&self.key, self.id, &self.answer(sealed, &blamed))
            }
        };
        let (_, sealed) = self.phase.sealed_mut(what)?;
        sealed.late.answers.insert(block, signed.clone());
        self.send(Message::BlameAnswer(signed));
        Ok(())
    }

    fn answer(&self, sealed: &SealedRound, blamed: &BlamedRow<'_>) -> BlameAnswer {
        let manifest = sealed.cohorts.sealed_manifest().manifest();
        let mut pairs = Vec::new();
        for other in blamed.cohort.members().filter(|other| *other != self.id) {
            if let Some(public) = mask_key_of(manifest.announcements(), other) {
                let agreed = sealed.announcement.secrets.mask_key().agree(&public);
                pairs.push(PairValue { other, value: blamed.over_pair(self.id, other, &agreed) });
            }
        }
        BlameAnswer {
            epoch: blamed.round.epoch().digest(),
            round: blamed.round.round(),
            seal2: sealed.cohorts.seal2().digest(),
            block: blamed.cohort.block(),
            row: u32::try_from(blamed.row).expect("a row is below 48"),
            pairs,
        }
    }

    /// Takes another member's answer; if it contradicts this member's own, shows what the two agree on
    /// (`LATE-08`).
    pub(super) fn handle_blame_answer(
        &mut self,
        signed: &Signed<BlameAnswer>,
        random: &mut impl CryptoRng,
    ) -> Result<(), Fault> {
        let (planned, sealed) = self.phase.sealed_mut("a blame answer")?;
        let context = &planned.context;
        let SealedRound { announcement, cohorts, late, .. } = sealed;
        late.evidence.take_answer(context, cohorts, signed).map_err(Misbehaviour::by_coordinator)?;
        let (other, Ok(theirs)) = (signed.signer, signed.parse()) else { return Ok(()) };
        let sent = late.answers.get(&theirs.block).and_then(|sent| sent.parse().ok());
        // Two honest members compute the same value, so the mask of an honest pair never opens.
        if !sent.is_some_and(|sent| contradicts(self.id, &sent, other, &theirs)) {
            return Ok(());
        }
        let announcements = cohorts.sealed_manifest().manifest().announcements();
        let Some(public) = mask_key_of(announcements, other) else { return Ok(()) };
        let mask_key = announcement.secrets.mask_key();
        let opening = open_pair(context, (self.id, mask_key), (other, &public), random);
        let (round, is_new) = (context.round(), late.opened.insert(other));
        // Shown once for a pair: the opened value decides every block and row on which the two differ.
        if is_new {
            self.send(Message::PairOpened { round, opening });
        }
        Ok(())
    }

    /// Checks that a message is about the round in progress.
    fn check_round(&self, round: Round, what: &'static str) -> Result<(), Fault> {
        if self.phase.round() == Some(round) { Ok(()) } else { Err(Fault::unexpected(what)) }
    }
}

/// The row that fails by what this member holds. `None` if no row fails, or if this member sent no sketch of
/// the block.
fn blamed_row<'a>(
    planned: &'a MemberRound,
    sealed: &'a SealedRound,
    block: BlockId,
) -> Option<BlamedRow<'a>> {
    let (context, cohorts, late) = (&planned.context, &sealed.cohorts, &sealed.late);
    let sent = late.sketches.as_ref()?.parse().ok()?;
    // Without a sketch, the row over the pair masks would be new information about the upload.
    sent.sketches.iter().find(|sketch| sketch.block == block)?;
    let cohort = cohorts.valid_cohort(block)?;
    let projection = projection(cohorts, cohort, &late.reveals.seeds)?;
    let packed = planned.sums.get(&block)?;
    // A sum that is not complete would fail another row, and the answer counts for one row only.
    if packed.len() != context.plan().packed_bytes(context.block(block)?) {
        return None;
    }
    let sum = context.plan().settings.ring.unpack(packed);
    let row = first_failing_row(context, cohort, &late.evidence, projection, &sum)?;
    let manifest = cohorts.sealed_manifest().manifest().digest();
    Some(BlamedRow { round: context, manifest, cohort, projection, row })
}
