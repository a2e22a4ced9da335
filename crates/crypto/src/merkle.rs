//! Merkle trees with the hashes of RFC 6962, section 2.1: a leaf is hashed after the byte 0x00, a node after
//! 0x01, so that no leaf can be taken for a node.
//!
//! Used for uploads, for the log of a round and for the log of an epoch.

use cloister_params::id::Digest;

use crate::hash::plain;

/// The hash of a leaf's bytes, of any length.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest(plain(&[&[0], leaf]))
}

/// The hash of a node over the hashes of its two children.
pub fn node_hash(left: Digest, right: Digest) -> Digest {
    Digest(plain(&[&[1], &left.0, &right.0]))
}

/// Where a tree of `size` leaves splits: the largest power of two below its size, which is at least 2.
pub fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}

/// The root over leaf hashes. Without leaves it is the SHA-256 of no bytes.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest(plain(&[])),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(root(left), root(right))
        }
    }
}

/// The node above one or two nodes of a level. The last node of a level with an odd number moves up as it is.
/// Built from below, this is the same tree that RFC 6962 defines by splitting from above.
fn parent(nodes: &[Digest]) -> Digest {
    match nodes {
        [left, right] => node_hash(*left, *right),
        _ => nodes[0],
    }
}

/// All nodes of a tree. With them, each audit path takes time proportional to its length, and not to the
/// tree's size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// The leaves, then the nodes above them, up to the root.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// The tree over leaf hashes, which [`leaf_hash`] makes.
    pub fn new(leaves: Vec<Digest>) -> Self {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let next = level.chunks(2).map(parent).collect();
            levels.push(next);
        }
        Self { levels }
    }

    /// The audit path of a leaf, from the leaf up; empty if there is no such leaf.
    pub fn path(&self, index: usize) -> Vec<Digest> {
        let mut path = Vec::new();
        if self.levels.first().is_none_or(|leaves| index >= leaves.len()) {
            return path;
        }
        for (height, level) in self.levels.iter().enumerate() {
            // A node that moved up without a sibling has none on this level.
            path.extend(level.get((index >> height) ^ 1));
        }
        path
    }
}

/// Whether a path leads from the leaf hash at `index` of `size` leaves to the root (RFC 9162, section
/// 2.1.3.2).
pub fn verify(root: Digest, leaf: Digest, index: usize, size: usize, path: &[Digest]) -> bool {
    if index >= size {
        return false;
    }
    let (mut position, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            // The root is reached, and the path is not at its end.
            return false;
        }
        if position & 1 == 1 || position == last {
            hash = node_hash(*sibling, hash);
            // The last node moves up through levels on which it has no sibling.
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(hash, *sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
    }

    #[test]
    fn every_leaf_of_every_size_has_its_path_and_no_other() {
        for size in 1..=33 {
            let leaves = leaves(size);
            let root = root(&leaves);
            for index in 0..size {
                let path = Tree::new(leaves.clone()).path(index);
                assert!(verify(root, leaves[index], index, size, &path), "{index} of {size}");
                assert!(!verify(root, leaf_hash(b"other"), index, size, &path));
                for wrong in (0..size).filter(|wrong| *wrong != index) {
                    assert!(!verify(root, leaves[index], wrong, size, &path), "{index} as {wrong} of {size}");
                }
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!verify(root, leaves[index], index, size, shorter));
                }
            }
        }
    }

    #[test]
    fn roots_agree_with_rfc_6962() {
        // The reference values of the Certificate Transparency test data: leaves "", 00, 10, 2021, …
        let data: [&[u8]; 4] = [b"", b"\x00", b"\x10", b"\x20\x21"];
        let hashes: Vec<Digest> = data.iter().map(|leaf| leaf_hash(leaf)).collect();
        let expected = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        for (size, root_hex) in expected.iter().enumerate() {
            assert_eq!(root(&hashes[..size]).to_string(), *root_hex, "{size} leaves");
        }
    }
}
