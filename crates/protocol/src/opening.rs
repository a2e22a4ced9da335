//! Opening: from masked blocks and revealed secrets to the sum over a cohort, and to nothing else.

use std::collections::BTreeMap;

use cloister_crypto::group::{Element, ScalarSecret};
use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::mask::Sign;
use cloister_crypto::merkle;
use cloister_crypto::seed::SeedSecret;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_wire::frame::{CHUNK_BYTES, Chunk};
use cloister_wire::statement;

use crate::fault::Misbehaviour;
use crate::manifest::Announcements;
use crate::round::RoundContext;
use crate::sealed::BlockPermit;

/// A member's masked blocks, packed.
pub type MaskedBlocks = BTreeMap<BlockId, Vec<u8>>;

/// Revealed seeds by member and block, each checked against its dealer's commitments.
pub type Seeds = BTreeMap<(PartyId, BlockId), SeedSecret>;

/// The leaf of a masked block under an upload's root.
pub(crate) fn masked_block_leaf(block: BlockId, packed: &[u8]) -> Digest {
    merkle::leaf_hash(&digest(Domain::MaskedBlock, &[&block.0.to_le_bytes(), packed]).0)
}

/// Whether a masked block is the one at `index` of the `size` blocks under its member's signed root.
pub fn is_under_root(
    root: Digest,
    (block, packed): (BlockId, &[u8]),
    (index, size): (usize, usize),
    path: &[Digest],
) -> bool {
    merkle::verify(root, masked_block_leaf(block, packed), index, size, path)
}

/// The root that a member signs over its masked blocks, ascending by block.
pub fn upload_root(blocks: &MaskedBlocks) -> Digest {
    let leaves: Vec<Digest> =
        blocks.iter().map(|(block, packed)| masked_block_leaf(*block, packed)).collect();
    merkle::root(&leaves)
}

/// Everything that opening needs. All of it was checked against its commitments before.
#[derive(Debug)]
pub struct OpeningInputs<'a> {
    /// The plan of the round, checked.
    pub round: &'a RoundContext,
    /// Digest of the sealed manifest.
    pub manifest: Digest,
    /// Announcements of `U1`, for the mask keys.
    pub announcements: &'a Announcements,
    /// The masked blocks of `U2`.
    pub uploads: &'a BTreeMap<PartyId, MaskedBlocks>,
    /// Revealed seeds.
    pub seeds: &'a Seeds,
    /// Revealed mask keys of members that did not arrive.
    pub mask_keys: &'a BTreeMap<PartyId, ScalarSecret>,
}

/// The sum of one block over its cohort, in words of the ring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedSum {
    block: BlockId,
    words: Vec<u32>,
    weight: u32,
}

/// Why a block cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotOpened {
    /// A secret or a masked block of this member is not here.
    Missing(PartyId),
}

impl OpenedSum {
    /// A sum as it was published, if it is the one that a closing lists.
    ///
    /// # Errors
    /// Words of another length or digest.
    pub fn published(
        round: &RoundContext,
        listed: &statement::ListedSum,
        packed: &[u8],
    ) -> Result<Self, Misbehaviour> {
        let planned = round.block(listed.block).ok_or_else(|| {
            let why = "the plan has no such block".into();
            Misbehaviour::Sum { block: listed.block, why }
        })?;
        let is_whole = packed.len() == round.plan().packed_bytes(planned);
        if !is_whole || Self::digest(listed.block, packed) != listed.sum {
            let why = "the words that came are not those that the closing lists".into();
            return Err(Misbehaviour::Sum { block: listed.block, why });
        }
        Ok(Self {
            block: listed.block,
            words: round.plan().settings.ring.unpack(packed),
            weight: listed.weight,
        })
    }

    /// The digest that a closing lists for packed words.
    pub fn digest(block: BlockId, packed: &[u8]) -> Digest {
        digest(Domain::Sum, &[&block.0.to_le_bytes(), packed])
    }

    /// The block.
    pub fn block(&self) -> BlockId {
        self.block
    }

    /// The sum, one word a coordinate.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The weights of the cohort, added up.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The packed words, as published.
    pub fn packed(&self, round: &RoundContext) -> Vec<u8> {
        round.plan().settings.ring.pack(&self.words)
    }

    /// The sum's entry in the closing, with what the late sketches say of it.
    pub fn listed(&self, round: &RoundContext, check: statement::SumCheck) -> statement::ListedSum {
        let sum = Self::digest(self.block, &self.packed(round));
        statement::ListedSum { block: self.block, sum, weight: self.weight, check }
    }
}

