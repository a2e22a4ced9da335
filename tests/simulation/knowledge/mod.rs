//! The knowledge invariant: what the coordinator and the corrupt parties hold never makes up the integers of one or two
//! honest members.
//!
//! # What is checked
//!
//! The adversary is the coordinator with at most `T` corrupt parties, each of them member and custodian. What it holds
//! are linear equations, the same for every coordinate of a block. Their unknowns are
//! - the integers of each honest member, one unknown for each distinct vector that it uploaded for the block: a
//!   contribution that is sent again is the same unknown;
//! - each self mask, and each pair mask between honest members, one for each manifest.
//!
//! The equations do not come from published sums, so that a sum that somebody hides counts as well. They are
//! - the upload of each honest member: its weight times its integers, with its self mask and its pair masks;
//! - each mask whose secret is open, which is then known: a seed that its member revealed, or a mask key or seed of which
//!   the adversary has `h_r` shares. It has those that honest custodians revealed, and those in the letters to corrupt
//!   custodians. Two members may open their pair's masks (`LATE-08`).
//!
//! Everything of a corrupt member is known, its part of the pair masks too, so that nothing of it is an unknown. It is
//! the same whether its letters share the key that it announced or another. A custodian's part of a seed counts as a share of
//! that seed alone: parts tell nothing of the seed key.
//!
//! After each new equation this must hold: no combination of equations has integers of one or two honest members alone
//! and no mask. The difference of two contributions of one member is such a combination.
//!
//! # Why this can be decided
//!
//! The equations are rows over a field. A mask that the adversary does not know is uniform to it, so a combination with
//! such a mask tells nothing, and combinations without masks are all that it knows. They are a subspace, which elimination
//! of the masks gives: masks come first in the order of unknowns, so that the rows of the reduced echelon form that lead
//! with integers span exactly the combinations without masks (see [`span`]). For each set of members, leaving out their
//! unknowns lowers the rank of this subspace if and only if some combination has these unknowns alone. With at most 8
//! members that is at most 36 ranks of small matrices, and only when the subspace has grown.
//!
//! # What is not checked
//!
//! - Masks and sums are words of `2^w`, and the field is that of a large prime. An upload has each of its masks with the
//!   factor 1 or -1 and shares a pair mask with one other upload, with the opposite sign, so elimination in the ring removes
//!   masks no better than in the field. But a weight is not invertible in the ring if it is even: the lowest bits of a sum may
//!   tell more of one member than this counts. That is what noise is for (`PLAN-08`).
//! - Late sketches and answers about them are what a plan shows of one member. They are other linear functions of the
//!   integers than a coordinate, so they would be other unknowns, and no equation here has them.

mod field;
mod span;

use std::collections::{BTreeMap, BTreeSet};

use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_protocol::statement::body_digest;
use cloister_testkit::world::{Observation, World};
use cloister_wire::frame::Frame;
use cloister_wire::message::Message;
use cloister_wire::statement::{Manifest, Upload};

use crate::invariants::{Violation, hold, sealed_manifest};
use field::{LARGE_PRIME, Residue};
use span::{Row, Span};

/// Honest members that every honest member of a sum is promised beside it (`FLOOR-03`).
const HONEST_COMPANIONS: usize = 2;

/// The largest roster that is followed.
const MOST_MEMBERS: usize = 8;

type Factor = Residue<LARGE_PRIME>;
type Equation = Row<Unknown, LARGE_PRIME>;

/// What the adversary does not know at first, in one block. Masks come first: they are eliminated first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Unknown {
    /// A member's self mask under a manifest, named by its first seal.
    SelfMask(Digest, PartyId),
    /// The mask that two members share under a manifest, the lower number first.
    PairMask(Digest, PartyId, PartyId),
    /// The integers with this digest that a member uploaded.
    Integers(PartyId, Digest),
}

/// Comes before the integers of every member.
const FIRST_INTEGERS: Unknown = Unknown::Integers(PartyId(0), Digest([0; 32]));

/// A secret that is dealt to custodians.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Secret {
    MaskKey,
    Seed(BlockId),
}

/// A member's secrets of one round.
type Dealing = (PartyId, Round);

/// The equations, and the secrets that are open.
pub(crate) struct Knowledge {
    corrupt: BTreeSet<PartyId>,
    honest: Vec<PartyId>,
    /// Shares that recover a secret, `h_r`.
    threshold: usize,
    blocks: BTreeMap<BlockId, Span<Unknown, LARGE_PRIME>>,
    /// By the digest of the first seal.
    manifests: BTreeMap<Digest, Manifest>,
    /// Secrets that their members revealed.
    revealed: BTreeSet<(Dealing, Secret)>,
    /// Custodians of whose share the adversary knows.
    shares: BTreeMap<(Dealing, Secret), BTreeSet<PartyId>>,
    /// Custodians of whose shares of all secrets the adversary knows.
    letters: BTreeMap<Dealing, BTreeSet<PartyId>>,
    /// Pairs of which one member showed what they agree on, the lower number first.
    pairs: BTreeSet<(PartyId, PartyId, Round)>,
}

