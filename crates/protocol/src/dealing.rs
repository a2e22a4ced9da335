//! A member's secrets of one round: made, committed to, dealt to custodians, and opened there.

use cloister_crypto::consortium::Epoch;
use cloister_crypto::group::{Element, ScalarSecret, prove_knowledge, verify_knowledge};
use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::letter::{self, LetterEvidence};
use cloister_crypto::seed::SeedSecret;
use cloister_crypto::sharing::{Commitments, DealingContext, DealtKey, SharingSecret};
use cloister_params::consortium::Role;
use cloister_params::id::{BlockId, PartyId, Round};
use cloister_params::plan::CheckedPlan;
use cloister_params::rule;
use cloister_wire::message::{BadDealing, BlockSeed, RevealedSeeds};
use cloister_wire::statement::{AnnouncedSketch, Announcement, Body, Dealing, SharedKey};
use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::contribution::{Contribution, check_sketches};
use crate::fault::{Misbehaviour, expect};
use crate::round::RoundContext;
use crate::statement::check_partys;

/// What a member states about its contribution in its announcement.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Terms {
    /// Whether its policy has a privacy budget (`ROUND-30`).
    pub has_budget: bool,
    /// Blocks that it does not give to the round, ascending (`ROUND-38`).
    pub closed: Vec<BlockId>,
}

/// A member's mask key and seed key for one round. They live in memory only and are erased when dropped.
pub struct RoundSecrets {
    dealer: PartyId,
    mask_key: ScalarSecret,
    seed_key: ScalarSecret,
}

/// Each secret in it erases itself.
impl ZeroizeOnDrop for RoundSecrets {}

impl std::fmt::Debug for RoundSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoundSecrets(of {})", self.dealer)
    }
}

/// A sealed letter and whom it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedLetter {
    /// The custodian whose receiving key it is sealed to.
    pub custodian: PartyId,
    /// The letter as it travels: the custodian's shares of both keys, encrypted.
    pub sealed: Vec<u8>,
}

impl RoundSecrets {
    /// Fresh secrets for one round (`MASK-01`).
    pub fn generate(dealer: PartyId, random: &mut impl CryptoRng) -> Self {
        let mask_key = ScalarSecret::random(random);
        let seed_key = ScalarSecret::random(random);
        Self { dealer, mask_key, seed_key }
    }

    /// The mask key, for pair masks.
    pub fn mask_key(&self) -> &ScalarSecret {
        &self.mask_key
    }

    /// The seed of a block of the plan (`MASK-14`).
    pub fn seed(&self, round: &RoundContext, block: BlockId) -> SeedSecret {
        round.seed_bases().seed(&self.seed_key, block)
    }

    /// Reveals the seeds of some blocks, with their proof (`MASK-15`).
    pub fn reveal_seeds(&self, round: &RoundContext, blocks: &[BlockId]) -> RevealedSeeds {
        reveal(round, (self.dealer, PartyId::COORDINATOR), &self.seed_key, blocks)
    }

    /// Deals both keys to the plan's custodians and writes the announcement.
    pub fn announce(
        &self,
        round: &RoundContext,
        (contribution, terms): (&Contribution, Terms),
        random: &mut impl CryptoRng,
    ) -> (Announcement, Vec<SealedLetter>) {
        let threshold = round.roster().floors().reveal_threshold;
        let sharings = [&self.mask_key, &self.seed_key].map(|key| SharingSecret::new(key, threshold, random));
        let [mask_key, seed_key] =
            [(&self.mask_key, DealtKey::Mask, &sharings[0]), (&self.seed_key, DealtKey::Seed, &sharings[1])]
                .map(|(key, kind, sharing)| {
                    let context = round.dealing(self.dealer).knowledge_context(kind);
                    SharedKey {
                        commitments: sharing.commitments(),
                        proof: prove_knowledge(key, &context, random),
                    }
                });
        let (letters, dealings) =
            round.custodians().map(|custodian| self.seal_letter(round, custodian, &sharings, random)).unzip();
        let announcement = Announcement {
            epoch: round.epoch().digest(),
            round: round.round(),
            plan: round.plan_digest(),
            mask_key,
            seed_key,
            has_budget: terms.has_budget,
            closed: terms.closed,
            dealings,
            sketches: announced_sketches(contribution),
        };
        (announcement, letters)
    }