/// Opens one block (`MASK-10`): adds its cohort's uploads, takes off their self masks, and takes off the pair
/// masks that they share with members of the cohort that did not arrive.
///
/// # Errors
/// [`NotOpened`], with the member whose secret is missing.
pub fn open_block(permit: BlockPermit, openings: &OpeningInputs<'_>) -> Result<OpenedSum, NotOpened> {
    let cohort = permit.cohort();
    let block = *openings.round.block(cohort.block()).expect("sealed cohorts name blocks of the plan");
    let context = openings.round.masking(&block, openings.manifest);
    let ring = openings.round.plan().settings.ring;
    let mut words = vec![0u32; block.shape.length as usize];
    for member in cohort.members() {
        let packed = openings.uploads.get(&member).and_then(|blocks| blocks.get(&cohort.block()));
        ring.add_packed(&mut words, packed.ok_or(NotOpened::Missing(member))?);
        let seed = openings.seeds.get(&(member, cohort.block())).ok_or(NotOpened::Missing(member))?;
        // Pair masks within `S2[b]` cancel in the sum, so only self masks come off here.
        context.self_key(member, seed).apply(Sign::Minus, &mut words);
    }
    for absent in cohort.absent() {
        let key = openings.mask_keys.get(absent).ok_or(NotOpened::Missing(*absent))?;
        // Masks shared with absent members are left over, because the other half is not in the sum.
        for member in cohort.members() {
            let public = mask_key_of(openings.announcements, member).ok_or(NotOpened::Missing(member))?;
            let mask = context.pair_key(member, *absent, &key.agree(&public));
            mask.apply(Sign::for_pair(member, *absent).flipped(), &mut words);
        }
    }
    // Masks are taken off mod 2³²; packing reduces the words to the ring, which divides it.
    let words = ring.unpack(&ring.pack(&words));
    Ok(OpenedSum { block: cohort.block(), words, weight: cohort.weight() })
}

/// The announced mask key of a member.
pub(crate) fn mask_key_of(announcements: &Announcements, member: PartyId) -> Option<Element> {
    Element::decode(*announcements.get(&member)?.body().mask_key.commitments.first()?).ok()
}

/// Appends a chunk of a vector that the coordinator sends. Chunk 0 starts the vector again: what is here may be
/// wrong, and only the whole vector shows it. A chunk that does not fit changes nothing.
pub(crate) fn append_chunk_to(blocks: &mut MaskedBlocks, chunk: &Chunk, whole: usize) -> Option<()> {
    if chunk.index > 0 {
        return append_chunk(blocks.get_mut(&chunk.block)?, chunk, whole);
    }
    let mut vector = Vec::new();
    append_chunk(&mut vector, chunk, whole)?;
    blocks.insert(chunk.block, vector);
    Some(())
}

/// Appends a chunk if it is the next one of a vector of `whole` bytes, and skips one that is here. Other content
/// in a filled place is rejected.
pub(crate) fn append_chunk(vector: &mut Vec<u8>, chunk: &Chunk, whole: usize) -> Option<()> {
    let start = chunk.index as usize * CHUNK_BYTES;
    // Every chunk but the last is full, so a chunk's place follows from its number alone.
    let expected = whole.checked_sub(start)?.min(CHUNK_BYTES);
    if chunk.bytes.len() != expected {
        return None;
    }
    match vector.get(start..start + expected) {
        Some(here) => (here == chunk.bytes).then_some(()),
        None => (vector.len() == start).then(|| vector.extend_from_slice(&chunk.bytes)),
    }
}

#[cfg(test)]
mod tests {
    use cloister_params::id::Round;

    use super::*;

    const WHOLE: usize = CHUNK_BYTES + 3;

    fn chunk(index: u32, byte: u8) -> Chunk {
        let bytes = vec![byte; if index == 0 { CHUNK_BYTES } else { 3 }];
        Chunk { round: Round(1), owner: PartyId(2), block: BlockId(0), index, bytes }
    }

    /// ROUND-41
    #[test]
    fn a_chunk_that_is_here_is_passed_over_and_another_in_its_place_is_not() {
        let mut vector = Vec::new();
        assert_eq!(append_chunk(&mut vector, &chunk(1, 7), WHOLE), None, "control: it is not the next");
        for again in [chunk(0, 6), chunk(0, 6), chunk(1, 7), chunk(0, 6), chunk(1, 7)] {
            append_chunk(&mut vector, &again, WHOLE).expect("it is the next one, or here");
        }
        assert_eq!((vector.len(), vector.last()), (WHOLE, Some(&7)));
        assert_eq!(append_chunk(&mut vector, &chunk(1, 8), WHOLE), None, "control: it is another");
        assert_eq!(append_chunk(&mut vector, &chunk(0, 8), WHOLE), None, "control: it is another");
        assert_eq!(append_chunk(&mut vector, &chunk(2, 7), WHOLE), None, "control: it is beyond the end");
    }

    #[test]
    fn chunk_0_starts_a_vector_of_the_coordinator_again() {
        let mut blocks = MaskedBlocks::new();
        assert_eq!(append_chunk_to(&mut blocks, &chunk(1, 7), WHOLE), None, "control: it is not the next");
        for next in [chunk(0, 6), chunk(1, 8), chunk(0, 6), chunk(1, 7)] {
            append_chunk_to(&mut blocks, &next, WHOLE).expect("it is the next one");
        }
        assert_eq!(blocks[&BlockId(0)].last(), Some(&7));
        let short = Chunk { bytes: vec![6; 3], ..chunk(0, 6) };
        assert_eq!(append_chunk_to(&mut blocks, &short, WHOLE), None);
        assert_eq!(blocks[&BlockId(0)].len(), WHOLE, "what does not fit changes nothing");
    }
}
