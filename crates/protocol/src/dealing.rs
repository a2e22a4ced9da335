//! A member's secrets of one round: made, committed to, dealt to custodians, and opened there.

use cloister_crypto::commitment::SharedSecret;
use cloister_crypto::group::{Element, ScalarSecret, prove_knowledge, verify_knowledge};
use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::letter::LetterEvidence;
use cloister_crypto::{letter, merkle, shamir};
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::plan::CheckedPlan;
use cloister_params::rule;
use cloister_wire::message::{RevealedSeed, RevealedShare};
use cloister_wire::statement::{AnnouncedSketch, Announcement, Body, Dealing};
use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::fault::{Misbehaviour, expect};
use crate::round::{Contribution, RoundContext};

/// A member's mask key and seeds for one round. They live in memory only and are erased when dropped.
pub struct RoundSecrets {
    dealer: PartyId,
    mask_key: ScalarSecret,
    seeds: Vec<ScalarSecret>,
    seed_commitments: Vec<Digest>,
}

/// Each secret in it erases itself.
impl ZeroizeOnDrop for RoundSecrets {}

impl std::fmt::Debug for RoundSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoundSecrets(of {}, {} blocks)", self.dealer, self.seeds.len())
    }
}

/// A sealed letter and whom it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedLetter {
    /// Who can open it.
    pub custodian: PartyId,
    /// The sealed shares.
    pub sealed: Vec<u8>,
}

impl RoundSecrets {
    /// Fresh secrets for one round: a mask key and an independent seed for each block (`MASK-01`).
    pub fn generate(round: &RoundContext, dealer: PartyId, random: &mut impl CryptoRng) -> Self {
        let mask_key = ScalarSecret::random(random);
        let seeds: Vec<ScalarSecret> =
            round.plan().settings.blocks.iter().map(|_| ScalarSecret::random(random)).collect();
        let context = round.dealing(dealer);
        let seed_commitments = (0u32..)
            .zip(&seeds)
            .map(|(block, seed)| context.seed_commitment(BlockId(block), &seed.reveal()))
            .collect();
        Self { dealer, mask_key, seeds, seed_commitments }
    }

    /// The mask key, for pair masks.
    pub fn mask_key(&self) -> &ScalarSecret {
        &self.mask_key
    }

    /// The seed of a block.
    pub fn seed(&self, block: BlockId) -> &ScalarSecret {
        &self.seeds[block.0 as usize]
    }

    /// Reveals the seed of a block.
    pub fn reveal_seed(&self, block: BlockId) -> RevealedSeed {
        RevealedSeed { block, seed: *self.seed(block).reveal() }
    }

    /// Deals all secrets to the plan's custodians and writes the announcement.
    pub fn announce(
        &self,
        round: &RoundContext,
        contribution: &Contribution,
        random: &mut impl CryptoRng,
    ) -> (Announcement, Vec<SealedLetter>) {
        let context = round.dealing(self.dealer);
        let (letters, dealings) = self.deal(round, random);
        let announcement = Announcement {
            epoch: round.epoch().digest(),
            round: round.round(),
            plan: round.plan_digest(),
            mask_key: self.mask_key.public().bytes(),
            mask_key_proof: prove_knowledge(&self.mask_key, &context.encode(), random),
            seeds: self.seed_commitments.clone(),
            dealings,
            sketches: announced_sketches(contribution),
        };
        (announcement, letters)
    }

    fn deal(&self, round: &RoundContext, random: &mut impl CryptoRng) -> (Vec<SealedLetter>, Vec<Dealing>) {
        let custodians: Vec<PartyId> = round.custodians().collect();
        let holders: Vec<u32> = custodians.iter().map(|custodian| custodian.0).collect();
        let threshold = round.roster().floors().reveal_threshold;
        let shared: Vec<Vec<ScalarSecret>> = std::iter::once(&self.mask_key)
            .chain(&self.seeds)
            .map(|secret| shamir::split(secret, threshold, &holders, random))
            .collect();
        let deal_one = |(at, custodian): (usize, &PartyId)| {
            let shares: Vec<&ScalarSecret> = shared.iter().map(|of_secret| &of_secret[at]).collect();
            self.seal_letter(round, *custodian, &shares, random)
        };
        custodians.iter().enumerate().map(deal_one).unzip()
    }