    fn seal_letter(
        &self,
        round: &RoundContext,
        custodian: PartyId,
        sharings: &[SharingSecret; 2],
        random: &mut impl CryptoRng,
    ) -> (SealedLetter, Dealing) {
        // The plain shares are erased as soon as they are sealed. With its length at once: a vector that grows
        // leaves secret copies in freed memory.
        let mut content = Zeroizing::new(Vec::with_capacity(2 * 32));
        for sharing in sharings {
            content.extend_from_slice(sharing.share_of(custodian).reveal().as_ref());
        }
        // Plans are checked to name canonical keys of custodians before secrets are made (`PLAN-09`).
        let recipient = recipient_key(round.plan(), custodian);
        let letter_context = round.dealing(self.dealer).letter_context(round.plan_digest(), custodian);
        let sealed = letter::seal(&content, &recipient, &letter_context, random);
        let letter = digest(Domain::Letter, &[&sealed]);
        let dealing = Dealing { custodian, recipient: recipient.bytes(), letter };
        (SealedLetter { custodian, sealed }, dealing)
    }
}

/// Makes seeds, or a custodian's parts of them, as they travel.
fn reveal(
    round: &RoundContext,
    who: (PartyId, PartyId),
    secret: &ScalarSecret,
    blocks: &[BlockId],
) -> RevealedSeeds {
    let seeds = round.seed_bases().seeds(secret, blocks);
    let proof = round.seed_bases().prove(who, (secret, &secret.public()), &seeds);
    let seeds = seeds.into_iter().map(|(block, seed)| BlockSeed { block, seed: seed.bytes() }).collect();
    RevealedSeeds { seeds, proof }
}

fn recipient_key(plan: &CheckedPlan, custodian: PartyId) -> Element {
    let bytes = plan.receiving_key(custodian).unwrap_or_default();
    Element::decode(bytes).expect("a member checks the plan's receiving keys before it deals")
}

fn announced_sketches(contribution: &Contribution) -> Vec<AnnouncedSketch> {
    let mut announced = Vec::new();
    for (block, sketch) in &contribution.sketches {
        announced.push(AnnouncedSketch {
            block: *block,
            values: sketch.values.clone(),
            tokens: sketch.tokens,
        });
    }
    announced
}

/// A dealer's commitments to its two keys, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DealtKeys {
    /// To the mask key.
    pub mask: Commitments,
    /// To the seed key.
    pub seed: Commitments,
}

impl DealtKeys {
    /// Decodes what an announcement commits to, and checks the proofs of knowledge (`MASK-02`, `MASK-08`).
    fn check(context: &DealingContext, threshold: usize, body: &Announcement) -> Result<(), Misbehaviour> {
        // Once, with the announcement. Later uses only decode: the proofs depend on nothing that came since.
        let keys = Self::decode(threshold, body)?;
        for (key, kind, what) in [
            (&keys.mask, DealtKey::Mask, "the proof of knowledge of the mask key"),
            (&keys.seed, DealtKey::Seed, "the proof of knowledge of the seed key"),
        ] {
            let shared = shared_key(body, kind);
            verify_knowledge(key.key(), &context.knowledge_context(kind), &shared.proof)
                .map_err(|_| Misbehaviour::Announcement(what))?;
        }
        Ok(())
    }

    /// Decodes what an announcement commits to.
    ///
    /// # Errors
    /// Commitments that are no sharing with this threshold.
    pub fn decode(threshold: usize, body: &Announcement) -> Result<Self, Misbehaviour> {
        let mask = Commitments::decode(&body.mask_key.commitments, threshold)
            .map_err(|_| Misbehaviour::Announcement("the commitments to the mask key"))?;
        let seed = Commitments::decode(&body.seed_key.commitments, threshold)
            .map_err(|_| Misbehaviour::Announcement("the commitments to the seed key"))?;
        Ok(Self { mask, seed })
    }
}

