//! Who lied: from signed answers about the first failing row, and from what differing pairs agreed on.
//!
//! With the row over each pair mask, what a member uploaded gives the same row of its late sketch, so an
//! honest member's answer tells nothing new. Two answers that differ about one pair cannot both be honest,
//! and what the pair agreed on shows which one is. A member is blamed only by what it signed itself
//! (`LATE-09`).

use std::collections::BTreeSet;

use cloister_alignment::late::LateProjection;
use cloister_crypto::group::AgreedSecret;
use cloister_crypto::mask::{MaskKey, Sign};
use cloister_params::id::{Digest, PartyId};
use cloister_wire::statement::{BlameAnswer, PairValue};

use crate::late::{LateEvidence, contradicts};
use crate::opening::{OpeningInputs, mask_key_of};
use crate::round::RoundContext;
use crate::sealed::SummedCohort;

/// The first row of a block in which the late sketches do not add up to the sum, and what it is computed
/// from.
#[derive(Clone, Copy, Debug)]
pub struct BlamedRow<'a> {
    /// The round in progress.
    pub round: &'a RoundContext,
    /// Digest of the sealed manifest.
    pub manifest: Digest,
    /// The cohort that is summed.
    pub cohort: &'a SummedCohort,
    /// The block's projection.
    pub projection: LateProjection,
    /// The row, below [`LATE_ROWS`](cloister_params::late::LATE_ROWS).
    pub row: usize,
}

impl BlamedRow<'_> {
    /// The row over words of the block.
    fn over(&self, words: impl IntoIterator<Item = u32>) -> u32 {
        self.projection.row(self.row, self.round.plan().settings.ring, words)
    }

    /// The row over a mask, before its sign.
    fn over_mask(&self, key: MaskKey) -> u32 {
        let length = self.round.block(self.cohort.block()).map_or(0, |block| block.shape.length);
        let mut mask = vec![0u32; length as usize];
        // Before its sign, so that both members of a pair sign the same value and their answers can be
        // compared.
        key.apply(Sign::Plus, &mut mask);
        self.over(mask)
    }

    /// The row over the mask of a pair, before its sign.
    pub fn over_pair(&self, one: PartyId, other: PartyId, agreed: &AgreedSecret) -> u32 {
        let block = self.round.block(self.cohort.block()).expect("sealed cohorts name blocks of the plan");
        self.over_mask(self.round.masking(block, self.manifest).pair_key(one, other, agreed))
    }

    /// The row of a member's late sketch that follows from its upload, once the pair masks that its answer
    /// names, its self mask, and those it shares with members that did not arrive are taken off (`LATE-06`).
    fn uploaded_row(
        &self,
        openings: &OpeningInputs<'_>,
        member: PartyId,
        pairs: &[PairValue],
    ) -> Option<u32> {
        let block = self.round.block(self.cohort.block())?;
        let context = self.round.masking(block, self.manifest);
        let ring = self.round.plan().settings.ring;
        let packed = openings.uploads.get(&member)?.get(&self.cohort.block())?;
        let seed = openings.seeds.get(&(member, self.cohort.block()))?;
        let mut row = self.over(ring.unpack(packed));
        row = row.wrapping_sub(self.over_mask(context.self_key(member, seed)));
        let public = mask_key_of(openings.announcements, member)?;
        // Their mask keys are open, so nobody has to be asked about these masks.
        for absent in self.cohort.absent() {
            let agreed = openings.mask_keys.get(absent)?.agree(&public);
            row = without(row, member, *absent, self.over_pair(member, *absent, &agreed));
        }
        for pair in pairs {
            row = without(row, member, pair.other, pair.value);
        }
        Some(ring.reduce(row))
    }

    /// The answers that count: those about this row.
    fn answers<'e>(&self, evidence: &'e LateEvidence) -> Vec<(PartyId, &'e BlameAnswer)> {
        let block = self.cohort.block();
        let answers =
            self.cohort.members().filter_map(|member| Some((member, evidence.answer(member, block)?)));
        // An answer about another row is a member's mistake or the coordinator's; it blames nobody.
        answers.filter(|(_, answer)| answer.row as usize == self.row).collect()
    }

    /// The pairs whose two members signed different answers, the lower first.
    pub fn disputes(&self, evidence: &LateEvidence) -> Vec<(PartyId, PartyId)> {
        let answers = self.answers(evidence);
        let mut disputes = Vec::new();
        for (at, (one, first)) in answers.iter().enumerate() {
            for (other, second) in &answers[at + 1..] {
                if contradicts(*one, first, *other, second) {
                    disputes.push((*one, *other));
                }
            }
        }
        disputes
    }

    /// Members whose own answers show that they lied, ascending (`LATE-09`): a value that is not the opened
    /// pair's, or an answer from which another row follows than they sketched.
    pub fn liars(&self, openings: &OpeningInputs<'_>, evidence: &LateEvidence) -> BTreeSet<PartyId> {
        let mut liars = BTreeSet::new();
        // Silence names nobody: a coordinator that drops an honest member's message would have that member
        // named.
        for (member, answer) in self.answers(evidence) {
            let rows = evidence.rows(member, self.cohort.block());
            let sketched = rows.and_then(|rows| rows.get(self.row));
            let uploaded = self.uploaded_row(openings, member, &answer.pairs);
            // A false value moves this member's own row. If its sketch is false to match, two answers of a
            // pair differ.
            let sketched_otherwise = uploaded.is_some_and(|row| sketched != Some(&row));
            if sketched_otherwise || answer.pairs.iter().any(|pair| self.is_untrue(evidence, member, pair)) {
                liars.insert(member);
            }
        }
        liars
    }

    /// Whether a value is not that of the pair's mask, where what the pair agreed on is open.
    fn is_untrue(&self, evidence: &LateEvidence, member: PartyId, pair: &PairValue) -> bool {
        let agreed = evidence.agreed(member, pair.other);
        agreed.is_some_and(|agreed| self.over_pair(member, pair.other, agreed) != pair.value)
    }
}

/// Takes the row over a pair mask off, with the sign that the member gave it.
fn without(row: u32, member: PartyId, other: PartyId, value: u32) -> u32 {
    match Sign::for_pair(member, other) {
        Sign::Plus => row.wrapping_sub(value),
        Sign::Minus => row.wrapping_add(value),
    }
}
