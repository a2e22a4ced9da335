//! What members signed and showed about their uploads, checked as it comes.

use std::collections::BTreeMap;

use cloister_crypto::group::{AgreedSecret, Element, ScalarSecret, prove_agreement, verify_agreement};
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::late::LATE_ROWS;
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::codec;
use cloister_wire::message::{Message, PairOpening};
use cloister_wire::statement::{BlameAnswer, Body, LateSketch, LateSketches, Signed};
use rand_core::CryptoRng;

use crate::fault::{Misbehaviour, expect};
use crate::late::is_sketched;
use crate::opening::mask_key_of;
use crate::round::RoundContext;
use crate::sealed::{SealedCohorts, SummedCohort};
use crate::statement::{Verified, check_partys, log_signed};

/// Late sketches, answers and openings of a round.
#[derive(Debug, Default)]
pub struct LateEvidence {
    sketches: BTreeMap<PartyId, (Signed<LateSketches>, Verified<LateSketches>)>,
    answers: BTreeMap<(BlockId, PartyId), (Signed<BlameAnswer>, Verified<BlameAnswer>)>,
    openings: BTreeMap<(PartyId, PartyId), (PairOpening, AgreedSecret)>,
}

impl LateEvidence {
    /// Takes a member's late sketches; the same ones again change nothing.
    ///
    /// # Errors
    /// A statement of another round or by a member that did not upload, one of another shape, or a second
    /// one.
    pub fn take_sketches(
        &mut self,
        round: &RoundContext,
        cohorts: &SealedCohorts,
        signed: &Signed<LateSketches>,
    ) -> Result<(), Misbehaviour> {
        let verified = check_partys(signed, round.epoch(), Role::Member)?;
        let (member, body) = (verified.signer(), verified.body());
        expect_place::<LateSketches>(round, cohorts, (body.epoch, body.round, body.seal2))?;
        let ascending = body.sketches.windows(2).all(|pair| pair[0].block < pair[1].block);
        // Some blocks may be missing: their seeds may not have arrived, or the member has shown enough of
        // them.
        if !ascending || !body.sketches.iter().all(|sketch| is_asked(round, cohorts, member, sketch.block)) {
            let why = "it names other blocks than those that the member is summed in";
            return Err(Misbehaviour::LateSketch { member, why });
        }
        if !body.sketches.iter().all(|sketch| has_rows(round, sketch)) {
            let why = "it does not have the rows of a late sketch in the plan's ring";
            return Err(Misbehaviour::LateSketch { member, why });
        }
        keep(&mut self.sketches, member, (signed.clone(), verified), round)
    }

    /// Takes a member's answer about a row; the same one again changes nothing.
    ///
    /// # Errors
    /// An answer of another round or shape, or a second one for the block.
    pub fn take_answer(
        &mut self,
        round: &RoundContext,
        cohorts: &SealedCohorts,
        signed: &Signed<BlameAnswer>,
    ) -> Result<(), Misbehaviour> {
        let verified = check_partys(signed, round.epoch(), Role::Member)?;
        let (member, body) = (verified.signer(), verified.body());
        expect_place::<BlameAnswer>(round, cohorts, (body.epoch, body.round, body.seal2))?;
        if !is_asked(round, cohorts, member, body.block) {
            let why = "it answers for a block that it is not summed in";
            return Err(Misbehaviour::LateSketch { member, why });
        }
        let cohort = cohorts.valid_cohort(body.block);
        // Every pair, ascending: an answer that leaves one out would leave its mask in the row.
        let others = cohort.into_iter().flat_map(SummedCohort::members).filter(|other| *other != member);
        let ring = round.plan().settings.ring;
        let fits = body.pairs.iter().map(|pair| pair.other).eq(others)
            && body.pairs.iter().all(|pair| ring.reduce(pair.value) == pair.value)
            && (body.row as usize) < LATE_ROWS;
        if !fits {
            let why = "its answer does not name each other member of the cohort once";
            return Err(Misbehaviour::LateSketch { member, why });
        }
        let place = (body.block, member);
        keep(&mut self.answers, place, (signed.clone(), verified), round)
    }