fn shared_key(body: &Announcement, kind: DealtKey) -> &SharedKey {
    match kind {
        DealtKey::Mask => &body.mask_key,
        DealtKey::Seed => &body.seed_key,
    }
}

/// Checks that an announcement has the plan's shape: fields, commitments to both keys with proofs of
/// knowledge, one dealing for each custodian of the plan, one sketch for each expert block (`ROUND-10`).
///
/// # Errors
/// The first thing that is not as it must be.
pub fn check_announcement(
    round: &RoundContext,
    dealer: PartyId,
    body: &Announcement,
) -> Result<(), Misbehaviour> {
    if rule::in_force("ROUND-10") {
        check_names(round, body)?;
    }
    if round.plan().barred.contains(&dealer) && rule::in_force("PLAN-14") {
        return Err(Misbehaviour::Announcement("its signer is barred from the round"));
    }
    DealtKeys::check(&round.dealing(dealer), round.roster().floors().reveal_threshold, body)?;
    // The receiving key is in the announcement so that evidence of a bad letter needs no plan.
    let dealt = body.dealings.iter().map(|dealing| (dealing.custodian, dealing.recipient));
    if !dealt.eq(round.plan().custodians.iter().map(|entry| (entry.custodian, entry.key))) {
        return Err(Misbehaviour::Announcement(
            "one dealing for each custodian, ascending, with its receiving key",
        ));
    }
    // Ascending, because cohorts are chosen by a binary search in it.
    let ascending = body.closed.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || body.closed.iter().any(|block| round.block(*block).is_none()) {
        return Err(Misbehaviour::Announcement("closed blocks of the plan, ascending"));
    }
    check_sketches(&round.plan().settings, &body.sketches)
}

fn check_names(round: &RoundContext, body: &Announcement) -> Result<(), Misbehaviour> {
    expect(Announcement::TAG, "epoch", body.epoch, round.epoch().digest())?;
    expect(Announcement::TAG, "round", body.round, round.round())?;
    expect(Announcement::TAG, "plan", body.plan, round.plan_digest())
}

const NOT_ANNOUNCED: &str = "it is not the announced letter";
const CLOSED: &str = "it cannot be opened";

/// Whether a letter is the one that its dealer announced. A custodian shows nothing of any other.
pub fn is_announced_letter(custodian: PartyId, announcement: &Announcement, sealed: &[u8]) -> bool {
    announced_letter(custodian, announcement, sealed).is_some()
}

/// The dealing that a letter was announced with.
fn announced_letter<'a>(
    custodian: PartyId,
    announcement: &'a Announcement,
    sealed: &[u8],
) -> Option<&'a Dealing> {
    let dealing = announcement.dealings.iter().find(|dealing| dealing.custodian == custodian)?;
    let is_announced = digest(Domain::Letter, &[sealed]) == dealing.letter;
    (is_announced || !rule::in_force("ROUND-11")).then_some(dealing)
}

/// The two shares of a letter, if they are the custodian's right ones (`ROUND-11`).
fn right_shares(
    custodian: PartyId,
    keys: &DealtKeys,
    content: &[u8],
) -> Result<(ScalarSecret, ScalarSecret), &'static str> {
    let ([mask, seed], []) = content.as_chunks::<32>() else {
        return Err("it does not hold one share of each key");
    };
    let (Some(mask), Some(seed)) = (ScalarSecret::from_revealed(*mask), ScalarSecret::from_revealed(*seed))
    else {
        return Err("it holds a share that is no canonical scalar");
    };
    if keys.mask.fits(custodian, &mask) && keys.seed.fits(custodian, &seed) {
        Ok((mask, seed))
    } else {
        Err("its shares are not those that the announcement commits to")
    }
}

