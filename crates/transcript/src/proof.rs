//! Proofs about RFC 6962 trees: that a leaf is in a tree, and that a tree begins with an earlier one. Making follows
//! RFC 6962, section 2.1, and checking follows RFC 9162, sections 2.1.3.2 and 2.1.4.2.

use cloister_crypto::merkle::{self, Tree, node_hash, split};
use cloister_params::id::Digest;
use thiserror::Error;

use crate::checkpoint::TreeHead;

/// A proof that does not prove its statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TreeProofError {
    /// The tree has no such leaf.
    #[error("expected an index below the size {size}, got {index}")]
    Index {
        /// The leaf's index, from 0.
        index: u64,
        /// How many leaves the tree has.
        size: u64,
    },
    /// The later tree is smaller.
    #[error("expected a size of at least {old}, which an earlier tree had, got {new}")]
    Shrunk {
        /// The earlier tree's size.
        old: u64,
        /// The later tree's size.
        new: u64,
    },
    /// The path does not lead to the root.
    #[error(
        "expected a path from leaf {index} of {size} to the root {root}, and the {hashes} hashes lead elsewhere"
    )]
    Inclusion {
        /// The leaf's index, from 0.
        index: u64,
        /// How many leaves the tree has.
        size: u64,
        /// The tree's root.
        root: Digest,
        /// How many hashes the path has.
        hashes: usize,
    },
    /// The hashes do not connect the two roots.
    #[error(
        "expected a proof that the tree of size {new} begins with the one of size {old}, and the {hashes} hashes do not prove it"
    )]
    Consistency {
        /// The earlier tree's size.
        old: u64,
        /// The later tree's size.
        new: u64,
        /// How many hashes the proof has.
        hashes: usize,
    },
}

/// The inclusion proof of the leaf at `index`, from its sibling to the child of the root. `None` if there is no such
/// leaf.
pub fn inclusion_proof(leaves: &[Digest], index: u64) -> Option<Vec<Digest>> {
    let index = usize::try_from(index).ok().filter(|index| *index < leaves.len())?;
    Some(Tree::new(leaves.to_vec()).path(index))
}

/// Checks that a leaf hash is at `index` of a tree. The size must be one that the log signed, together with the root:
/// a path can fit several sizes.
///
/// # Errors
/// [`TreeProofError::Index`] and [`TreeProofError::Inclusion`].
pub fn verify_inclusion(
    head: TreeHead,
    index: u64,
    leaf: Digest,
    proof: &[Digest],
) -> Result<(), TreeProofError> {
    let TreeHead { size, root } = head;
    if index >= size {
        return Err(TreeProofError::Index { index, size });
    }
    let fits = match (usize::try_from(index), usize::try_from(size)) {
        (Ok(index), Ok(size)) => merkle::verify(root, leaf, index, size, proof),
        // On a machine with 32 bits no larger tree can be checked.
        _ => false,
    };
    if fits { Ok(()) } else { Err(TreeProofError::Inclusion { index, size, root, hashes: proof.len() }) }
}

/// The proof that the tree over `leaves` begins with the one over the first `old` of them. It has no hashes if `old` is
/// 0 or all leaves. `None` if there are fewer leaves.
pub fn consistency_proof(leaves: &[Digest], old: u64) -> Option<Vec<Digest>> {
    let old = usize::try_from(old).ok().filter(|old| *old <= leaves.len())?;
    let mut proof = Vec::new();
    if old > 0 {
        append_subproof(leaves, old, true, &mut proof);
    }
    Some(proof)
}

/// `SUBPROOF` of RFC 6962, section 2.1.2. `is_old_root` says whether the leaves begin at the first leaf of all, so that
/// the verifier knows the root over the first `old` of them.
fn append_subproof(leaves: &[Digest], old: usize, is_old_root: bool, proof: &mut Vec<Digest>) {
    if old == leaves.len() {
        if !is_old_root {
            proof.push(merkle::root(leaves));
        }
        return;
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if old <= left.len() {
        append_subproof(left, old, is_old_root, proof);
        proof.push(merkle::root(right));
    } else {
        append_subproof(right, old - left.len(), false, proof);
        proof.push(merkle::root(left));
    }
}

/// Checks that the tree of `new` begins with the tree of `old`. Both sizes must be ones that the log signed.
///
/// RFC 9162 leaves out the tree without leaves. Every tree begins with it, so here its proof has no hashes, and its
/// root must be the SHA-256 of no bytes.
///
/// # Errors
/// [`TreeProofError::Shrunk`] and [`TreeProofError::Consistency`].
pub fn verify_consistency(old: TreeHead, new: TreeHead, proof: &[Digest]) -> Result<(), TreeProofError> {
    if old.size > new.size {
        return Err(TreeProofError::Shrunk { old: old.size, new: new.size });
    }
    let is_consistent = if old.size == new.size {
        proof.is_empty() && old.root == new.root && has_possible_root(new)
    } else if old.size == 0 {
        proof.is_empty() && has_possible_root(old)
    } else {
        connects(old, new, proof)
    };
    if is_consistent {
        Ok(())
    } else {
        Err(TreeProofError::Consistency { old: old.size, new: new.size, hashes: proof.len() })
    }
}

/// Whether a tree without leaves has its one root. Every other tree may have any.
fn has_possible_root(head: TreeHead) -> bool {
    head.size > 0 || head.root == merkle::root(&[])
}

/// The algorithm of RFC 9162, section 2.1.4.2, for `0 < old.size < new.size`.
fn connects(old: TreeHead, new: TreeHead, proof: &[Digest]) -> bool {
    // A full old tree is a node of the new one. Its root is known, so the proof does not have it.
    let (start, rest) = match proof.split_first() {
        Some(_) if old.size.is_power_of_two() => (old.root, proof),
        Some((first, rest)) => (*first, rest),
        None => return false,
    };
    let (mut position, mut last) = (old.size - 1, new.size - 1);
    // The levels on which the old tree's last node is a right child: their nodes are in both trees.
    let shared = position.trailing_ones();
    position >>= shared;
    last >>= shared;
    let (mut old_hash, mut new_hash) = (start, start);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            old_hash = node_hash(*sibling, old_hash);
            new_hash = node_hash(*sibling, new_hash);
            // The last node moves up through levels on which it has no sibling.
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(new_hash, *sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == old.root && new_hash == new.root
}