    /// Takes what a pair agreed on, proved by one of the two, where their signed answers differ (`LATE-08`).
    ///
    /// # Errors
    /// An opening of another round, a pair whose two answers are not there or do not differ, or a proof that
    /// does not hold.
    pub fn take_opening(
        &mut self,
        round: &RoundContext,
        cohorts: &SealedCohorts,
        (number, opening): (Round, &PairOpening),
    ) -> Result<(), Misbehaviour> {
        expect("opened pair", "round", number, round.round())?;
        let PairOpening { member, other, .. } = *opening;
        // An opened pair shows a mask, so it is not accepted where no one has to have lied.
        if !self.is_disputed(member, other) {
            let why = "it opens a pair whose two signed answers do not differ";
            return Err(Misbehaviour::LateSketch { member, why });
        }
        let wrong = Misbehaviour::LateSketch { member, why: "it does not prove what its pair agreed on" };
        let announcements = cohorts.sealed_manifest().manifest().announcements();
        let key = mask_key_of(announcements, member).ok_or(wrong.clone())?;
        let other_key = mask_key_of(announcements, other).ok_or(wrong.clone())?;
        let context = opening_context(round, member, other);
        let agreed = verify_agreement(&key, &other_key, opening.agreed, &context, &opening.proof)
            .map_err(|_| wrong)?;
        self.openings.insert((member, other), (*opening, agreed));
        Ok(())
    }

    /// Whether a pair's signed answers about a block differ.
    fn is_disputed(&self, one: PartyId, other: PartyId) -> bool {
        let mut answers = self.answers.iter().filter(|((_, member), _)| *member == one);
        answers.any(|((block, _), (_, first))| {
            let second = self.answer(other, *block);
            second.is_some_and(|second| contradicts(one, first.body(), other, second))
        })
    }

    /// The rows of a member's late sketch of a block.
    pub fn rows(&self, member: PartyId, block: BlockId) -> Option<&[u32]> {
        let (_, verified) = self.sketches.get(&member)?;
        let sketch = verified.body().sketches.iter().find(|sketch| sketch.block == block)?;
        Some(&sketch.rows)
    }

    /// Whether a member sent late sketches.
    pub fn has_sketches(&self, member: PartyId) -> bool {
        self.sketches.contains_key(&member)
    }

    /// A member's answer about a block.
    pub fn answer(&self, member: PartyId, block: BlockId) -> Option<&BlameAnswer> {
        self.answers.get(&(block, member)).map(|(_, verified)| verified.body())
    }

    /// What a pair agreed on, whichever of the two showed it.
    pub fn agreed(&self, one: PartyId, other: PartyId) -> Option<&AgreedSecret> {
        // Both directions are the same secret: `e[u]·E[v] = e[v]·E[u]`.
        let opened = self.openings.get(&(one, other)).or_else(|| self.openings.get(&(other, one)));
        opened.map(|(_, agreed)| agreed)
    }

    /// The late sketches of these members, as they came.
    pub fn sketches_of(&self, members: impl Iterator<Item = PartyId>) -> Vec<Message> {
        let signed = members.filter_map(|member| Some(self.sketches.get(&member)?.0.clone()));
        signed.map(Message::LateSketches).collect()
    }

    /// A member's answer about a block, as it came.
    pub fn signed_answer(&self, member: PartyId, block: BlockId) -> Option<Message> {
        self.answers.get(&(block, member)).map(|(signed, _)| Message::BlameAnswer(signed.clone()))
    }