/// Checks a custodian's evidence that a letter is bad (`ROUND-24`): one valid proof takes the dealer out, and
/// a complaint without one has no effect. It needs the announcement and no plan. Returns what is wrong.
///
/// # Errors
/// Evidence that is not about this letter, or that shows a good letter.
pub fn check_letter_fault(
    threshold: usize,
    (dealer, announcement): (PartyId, &Announcement),
    (custodian, sealed): (PartyId, &[u8]),
    evidence: &LetterEvidence,
) -> Result<&'static str, Misbehaviour> {
    let unproven = Misbehaviour::LetterFault { dealer };
    let dealing = announced_letter(custodian, announcement, sealed).ok_or(unproven.clone())?;
    let receiving = Element::decode(dealing.recipient).map_err(|_| unproven.clone())?;
    let place = DealingContext { epoch: announcement.epoch, round: announcement.round, dealer };
    let context = place.letter_context(announcement.plan, custodian);
    // From the announcement's own fields, not from a plan: parties check this evidence in later rounds.
    let opened = letter::open_exposed(sealed, &receiving, &context, evidence);
    match opened.map_err(|_| unproven.clone())? {
        Err(_) => Ok(CLOSED),
        Ok(content) => {
            match right_shares(custodian, &DealtKeys::decode(threshold, announcement)?, &content) {
                Err(why) => Ok(why),
                // A proof that shows a good letter accuses an honest dealer.
                Ok(_) => Err(unproven),
            }
        }
    }
}

/// The shares that one custodian holds of one member's keys; erased when dropped.
pub struct HeldShares {
    dealer: PartyId,
    custodian: PartyId,
    mask: ScalarSecret,
    seed: ScalarSecret,
}

/// The shares erase themselves.
impl ZeroizeOnDrop for HeldShares {}

impl std::fmt::Debug for HeldShares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeldShares(of {})", self.dealer)
    }
}

impl HeldShares {
    /// Opens a letter and checks its shares against the announcement (`ROUND-11`).
    ///
    /// # Errors
    /// A letter that is not the announced one, cannot be opened, or holds shares that were not committed to.
    pub fn open(
        round: &RoundContext,
        custodian: PartyId,
        receiving: &ScalarSecret,
        (dealer, announcement): (PartyId, &Announcement),
        sealed: &[u8],
    ) -> Result<Self, Misbehaviour> {
        let wrong = |why| Misbehaviour::Letter { dealer, custodian, why };
        // First: a letter that was not announced says nothing of its dealer.
        announced_letter(custodian, announcement, sealed).ok_or(wrong(NOT_ANNOUNCED))?;
        let context = round.dealing(dealer).letter_context(round.plan_digest(), custodian);
        let content = letter::open(sealed, receiving, &context).map_err(|_| wrong(CLOSED))?;
        let keys = DealtKeys::decode(round.roster().floors().reveal_threshold, announcement)?;
        let (mask, seed) = right_shares(custodian, &keys, &content).map_err(wrong)?;
        Ok(Self { dealer, custodian, mask, seed })
    }

    /// Reveals the share of the mask key.
    pub fn reveal_mask_key(&self) -> [u8; 32] {
        *self.mask.reveal()
    }

    /// Reveals this custodian's parts of the seeds of some blocks, with their proof (`MASK-15`).
    pub fn reveal_seed_parts(&self, round: &RoundContext, blocks: &[BlockId]) -> RevealedSeeds {
        reveal(round, (self.dealer, self.custodian), &self.seed, blocks)
    }
}

/// Checks evidence that bars its dealer, with the roster alone (`ROUND-33`).
///
/// # Errors
/// An announcement that no member signed, or evidence that shows no bad letter.
pub fn check_bad_dealing(epoch: &Epoch, evidence: &BadDealing) -> Result<(PartyId, Round), Misbehaviour> {
    let announcement = check_partys(&evidence.announcement, epoch, Role::Member)?;
    let (dealer, body) = (announcement.signer(), announcement.body());
    expect(Announcement::TAG, "epoch", body.epoch, epoch.digest())?;
    let shown = LetterEvidence { agreed: evidence.agreed, proof: evidence.proof };
    let threshold = epoch.consortium().floors().reveal_threshold;
    check_letter_fault(threshold, (dealer, body), (evidence.custodian, &evidence.letter), &shown)?;
    Ok((dealer, body.round))
}