impl Knowledge {
    /// Nothing is known yet. `None` for a roster that is too large to follow, and for more corrupt parties than the
    /// floors promise anything against.
    pub(crate) fn new(world: &World, corrupt: BTreeSet<PartyId>) -> Option<Self> {
        let roster = world.consortium.epoch.consortium();
        let (floors, members) = (roster.floors(), roster.members());
        let is_followed = floors.members <= MOST_MEMBERS && corrupt.len() <= floors.corrupt_organisations;
        is_followed.then(|| Self {
            honest: members.filter(|member| !corrupt.contains(member)).collect(),
            corrupt,
            threshold: floors.reveal_threshold,
            blocks: BTreeMap::new(),
            manifests: BTreeMap::new(),
            revealed: BTreeSet::new(),
            shares: BTreeMap::new(),
            letters: BTreeMap::new(),
            pairs: BTreeSet::new(),
        })
    }

    /// Takes in what was observed, and checks the invariant if it tells something.
    pub(crate) fn observe(&mut self, world: &World, observation: &Observation) -> Result<(), Violation> {
        match observation {
            Observation::FromCoordinator(_, Frame::Message(message)) => {
                self.learn_manifest(message);
                Ok(())
            }
            Observation::FromMember(member, Frame::Message(message)) if !self.corrupt.contains(member) => {
                self.hear_member(world, *member, message)
            }
            Observation::FromCustodian(custodian, Frame::Message(message))
                if !self.corrupt.contains(custodian) =>
            {
                self.hear_custodian(*custodian, message)
            }
            _ => Ok(()),
        }
    }

    fn learn_manifest(&mut self, message: &Message) {
        let (manifest, seal) = match message {
            Message::ProposeSeal1 { manifest, seal } => (manifest, seal),
            Message::Sealed1 { manifest, certificate, .. } => (manifest, &certificate.body),
            _ => return,
        };
        if let Some(body) = sealed_manifest(manifest, seal) {
            self.manifests.insert(body_digest(seal), body);
        }
    }

    fn hear_member(&mut self, world: &World, member: PartyId, message: &Message) -> Result<(), Violation> {
        match message {
            Message::Uploaded(signed) => {
                self.take_upload(world, member, &signed.parse().expect("members encode what they sign"))
            }
            Message::Letter { round, custodian, .. } if self.corrupt.contains(custodian) => {
                self.letters.entry((member, *round)).or_default().insert(*custodian);
                self.open_masks((member, *round))
            }
            Message::Seeds { round, seeds } => {
                let dealing = (member, *round);
                self.revealed.extend(seeds.seeds.iter().map(|seed| (dealing, Secret::Seed(seed.block))));
                self.open_masks(dealing)
            }
            Message::PairOpened { round, opening } => {
                let (low, high) = (member.min(opening.other), member.max(opening.other));
                self.pairs.insert((low, high, *round));
                self.open_masks((member, *round))
            }
            _ => Ok(()),
        }
    }

    /// Takes what an honest custodian reveals of a dealer's secrets.
    fn hear_custodian(&mut self, custodian: PartyId, message: &Message) -> Result<(), Violation> {
        match message {
            Message::MaskKeyShare { round, dealer, .. } => {
                self.take_share(custodian, (*dealer, *round), Secret::MaskKey);
                self.open_masks((*dealer, *round))
            }
            Message::SeedParts { round, dealer, parts } => {
                for part in &parts.seeds {
                    self.take_share(custodian, (*dealer, *round), Secret::Seed(part.block));
                }
                self.open_masks((*dealer, *round))
            }
            // Everybody can open the letter then.
            Message::LetterFault { round, dealer, .. } => {
                let dealing = (*dealer, *round);
                self.letters.entry(dealing).or_default().insert(custodian);
                self.open_masks(dealing)
            }
            _ => Ok(()),
        }
    }

    fn take_share(&mut self, custodian: PartyId, dealing: Dealing, secret: Secret) {
        self.shares.entry((dealing, secret)).or_default().insert(custodian);
    }

