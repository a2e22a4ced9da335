//! Secrets that both seals permitted to reveal. Each is checked when it arrives.
//!
//! A mask key is checked against its commitment; seeds, and custodians' parts of them, come with a proof. Any
//! `h_r` parts give exactly the dealer's own seeds, so that no secret can be lost (`ROUND-15`).

use std::collections::BTreeMap;

use cloister_crypto::group::{Element, ScalarSecret};
use cloister_crypto::seed::{SeedSecret, combine};
use cloister_params::id::{BlockId, PartyId};
use cloister_params::rule;
use cloister_transcript::{EntryKind, RoundLog};
use cloister_wire::codec;
use cloister_wire::message::{Message, Reveal, RevealedSecret, RevealedSeeds};

use crate::dealing::DealtKeys;
use crate::fault::Misbehaviour;
use crate::opening::Seeds;
use crate::round::RoundContext;
use crate::sealed::SealedCohorts;

/// Custodians' parts of one dealer's seeds.
type Parts = BTreeMap<PartyId, Vec<(BlockId, Element)>>;

/// What was revealed in a round, and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct CheckedReveals {
    /// The reveals in the order of the log: by dealer, then by custodian. In place of a custodian, 0 stands
    /// for what the dealer's own key makes.
    listed: BTreeMap<(PartyId, PartyId), Reveal>,
    parts: BTreeMap<PartyId, Parts>,
    pub(crate) seeds: Seeds,
    pub(crate) mask_keys: BTreeMap<PartyId, ScalarSecret>,
}

/// Checks the reveals of a closed round: each is permitted by the seals (`ROUND-01`) and what its dealer committed to
/// (`ROUND-15`), there is nothing else, and nothing that the sums needed is missing. The result is the seeds that follow.
///
/// # Errors
/// The dealer of the first reveal for which that is not so.
pub fn check_reveals(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    reveals: &[Reveal],
) -> Result<Seeds, Misbehaviour> {
    let mut checked = CheckedReveals::default();
    for reveal in reveals {
        checked.take(round, cohorts, reveal)?;
    }
    if let Some(other) =
        reveals.iter().zip(checked.listed()).find_map(|(one, other)| (one != other).then_some(other))
    {
        return Err(Misbehaviour::Reveal { dealer: other.dealer });
    }
    // What was taken and is not listed is more than was needed.
    if let Some(extra) = reveals.get(checked.listed.len()) {
        return Err(Misbehaviour::Reveal { dealer: extra.dealer });
    }
    for dealer in cohorts.sealed_manifest().manifest().announcements().keys() {
        if !checked.has_all_of(cohorts, *dealer) {
            return Err(Misbehaviour::Reveal { dealer: *dealer });
        }
    }
    Ok(checked.seeds)
}

impl CheckedReveals {
    /// Takes a reveal that both seals permit (`ROUND-01`) and that is what its dealer committed to
    /// (`ROUND-15`). The same one again, and parts of seeds that are here, change nothing.
    ///
    /// # Errors
    /// Something that is not permitted, or that does not fit; nothing is changed then.
    pub(crate) fn take(
        &mut self,
        round: &RoundContext,
        cohorts: &SealedCohorts,
        reveal: &Reveal,
    ) -> Result<(), Misbehaviour> {
        let dealer = reveal.dealer;
        let place = (dealer, revealer(reveal));
        if self.listed.get(&place) == Some(reveal) {
            return Ok(());
        }
        match &reveal.secret {
            RevealedSecret::MaskKey(value) => {
                let key = check_mask_key(round, cohorts, dealer, *value)?;
                self.mask_keys.insert(dealer, key);
            }
            RevealedSecret::Seeds(seeds) => {
                let seeds = check_seeds(round, cohorts, place, seeds)?;
                // The member's own seeds replace custodians' parts, so that the log has one of the two and
                // never both.
                self.parts.remove(&dealer);
                self.listed.retain(|(listed, _), _| *listed != dealer);
                let seeds = seeds.iter().map(|(block, seed)| ((dealer, *block), SeedSecret::from(seed)));
                self.seeds.extend(seeds);
            }
            RevealedSecret::SeedParts { custodian, parts } => {
                // With the number 0 in a custodian's place, a coordinator could call the member's own seeds a
                // custodian's parts.
                if !round.custodians().any(|known| known == *custodian) {
                    return Err(Misbehaviour::Reveal { dealer });
                }
                let parts = check_seeds(round, cohorts, place, parts)?;
                // Parts beyond `h_r` are not listed: the log has those of exactly `h_r` custodians.
                if self.has_seeds(cohorts, dealer) {
                    return Ok(());
                }
                self.parts.entry(dealer).or_default().insert(*custodian, parts);
                self.combine_parts(round, dealer);
            }
        }
        self.listed.insert(place, reveal.clone());
        Ok(())
    }