    fn seal_letter(
        &self,
        round: &RoundContext,
        custodian: PartyId,
        shares: &[&ScalarSecret],
        random: &mut impl CryptoRng,
    ) -> (SealedLetter, Dealing) {
        let context = round.dealing(self.dealer);
        let content: Zeroizing<Vec<u8>> =
            Zeroizing::new(shares.iter().flat_map(|share| *share.reveal()).collect());
        let leaves = share_leaves(round, self.dealer, custodian, &content);
        // Plans are checked to name canonical keys of custodians before secrets are made (`PLAN-09`).
        let recipient = recipient_key(round.plan(), custodian);
        let letter_context = context.letter_context(round.plan_digest(), custodian);
        let sealed = letter::seal(&content, &recipient, &letter_context, random);
        let dealing =
            Dealing { custodian, shares: merkle::root(&leaves), letter: digest(Domain::Letter, &[&sealed]) };
        (SealedLetter { custodian, sealed }, dealing)
    }
}

fn recipient_key(plan: &CheckedPlan, custodian: PartyId) -> Element {
    let bytes = plan.receiving_key(custodian).unwrap_or_default();
    Element::decode(bytes).expect("a member checks the plan's receiving keys before it deals")
}

fn announced_sketches(contribution: &Contribution) -> Vec<AnnouncedSketch> {
    let announced = |(block, sketch): (&BlockId, &cloister_alignment::score::ExpertSketch)| AnnouncedSketch {
        block: *block,
        region: sketch.region.clone(),
        update: sketch.update.clone(),
        tokens: sketch.tokens,
    };
    contribution.sketches.iter().map(announced).collect()
}

fn share_leaves(round: &RoundContext, dealer: PartyId, custodian: PartyId, shares: &[u8]) -> Vec<Digest> {
    let (shares, _) = shares.as_chunks::<32>();
    let context = round.dealing(dealer);
    SharedSecret::all(round.plan().settings.blocks.len())
        .zip(shares)
        .map(|(secret, share)| context.share_leaf(custodian, secret, share))
        .collect()
}

/// Checks that an announcement has the plan's shape: fields, proof of knowledge, one dealing for each custodian
/// of the plan, one sketch for each expert block (`ROUND-10`).
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
    let mask_key = Element::decode(body.mask_key).map_err(|_| Misbehaviour::Announcement("the mask key"))?;
    verify_knowledge(&mask_key, &round.dealing(dealer).encode(), &body.mask_key_proof)
        .map_err(|_| Misbehaviour::Announcement("the proof of knowledge of the mask key"))?;
    if body.seeds.len() != round.plan().settings.blocks.len() {
        return Err(Misbehaviour::Announcement("one committed seed for each block"));
    }
    if !body.dealings.iter().map(|dealing| dealing.custodian).eq(round.custodians()) {
        return Err(Misbehaviour::Announcement("one dealing for each custodian, ascending"));
    }
    let scored = round.plan().settings.blocks.iter().filter(|block| block.shape.kind.is_scored());
    if !body.sketches.iter().map(|sketch| sketch.block).eq(scored.map(|block| block.shape.id)) {
        return Err(Misbehaviour::Announcement("one sketch for each expert block, ascending"));
    }
    let coordinates = usize::from(round.plan().settings.sketch.coordinates);
    let sized =
        |sketch: &AnnouncedSketch| sketch.region.len() == coordinates && sketch.update.len() == coordinates;
    if !body.sketches.iter().all(sized) {
        return Err(Misbehaviour::Announcement("sketches of the plan's size"));
    }
    Ok(())
}

fn check_names(round: &RoundContext, body: &Announcement) -> Result<(), Misbehaviour> {
    expect(Announcement::TAG, "epoch", body.epoch, round.epoch().digest())?;
    expect(Announcement::TAG, "round", body.round, round.round())?;
    expect(Announcement::TAG, "plan", body.plan, round.plan_digest())
}

const NOT_ANNOUNCED: &str = "it is not the announced letter";
const CLOSED: &str = "it cannot be opened";

/// Whether a letter is the one that its dealer announced: of no other does a custodian show anything.
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

/// The leaves of a letter's shares, if they are the committed ones.
fn committed(
    round: &RoundContext,
    (dealer, custodian): (PartyId, PartyId),
    dealing: &Dealing,
    content: &[u8],
) -> Result<Vec<Digest>, &'static str> {
    if content.len() != 32 * (1 + round.plan().settings.blocks.len()) {
        return Err("it does not hold one share for each secret");
    }
    let leaves = share_leaves(round, dealer, custodian, content);
    if rule::in_force("ROUND-11") && merkle::root(&leaves) != dealing.shares {
        return Err("its shares are not the committed ones");
    }
    Ok(leaves)
}

