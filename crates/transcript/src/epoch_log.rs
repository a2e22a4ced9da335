//! The log of an epoch: entries in their order, the RFC 6962 tree over them, and the contents of its files.

use cloister_crypto::merkle;
use cloister_params::id::Digest;

use crate::checkpoint::TreeHead;
use crate::proof::{consistency_proof, inclusion_proof};
use crate::tiles::{
    EntryTooLong, MAX_ENTRY_BYTES, TILE_WIDTH, TileKind, TilePath, added_paths, encode_bundle,
};

/// How many hashes a tile has, as an index.
const WIDTH: usize = TILE_WIDTH as usize;

/// A file of a log. Its bytes never change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TileFile {
    /// Where the file is.
    pub path: TilePath,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A log that only grows, in memory. A leaf is an entry's bytes, so the log does not give entries a meaning.
///
/// Everything about an earlier size remains available: its root, its proofs and its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochLog {
    entries: Vec<Vec<u8>>,
    /// The hashes that tiles hold: the leaf hashes, then on each level the roots of the full tiles below. There is
    /// always a level of leaf hashes.
    levels: Vec<Vec<Digest>>,
}

impl Default for EpochLog {
    fn default() -> Self {
        Self { entries: Vec::new(), levels: vec![Vec::new()] }
    }
}

impl EpochLog {
    /// Appends an entry and returns its index, from 0.
    ///
    /// # Errors
    /// [`EntryTooLong`], and the log stays as it was.
    pub fn append(&mut self, entry: Vec<u8>) -> Result<u64, EntryTooLong> {
        if entry.len() > MAX_ENTRY_BYTES {
            return Err(EntryTooLong { came: entry.len() });
        }
        let mut hash = merkle::leaf_hash(&entry);
        self.entries.push(entry);
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            if !hashes.len().is_multiple_of(WIDTH) {
                break;
            }
            hash = merkle::root(&hashes[hashes.len() - WIDTH..]);
        }
        Ok(self.size() - 1)
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    /// All entries, from the first.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// The leaf hashes of all entries.
    pub fn leaf_hashes(&self) -> &[Digest] {
        &self.levels[0]
    }

    /// The log's size and root.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size(), root: self.root_of_first(self.entries.len()) }
    }

    /// The size and root that the log had when it had `size` entries. `None` if it was never that large.
    pub fn head_at(&self, size: u64) -> Option<TreeHead> {
        let count = self.count(size)?;
        Some(TreeHead { size, root: self.root_of_first(count) })
    }

    /// The proof that the entry at `index` is in the log of size `size`. `None` unless `index < size`, and if the log
    /// was never that large.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        inclusion_proof(&self.leaf_hashes()[..self.count(size)?], index)
    }

    /// The proof that the log of size `new` begins with the log of size `old`. `None` if `old` is larger than `new`,
    /// and if the log was never that large.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Option<Vec<Digest>> {
        consistency_proof(&self.leaf_hashes()[..self.count(new)?], old)
    }

    /// The files to write when a log that had `old` entries has `new` ones: entries first, then hashes by level. From
    /// 0 it is all files. The checkpoint is not among them, and it is written after them. `None` if the log was never
    /// that large.
    pub fn added_files(&self, old: u64, new: u64) -> Option<Vec<TileFile>> {
        self.count(new)?;
        let files = added_paths(old, new).into_iter();
        files.map(|path| Some(TileFile { path, bytes: self.content(path)? })).collect()
    }

    /// The bytes of a file. `None` if the log does not have that many hashes or entries.
    pub fn content(&self, path: TilePath) -> Option<Vec<u8>> {
        let start = usize::try_from(path.index().checked_mul(TILE_WIDTH)?).ok()?;
        let end = start.checked_add(usize::from(path.width()))?;
        match path.kind() {
            TileKind::Entries => encode_bundle(self.entries.get(start..end)?).ok(),
            TileKind::Hashes(level) => {
                let hashes = self.levels.get(usize::from(level))?.get(start..end)?;
                Some(hashes.iter().flat_map(|hash| hash.0).collect())
            }
        }
    }

    /// An earlier size as a count of entries in memory.
    fn count(&self, size: u64) -> Option<usize> {
        usize::try_from(size).ok().filter(|count| *count <= self.entries.len())
    }

    /// The root over the first entries. It takes at most 256 hashes on each level, because full tiles have theirs.
    fn root_of_first(&self, count: usize) -> Digest {
        // The root over what the levels below have beyond their last full tile.
        let mut remainder: Option<Digest> = None;
        let mut count = count;
        for hashes in &self.levels {
            // A full subtree is a left sibling of everything smaller, so the rest takes the place of one more hash.
            let last_tile = &hashes[count - count % WIDTH..count];
            let nodes: Vec<Digest> = last_tile.iter().copied().chain(remainder).collect();
            remainder = (!nodes.is_empty()).then(|| merkle::root(&nodes));
            count /= WIDTH;
        }
        remainder.unwrap_or_else(|| merkle::root(&[]))
    }
}