    /// Makes seeds of a dealer once enough custodians gave their parts.
    fn combine_parts(&mut self, round: &RoundContext, dealer: PartyId) {
        let threshold = round.roster().floors().reveal_threshold;
        let Some(parts) = self.parts.get(&dealer).filter(|parts| parts.len() >= threshold) else { return };
        let parts: Vec<_> = parts.iter().map(|(custodian, parts)| (*custodian, parts.clone())).collect();
        let seeds = combine(&parts).expect("distinct custodians, who list what the seals permit");
        self.seeds.extend(seeds.into_iter().map(|(block, seed)| ((dealer, block), seed)));
        self.parts.remove(&dealer);
    }

    fn has_seeds(&self, cohorts: &SealedCohorts, dealer: PartyId) -> bool {
        let needed = &cohorts.revealable(dealer).seeds;
        // One stands for all: seeds are taken together, all that the seals permit of a dealer.
        needed.first().is_none_or(|first| self.seeds.contains_key(&(dealer, *first)))
    }

    /// Whether everything that the seals permit of a dealer is here.
    pub(crate) fn has_all_of(&self, cohorts: &SealedCohorts, dealer: PartyId) -> bool {
        let needs_key = cohorts.revealable(dealer).mask_key;
        (!needs_key || self.mask_keys.contains_key(&dealer)) && self.has_seeds(cohorts, dealer)
    }

    /// Everything, as the log has it.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Reveal> {
        self.listed.values()
    }

    /// The messages that show everything to custodians.
    pub(crate) fn messages(&self, round: &RoundContext) -> Vec<Message> {
        self.listed().map(|reveal| revealed(round, reveal)).collect()
    }

    /// The messages that show seeds to members, whose late sketches follow from them.
    pub(crate) fn seed_messages(&self, round: &RoundContext) -> Vec<Message> {
        let seeds = self.listed().filter(|reveal| !matches!(reveal.secret, RevealedSecret::MaskKey(_)));
        seeds.map(|reveal| revealed(round, reveal)).collect()
    }

    /// Appends everything to the log of the round.
    pub(crate) fn log(&self, log: &mut RoundLog) {
        for reveal in self.listed() {
            log.push(EntryKind::Reveal, reveal.dealer, codec::encode(reveal));
        }
    }
}

fn revealed(round: &RoundContext, reveal: &Reveal) -> Message {
    Message::Revealed { round: round.round(), reveal: reveal.clone() }
}

/// Who revealed it, as proofs and the log's order have it: the custodian, or 0 for what the dealer's own key
/// shows.
fn revealer(reveal: &Reveal) -> PartyId {
    match &reveal.secret {
        RevealedSecret::SeedParts { custodian, .. } => *custodian,
        RevealedSecret::MaskKey(_) | RevealedSecret::Seeds(_) => PartyId::COORDINATOR,
    }
}

/// The commitments of a member of `U1`.
pub(crate) fn dealt_keys(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    dealer: PartyId,
) -> Result<DealtKeys, Misbehaviour> {
    let announced = cohorts.sealed_manifest().manifest().announcements().get(&dealer);
    let body = announced.ok_or(Misbehaviour::Reveal { dealer })?.body();
    DealtKeys::decode(round.roster().floors().reveal_threshold, body)
}

fn check_mask_key(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    dealer: PartyId,
    value: [u8; 32],
) -> Result<ScalarSecret, Misbehaviour> {
    let wrong = Misbehaviour::Reveal { dealer };
    if !cohorts.revealable(dealer).mask_key {
        return Err(wrong);
    }
    let key = ScalarSecret::from_revealed(value).ok_or(wrong.clone())?;
    let fits = key.public() == *dealt_keys(round, cohorts, dealer)?.mask.key();
    if fits || !rule::in_force("ROUND-15") { Ok(key) } else { Err(wrong) }
}

/// Checks seeds of a dealer, or a custodian's parts of them: all that the seals permit, with a proof that
/// holds.
fn check_seeds(
    round: &RoundContext,
    cohorts: &SealedCohorts,
    (dealer, by): (PartyId, PartyId),
    revealed: &RevealedSeeds,
) -> Result<Vec<(BlockId, Element)>, Misbehaviour> {
    let wrong = Misbehaviour::Reveal { dealer };
    let listed: Vec<(BlockId, [u8; 32])> =
        revealed.seeds.iter().map(|seed| (seed.block, seed.seed)).collect();
    // Exactly the permitted blocks: one more would open what the seals do not, one less would stall the
    // round.
    if !listed.iter().map(|(block, _)| *block).eq(cohorts.revealable(dealer).seeds.iter().copied()) {
        return Err(wrong);
    }
    let key = dealt_keys(round, cohorts, dealer)?.seed;
    let public = match by {
        PartyId::COORDINATOR => Some(*key.key()),
        custodian => key.public_share(custodian),
    };
    let public = public.ok_or(wrong.clone())?;
    round.seed_bases().verify((dealer, by), &public, &listed, &revealed.proof).map_err(|_| wrong)
}