    /// Adds the equation of each block of an upload.
    fn take_upload(&mut self, world: &World, member: PartyId, upload: &Upload) -> Result<(), Violation> {
        let manifest =
            self.manifests.get(&upload.seal1).expect("members upload for a seal that they were sent");
        let contribution = world.uploaded(member, upload.round).expect("the world keeps what it uploads");
        let mut equations = Vec::new();
        for cohort in &manifest.cohorts {
            let Some(listed) = cohort.members.iter().find(|listed| listed.member == member) else { continue };
            let integers = digest_of(&contribution.integers[cohort.block]);
            let companions = cohort.members.iter().map(|listed| listed.member);
            let honest = companions.filter(|other| *other != member && !self.corrupt.contains(other));
            let pairs = honest.map(|other| {
                let sign = if member < other { Factor::ONE } else { Factor::ONE.negated() };
                (pair_mask(upload.seal1, member, other), sign)
            });
            let weighted = (Unknown::Integers(member, integers), Factor::new(listed.weight.into()));
            // Zeros are no secret: everybody knows them of a rehearsal.
            let is_secret = contribution.integers[cohort.block].iter().any(|integer| *integer != 0);
            let self_mask = (Unknown::SelfMask(upload.seal1, member), Factor::ONE);
            let unshared = is_secret.then_some(weighted).into_iter().chain([self_mask]);
            equations.push((cohort.block, pairs.chain(unshared).collect::<Equation>()));
        }
        equations.into_iter().try_for_each(|(block, equation)| self.learn(block, equation))?;
        self.open_masks((member, upload.round))
    }

    fn has(&self, dealing: Dealing, secret: Secret) -> bool {
        let whole = self.letters.get(&dealing).into_iter().flatten();
        let single = self.shares.get(&(dealing, secret)).into_iter().flatten();
        let holders: BTreeSet<&PartyId> = whole.chain(single).collect();
        self.revealed.contains(&(dealing, secret)) || holders.len() >= self.threshold
    }

    fn has_pair(&self, one: PartyId, other: PartyId, round: Round) -> bool {
        self.has((one, round), Secret::MaskKey)
            || self.has((other, round), Secret::MaskKey)
            || self.pairs.contains(&(one.min(other), one.max(other), round))
    }

    /// Adds an equation for each mask of a member that is known.
    fn open_masks(&mut self, (member, round): Dealing) -> Result<(), Violation> {
        let mut known = Vec::new();
        for (seal, manifest) in self.manifests.iter().filter(|(_, manifest)| manifest.round == round) {
            for cohort in &manifest.cohorts {
                let companions = cohort.members.iter().map(|listed| listed.member);
                let others =
                    companions.filter(|other| *other != member && self.has_pair(member, *other, round));
                known.extend(others.map(|other| (cohort.block, pair_mask(*seal, member, other))));
                if self.has((member, round), Secret::Seed(cohort.block)) {
                    known.push((cohort.block, Unknown::SelfMask(*seal, member)));
                }
            }
        }
        known
            .into_iter()
            .try_for_each(|(block, mask)| self.learn(block, Equation::from([(mask, Factor::ONE)])))
    }

    /// Adds an equation. If it gives a combination without masks that was not known before, the invariant is checked.
    fn learn(&mut self, block: BlockId, equation: Equation) -> Result<(), Violation> {
        let span = self.blocks.entry(block).or_insert_with(Span::new);
        match span.insert(equation) {
            Some(Unknown::Integers(..)) => self.check(block),
            _ => Ok(()),
        }
    }

    fn check(&self, block: BlockId) -> Result<(), Violation> {
        let known = self.blocks[&block].without_unknowns_before(FIRST_INTEGERS);
        for members in few(&self.honest) {
            let is_known = known.reaches(
                |unknown| matches!(unknown, Unknown::Integers(member, _) if members.contains(member)),
            );
            hold(!is_known, "knowledge", || {
                let named: Vec<String> = members.iter().map(PartyId::to_string).collect();
                format!(
                    "a combination of what is known has integers of {} alone in {block}",
                    named.join(" and ")
                )
            })?;
        }
        Ok(())
    }
}

/// The sets of members that must not be told from all others, small ones first.
fn few(members: &[PartyId]) -> Vec<Vec<PartyId>> {
    let mut sets = vec![Vec::new()];
    for size in 0..HONEST_COMPANIONS {
        let smaller: Vec<Vec<PartyId>> = sets.iter().filter(|set| set.len() == size).cloned().collect();
        for set in smaller {
            let later = members.iter().filter(|member| set.last().is_none_or(|last| last < *member));
            sets.extend(later.map(|member| [&set[..], &[*member]].concat()));
        }
    }
    sets.retain(|set| !set.is_empty());
    sets
}

fn pair_mask(seal: Digest, one: PartyId, other: PartyId) -> Unknown {
    Unknown::PairMask(seal, one.min(other), one.max(other))
}

fn digest_of(integers: &[i32]) -> Digest {
    let bytes: Vec<u8> = integers.iter().flat_map(|integer| integer.to_le_bytes()).collect();
    body_digest(&bytes)
}

#[test]
fn sets_of_one_and_two_members() {
    let members = [1, 2, 4].map(PartyId);
    let sets: Vec<Vec<u32>> = few(&members).iter().map(|set| set.iter().map(|id| id.0).collect()).collect();
    assert_eq!(sets, [vec![1], vec![2], vec![4], vec![1, 2], vec![1, 4], vec![2, 4]]);
}
