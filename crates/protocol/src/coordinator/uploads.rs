//! What the coordinator holds of uploads, and what of it is erased once nobody may open it (`ROUND-29`).

use std::collections::{BTreeMap, BTreeSet};

use cloister_crypto::merkle::{self, Tree};
use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_params::rule;
use cloister_wire::frame::{Chunk, Frame, chunk_count};
use cloister_wire::message::{Message, ReceivedChunks};

use super::Input;
use crate::opening::{MaskedBlocks, append_chunk, masked_block_leaf};
use crate::sealed::SealedCohorts;

/// One member's upload while it arrives. Each block is hashed when its last chunk comes, and the root when
/// the last block is complete; from then on the upload does not change. So a claim that it is complete costs
/// one comparison, however often it is made (`ROUND-32`), and rejected claims, which are not stored, make no
/// difference after a restart.
#[derive(Debug)]
pub(super) struct Arriving {
    packed: MaskedBlocks,
    /// How many blocks the upload has.
    blocks: usize,
    /// Leaves of the blocks that are whole, those that were erased before a restart among them.
    leaves: BTreeMap<BlockId, Digest>,
    /// The root over them, once all are here.
    root: Option<Digest>,
    /// Bytes that were hashed.
    hashed: u64,
}

impl Arriving {
    /// An upload of these blocks, of which nothing has come.
    pub(super) fn new(blocks: impl Iterator<Item = BlockId>) -> Self {
        let packed: MaskedBlocks = blocks.map(|block| (block, Vec::new())).collect();
        let mut arriving =
            Self { blocks: packed.len(), packed, leaves: BTreeMap::new(), root: None, hashed: 0 };
        // A member in no cohort uploads no block, and signs the root over no leaves.
        arriving.settle();
        arriving
    }

    /// Appends the next chunk of one of the blocks, which has `whole` bytes.
    pub(super) fn append(&mut self, chunk: &Chunk, whole: usize) -> Option<()> {
        let packed = self.packed.get_mut(&chunk.block)?;
        append_chunk(packed, chunk, whole)?;
        // A chunk that was here already must not have its block hashed again.
        if packed.len() == whole && !self.leaves.contains_key(&chunk.block) {
            self.hash(chunk.block);
            self.settle();
        }
        Some(())
    }

    /// Takes a leaf in a block's place.
    pub(super) fn erase(&mut self, block: BlockId, leaf: Digest) -> Option<()> {
        self.packed.remove(&block)?;
        self.leaves.insert(block, leaf);
        self.settle();
        Some(())
    }

    /// How many chunks of each block are here, ascending by block; blocks of which nothing came are left out.
    pub(super) fn received(&self) -> Vec<ReceivedChunks> {
        let begun = self.packed.iter().filter(|(_, packed)| !packed.is_empty());
        begun
            .map(|(block, packed)| ReceivedChunks { block: *block, chunks: chunk_count(packed.len()) })
            .collect()
    }

    /// Whether every block is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.root.is_some()
    }

    /// Whether every block is here, and the root over them is this one.
    pub(super) fn makes_up(&mut self, root: Digest) -> bool {
        if !rule::in_force("ROUND-32") {
            let blocks: Vec<BlockId> = self.leaves.keys().copied().collect();
            blocks.into_iter().for_each(|block| self.hash(block));
        }
        self.root == Some(root)
    }

    /// How many bytes of it were hashed.
    pub(super) fn hashed(&self) -> u64 {
        self.hashed
    }

    fn has_begun(&self) -> bool {
        self.packed.values().any(|packed| !packed.is_empty())
    }

    fn hash(&mut self, block: BlockId) {
        let Some(packed) = self.packed.get(&block) else { return };
        self.hashed += packed.len() as u64;
        self.leaves.insert(block, masked_block_leaf(block, packed));
    }

    fn settle(&mut self) {
        if self.leaves.len() == self.blocks {
            self.root = Some(merkle::root(&self.leaves.values().copied().collect::<Vec<_>>()));
        }
    }
}

/// The uploads of a round whose second seal is certified: the masked blocks that are summed, and the leaves
/// of all.
#[derive(Debug)]
pub(super) struct Uploads {
    /// The masked blocks of `S2[b]`, for every valid block.
    pub(super) summed: BTreeMap<PartyId, MaskedBlocks>,
    /// The blocks of each upload, ascending, and the tree over their leaves.
    trees: BTreeMap<PartyId, (Vec<BlockId>, Tree)>,
}

impl Uploads {
    /// Keeps what is summed, and says what is to be erased from the disk, too.
    pub(super) fn sealed(cohorts: &SealedCohorts, arriving: BTreeMap<PartyId, Arriving>) -> (Self, Erasure) {
        let valid: BTreeSet<BlockId> = cohorts.valid().iter().map(|cohort| cohort.block()).collect();
        let mut uploads = Self { summed: BTreeMap::new(), trees: BTreeMap::new() };
        let (whole, cut): (Vec<_>, Vec<_>) =
            arriving.into_iter().partition(|(member, _)| cohorts.has_uploaded(*member));
        let begun = cut.into_iter().filter(|(_, upload)| upload.has_begun());
        let mut erasure = Erasure::for_absent(begun.map(|(member, _)| member));
        for (member, mut upload) in whole {
            let leaves = upload.leaves;
            // The leaves stay, because the paths of the summed blocks run through them.
            let void = upload.packed.extract_if(.., |block, _| !valid.contains(block));
            erasure.void.extend(void.map(|(block, _)| ((member, block), leaves[&block])));
            uploads.summed.insert(member, upload.packed);
            let (blocks, leaves) = leaves.into_iter().unzip();
            uploads.trees.insert(member, (blocks, Tree::new(leaves)));
        }
        (uploads, erasure)
    }

    /// A masked block that is summed, with its path to the root that its member signed.
    pub(super) fn proven(&self, member: PartyId, block: BlockId) -> Option<(&[u8], Vec<Digest>)> {
        let packed = self.summed.get(&member)?.get(&block)?;
        let (blocks, tree) = self.trees.get(&member)?;
        let index = blocks.binary_search(&block).ok()?;
        Some((packed, tree.path(index)))
    }
}

/// Masked blocks that no sum needs: those of members that did not arrive, and those of void blocks, of which
/// the leaf under the signed root stays.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Erasure {
    absent: BTreeSet<PartyId>,
    void: BTreeMap<(PartyId, BlockId), Digest>,
}

impl Erasure {
    /// Everything that these members sent.
    pub fn for_absent(members: impl IntoIterator<Item = PartyId>) -> Self {
        Self { absent: members.into_iter().collect(), void: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.absent.is_empty() && self.void.is_empty()
    }

    /// What stays stored of an input of the round. The same coordinator is restored from all that stays, and
    /// no erased byte is in it.
    pub fn keep(&self, input: Input) -> Vec<Input> {
        match &input {
            Input::Frame(from, Frame::Chunk(chunk)) if self.covers(*from, chunk.block) => Vec::new(),
            Input::Frame(from, Frame::Message(Message::Uploaded(_))) => {
                let void = self.void.iter().filter(|((member, _), _)| member == from);
                let erased = void.map(|((member, block), leaf)| Input::Erased(*member, *block, *leaf));
                // Before the claim that the upload is whole: for it, the root is compared.
                erased.chain([input.clone()]).collect()
            }
            _ => vec![input],
        }
    }

    fn covers(&self, member: PartyId, block: BlockId) -> bool {
        self.absent.contains(&member) || self.void.contains_key(&(member, block))
    }
}