/// Checks a custodian's evidence that a letter is bad (`ROUND-24`): one valid proof removes its dealing, and a
/// complaint without one counts nothing.
///
/// # Errors
/// Evidence that is not about this letter, or that shows a good letter.
pub fn check_letter_fault(
    round: &RoundContext,
    custodian: PartyId,
    announced: (PartyId, &Announcement),
    sealed: &[u8],
    evidence: &LetterEvidence,
) -> Result<&'static str, Misbehaviour> {
    let (dealer, announcement) = announced;
    let unproven = Misbehaviour::LetterFault { dealer };
    let dealing = announced_letter(custodian, announcement, sealed).ok_or(unproven.clone())?;
    let receiving = round.plan().receiving_key(custodian).and_then(|key| Element::decode(key).ok());
    let context = round.dealing(dealer).letter_context(round.plan_digest(), custodian);
    let opened = letter::open_exposed(sealed, &receiving.ok_or(unproven.clone())?, &context, evidence);
    match opened.map_err(|_| unproven.clone())? {
        Err(_) => Ok(CLOSED),
        Ok(content) => match committed(round, (dealer, custodian), dealing, &content) {
            Err(why) => Ok(why),
            Ok(_) => Err(unproven),
        },
    }
}

/// The shares that one custodian holds of one member's secrets; erased when dropped.
pub struct HeldShares {
    dealer: PartyId,
    content: Zeroizing<Vec<u8>>,
    leaves: Vec<Digest>,
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
    /// A letter that is not the announced one, cannot be opened, or holds other shares than committed to.
    pub fn open(
        round: &RoundContext,
        custodian: PartyId,
        receiving: &ScalarSecret,
        announced: (PartyId, &Announcement),
        sealed: &[u8],
    ) -> Result<Self, Misbehaviour> {
        let (dealer, announcement) = announced;
        let wrong = |why| Misbehaviour::Letter { dealer, custodian, why };
        let dealing = announced_letter(custodian, announcement, sealed).ok_or(wrong(NOT_ANNOUNCED))?;
        let context = round.dealing(dealer).letter_context(round.plan_digest(), custodian);
        let content = letter::open(sealed, receiving, &context).map_err(|_| wrong(CLOSED))?;
        let leaves = committed(round, (dealer, custodian), dealing, &content).map_err(wrong)?;
        Ok(Self { dealer, content, leaves })
    }

    /// Reveals one share with its path to the announced root.
    pub fn reveal(&self, secret: SharedSecret) -> RevealedShare {
        let index = secret.index();
        let (shares, _) = self.content.as_chunks::<32>();
        RevealedShare { index: index as u32, share: shares[index], path: merkle::path(&self.leaves, index) }
    }
}

/// Checks a revealed or recovered seed against its commitment (`ROUND-15`).
pub fn seed_fits(round: &RoundContext, announced: (PartyId, &Announcement), seed: &RevealedSeed) -> bool {
    let (dealer, announcement) = announced;
    let commitment = round.dealing(dealer).seed_commitment(seed.block, &seed.seed);
    let fits = announcement.seeds.get(seed.block.0 as usize) == Some(&commitment);
    fits || !rule::in_force("ROUND-15")
}

/// Checks any revealed or recovered secret against what its dealer committed to (`ROUND-15`).
pub fn secret_fits(
    round: &RoundContext,
    announced: (PartyId, &Announcement),
    secret: SharedSecret,
    value: &ScalarSecret,
) -> bool {
    match secret {
        SharedSecret::MaskKey => value.public().bytes() == announced.1.mask_key,
        SharedSecret::Seed(block) => {
            seed_fits(round, announced, &RevealedSeed { block, seed: *value.reveal() })
        }
    }
}

/// Checks a revealed share against the root announced for its custodian (`ROUND-15`).
pub fn share_fits(
    round: &RoundContext,
    announced: (PartyId, &Announcement),
    custodian: PartyId,
    secret: SharedSecret,
    share: &RevealedShare,
) -> bool {
    let (dealer, announcement) = announced;
    let Some(dealing) = announcement.dealings.iter().find(|dealing| dealing.custodian == custodian) else {
        return false;
    };
    let leaf = round.dealing(dealer).share_leaf(custodian, secret, &share.share);
    let size = 1 + round.plan().settings.blocks.len();
    share.index as usize == secret.index()
        && (merkle::verify(dealing.shares, leaf, secret.index(), size, &share.path)
            || !rule::in_force("ROUND-15"))
}
