//! What the coordinator holds of uploads, and what of it is erased once nobody may open it (`ROUND-29`).

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::merkle;
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_wire::frame::{Chunk, Frame};
use cloister_wire::message::Message;

use super::Input;
use crate::opening::{MaskedBlocks, append_chunk, masked_block_leaf};
use crate::sealed::SealedCohorts;

/// One member's upload while it arrives.
#[derive(Debug)]
pub(super) struct Arriving {
    packed: MaskedBlocks,
    /// Leaves of blocks that were erased before a restart.
    erased: BTreeMap<BlockId, Digest>,
}

impl Arriving {
    /// Nothing yet, of these blocks.
    pub(super) fn of(blocks: impl Iterator<Item = BlockId>) -> Self {
        Self { packed: blocks.map(|block| (block, Vec::new())).collect(), erased: BTreeMap::new() }
    }

    /// Appends the next chunk of one of the blocks, which has `whole` bytes.
    pub(super) fn append(&mut self, chunk: &Chunk, whole: usize) -> Option<()> {
        append_chunk(self.packed.get_mut(&chunk.block)?, chunk, whole)
    }

    /// Takes a leaf in a block's place.
    pub(super) fn erase(&mut self, block: BlockId, leaf: Digest) -> Option<()> {
        self.packed.remove(&block)?;
        self.erased.insert(block, leaf);
        Some(())
    }

    /// The blocks that are whole, given the length of each.
    pub(super) fn whole_blocks(
        &self,
        length_of: impl Fn(BlockId) -> Option<usize>,
    ) -> impl Iterator<Item = BlockId> {
        let whole =
            self.packed.iter().filter(move |(block, packed)| length_of(**block) == Some(packed.len()));
        whole.map(|(block, _)| *block)
    }

    /// Whether everything is here, and makes up a root.
    pub(super) fn makes_up(&self, root: Digest, length_of: impl Fn(BlockId) -> Option<usize>) -> bool {
        let leaves: Vec<Digest> = self.leaves().into_values().collect();
        self.whole_blocks(length_of).count() == self.packed.len() && merkle::root(&leaves) == root
    }

    fn has_begun(&self) -> bool {
        self.packed.values().any(|packed| !packed.is_empty())
    }

    fn leaves(&self) -> BTreeMap<BlockId, Digest> {
        let of_packed = |(block, packed): (&BlockId, &Vec<u8>)| (*block, masked_block_leaf(*block, packed));
        self.packed.iter().map(of_packed).chain(self.erased.clone()).collect()
    }
}

/// The uploads of a round whose second seal is certified: the masked blocks that are summed, and the leaves of all.
#[derive(Debug)]
pub(super) struct Uploads {
    /// The masked blocks of `S2[b]`, for every valid block.
    pub(super) summed: BTreeMap<PartyId, MaskedBlocks>,
    leaves: BTreeMap<PartyId, BTreeMap<BlockId, Digest>>,
}

impl Uploads {
    /// Keeps what is summed, and says what is to be erased from the disk, too.
    pub(super) fn sealed(cohorts: &SealedCohorts, arriving: BTreeMap<PartyId, Arriving>) -> (Self, Erasure) {
        let valid: BTreeSet<BlockId> = cohorts.valid().iter().map(|cohort| cohort.block()).collect();
        let mut uploads = Self { summed: BTreeMap::new(), leaves: BTreeMap::new() };
        let (whole, cut): (Vec<_>, Vec<_>) =
            arriving.into_iter().partition(|(member, _)| cohorts.has_uploaded(*member));
        let begun = cut.into_iter().filter(|(_, upload)| upload.has_begun());
        let mut erasure = Erasure::of_absent(begun.map(|(member, _)| member));
        for (member, mut upload) in whole {
            let leaves = upload.leaves();
            let void = upload.packed.extract_if(.., |block, _| !valid.contains(block));
            erasure.void.extend(void.map(|(block, _)| ((member, block), leaves[&block])));
            uploads.summed.insert(member, upload.packed);
            uploads.leaves.insert(member, leaves);
        }
        (uploads, erasure)
    }

    /// A masked block that is summed, with its path to the root that its member signed.
    pub(super) fn proven(&self, member: PartyId, block: BlockId) -> Option<(&[u8], Vec<Digest>)> {
        let packed = self.summed.get(&member)?.get(&block)?;
        let leaves = self.leaves.get(&member)?;
        let index = leaves.keys().position(|own| *own == block)?;
        let leaves: Vec<Digest> = leaves.values().copied().collect();
        Some((packed, merkle::path(&leaves, index)))
    }
}

/// Masked blocks that no sum needs: those of members that did not arrive, and those of void blocks, of which the leaf under
/// the signed root stays.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Erasure {
    absent: BTreeSet<PartyId>,
    void: BTreeMap<(PartyId, BlockId), Digest>,
}

impl Erasure {
    /// Everything that these members sent.
    pub fn of_absent(members: impl IntoIterator<Item = PartyId>) -> Self {
        Self { absent: members.into_iter().collect(), void: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.absent.is_empty() && self.void.is_empty()
    }

    /// What is to be kept of an input of the round: the same coordinator follows from all that is kept, and no erased
    /// byte is in it.
    pub fn keep(&self, input: Input) -> Vec<Input> {
        match &input {
            Input::Frame(from, Frame::Chunk(chunk)) if self.covers(*from, chunk.block) => Vec::new(),
            Input::Frame(from, Frame::Message(Message::Uploaded(_))) => {
                let own = self.void.iter().filter(|((member, _), _)| member == from);
                let erased = own.map(|((member, block), leaf)| Input::Erased(*member, *block, *leaf));
                erased.chain([input.clone()]).collect()
            }
            _ => vec![input],
        }
    }

    fn covers(&self, member: PartyId, block: BlockId) -> bool {
        self.absent.contains(&member) || self.void.contains_key(&(member, block))
    }
}