    /// Everything, as it came.
    pub fn messages(&self, round: &RoundContext) -> Vec<Message> {
        let sketches = self.sketches.values().map(|(signed, _)| Message::LateSketches(signed.clone()));
        let answers = self.answers.values().map(|(signed, _)| Message::BlameAnswer(signed.clone()));
        let openings = self.openings.values().map(|(opening, _)| *opening);
        let openings = openings.map(|opening| Message::PairOpened { round: round.round(), opening });
        sketches.chain(answers).chain(openings).collect()
    }

    /// Appends everything to the log of the round.
    pub fn log(&self, log: &mut RoundLog) {
        for (signed, _) in self.sketches.values() {
            log_signed(log, EntryKind::LateSketches, signed);
        }
        for (signed, _) in self.answers.values() {
            log_signed(log, EntryKind::BlameAnswer, signed);
        }
        for ((member, _), (opening, _)) in &self.openings {
            log.push(EntryKind::PairOpening, *member, codec::encode(opening));
        }
    }
}

/// Keeps a statement. Another one in its place is rejected, because its signer equivocates.
fn keep<K: Ord, T: Body>(
    kept: &mut BTreeMap<K, (Signed<T>, Verified<T>)>,
    place: K,
    statement: (Signed<T>, Verified<T>),
    round: &RoundContext,
) -> Result<(), Misbehaviour> {
    if kept.get(&place).is_some_and(|(_, before)| before.bytes() != statement.1.bytes()) {
        return Err(Misbehaviour::Equivocation { what: T::TAG, round: round.round() });
    }
    // The first stays: the log has one statement for each place, whichever signature came with it.
    kept.entry(place).or_insert(statement);
    Ok(())
}

/// Whether a late sketch has its rows, each an element of the plan's ring.
fn has_rows(round: &RoundContext, sketch: &LateSketch) -> bool {
    let ring = round.plan().settings.ring;
    sketch.rows.len() == LATE_ROWS && sketch.rows.iter().all(|row| ring.reduce(*row) == *row)
}

/// Checks that a statement is about this round under its second seal.
fn expect_place<T: Body>(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    (epoch, number, seal2): (Digest, Round, Digest),
) -> Result<(), Misbehaviour> {
    expect(T::TAG, "epoch", epoch, round.epoch().digest())?;
    expect(T::TAG, "round", number, round.round())?;
    expect(T::TAG, "second seal", seal2, cohorts.seal2().digest())
}

/// Whether a member is asked for a late sketch of a block.
fn is_asked(round: &RoundContext, cohorts: &SealedCohorts, member: PartyId, block: BlockId) -> bool {
    cohorts.valid_cohort(block).is_some_and(|cohort| cohort.has(member)) && is_sketched(round, block)
}

/// Whether two signed answers about one row differ about the pair of their signers (`LATE-08`).
pub(crate) fn contradicts(one: PartyId, first: &BlameAnswer, other: PartyId, second: &BlameAnswer) -> bool {
    let (ours, theirs) = (value_for(first, other), value_for(second, one));
    // Both must speak of the same row and pair; silence contradicts nothing.
    first.row == second.row && ours.is_some() && theirs.is_some() && ours != theirs
}

/// What an answer says of the pair with another member.
fn value_for(answer: &BlameAnswer, other: PartyId) -> Option<u32> {
    answer.pairs.iter().find(|pair| pair.other == other).map(|pair| pair.value)
}

/// Shows what a member and another agree on (`LATE-08`).
pub(crate) fn open_pair(
    round: &RoundContext,
    (member, mask_key): (PartyId, &ScalarSecret),
    (other, public): (PartyId, &Element),
    random: &mut impl CryptoRng,
) -> PairOpening {
    let context = opening_context(round, member, other);
    let (agreed, proof) = prove_agreement(mask_key, public, &context, random);
    PairOpening { member, other, agreed, proof }
}

/// What the proof of an opened pair is bound to.
fn opening_context(round: &RoundContext, member: PartyId, other: PartyId) -> Vec<u8> {
    [b"cloister/v1/pair-opening", &round.dealing(member).encode()[..], &other.0.to_be_bytes()].concat()
}
