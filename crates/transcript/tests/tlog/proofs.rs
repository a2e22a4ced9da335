//! Inclusion and consistency proofs, and their text form.

use cloister_crypto::merkle;
use cloister_params::id::Digest;
use cloister_transcript::checkpoint::{CheckpointError, TreeHead};
use cloister_transcript::cosignature::{CosignatureError, CosignerPolicy};
use cloister_transcript::note::NoteError;
use cloister_transcript::proof::{
    TreeProofError, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion,
};
use cloister_transcript::tlog_proof::{TlogProof, TlogProofError, UnprovenEntry};
use proptest::prelude::*;

use crate::world::{Signer, log};

/// All sizes up to this one are tried with each other.
const ALL_UP_TO: u64 = 70;

fn leaf(index: u64) -> Digest {
    merkle::leaf_hash(&index.to_be_bytes())
}

fn leaves(size: u64) -> Vec<Digest> {
    (0..size).map(leaf).collect()
}

fn head(leaves: &[Digest]) -> TreeHead {
    TreeHead { size: leaves.len() as u64, root: merkle::root(leaves) }
}

fn changed(digest: Digest) -> Digest {
    let mut changed = digest;
    changed.0[31] ^= 1;
    changed
}

/// Proofs with one hash changed, left out or added, or with two exchanged.
fn tampered(proof: &[Digest]) -> Vec<Vec<Digest>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        let mut other = proof.to_vec();
        other[at] = changed(other[at]);
        all.push(other);
        let mut other = proof.to_vec();
        other.remove(at);
        all.push(other);
        let mut other = proof.to_vec();
        other.insert(at, proof[at]);
        all.push(other);
        if at > 0 && proof[at] != proof[at - 1] {
            let mut other = proof.to_vec();
            other.swap(at - 1, at);
            all.push(other);
        }
    }
    all.push([proof, &[leaf(0)]].concat());
    all
}

/// Checks one inclusion proof, and that nothing about it can be changed.
fn check_inclusion(tree: TreeHead, index: u64, leaf: Digest, proof: &[Digest]) {
    assert_eq!(verify_inclusion(tree, index, leaf, proof), Ok(()), "{index} of {}", tree.size);
    for other in tampered(proof) {
        assert!(verify_inclusion(tree, index, leaf, &other).is_err(), "{index} of {}", tree.size);
    }
    let (size, root, hashes) = (tree.size, tree.root, proof.len());
    let error = Err(TreeProofError::Inclusion { index, size, root, hashes });
    assert_eq!(verify_inclusion(tree, index, changed(leaf), proof), error);
    let other_root = TreeHead { root: changed(root), ..tree };
    assert!(verify_inclusion(other_root, index, leaf, proof).is_err());
    assert_eq!(verify_inclusion(tree, size, leaf, proof), Err(TreeProofError::Index { index: size, size }));
    for wrong in (0..size.min(ALL_UP_TO)).filter(|wrong| *wrong != index) {
        assert!(verify_inclusion(tree, wrong, leaf, proof).is_err(), "{index} as {wrong} of {size}");
    }
}

/// Checks one consistency proof, and that no hash and neither root can be changed.
fn check_consistency(old: TreeHead, new: TreeHead, proof: &[Digest]) {
    assert_eq!(verify_consistency(old, new, proof), Ok(()), "{} and {}", old.size, new.size);
    for other in tampered(proof) {
        assert!(verify_consistency(old, new, &other).is_err(), "{} and {}", old.size, new.size);
    }
    let other_root = |head: TreeHead| TreeHead { root: changed(head.root), ..head };
    assert!(verify_consistency(other_root(old), new, proof).is_err());
    if old.size > 0 {
        assert!(verify_consistency(old, other_root(new), proof).is_err());
    }
    if old.size < new.size {
        let error = Err(TreeProofError::Shrunk { old: new.size, new: old.size });
        assert_eq!(verify_consistency(new, old, proof), error);
    }
}

#[test]
fn every_leaf_of_every_size_has_a_proof_and_no_change_of_it_holds() {
    for size in 1..=ALL_UP_TO {
        let leaves = leaves(size);
        for index in 0..size {
            let proof = inclusion_proof(&leaves, index).unwrap();
            check_inclusion(head(&leaves), index, leaves[index as usize], &proof);
        }
        assert_eq!(inclusion_proof(&leaves, size), None);
    }
    assert_eq!(inclusion_proof(&[], 0), None);
}

#[test]
fn every_two_sizes_have_a_proof_and_no_change_of_it_holds() {
    let leaves = leaves(ALL_UP_TO);
    for new in 0..=ALL_UP_TO {
        for old in 0..=new {
            let (old_leaves, new_leaves) = (&leaves[..old as usize], &leaves[..new as usize]);
            let proof = consistency_proof(new_leaves, old).unwrap();
            assert_eq!(proof.is_empty(), old == 0 || old == new);
            check_consistency(head(old_leaves), head(new_leaves), &proof);
            for wrong in (1..new).filter(|wrong| old > 0 && old < new && *wrong != old) {
                let wrong_old = TreeHead { size: wrong, ..head(old_leaves) };
                assert!(
                    verify_consistency(wrong_old, head(new_leaves), &proof).is_err(),
                    "{wrong}, {old}, {new}"
                );
            }
        }
        assert_eq!(consistency_proof(&leaves[..new as usize], new + 1), None);
    }
}

#[test]
fn a_tree_that_does_not_begin_with_the_earlier_one_has_no_proof() {
    let leaves = leaves(20);
    for old in 1..20u64 {
        for at in 0..old as usize {
            let mut rewritten = leaves.clone();
            rewritten[at] = changed(rewritten[at]);
            let proof = consistency_proof(&rewritten, old).unwrap();
            assert!(verify_consistency(head(&leaves[..old as usize]), head(&rewritten), &proof).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn larger_trees_have_proofs(size in 71u64..5_000, first in any::<u64>(), second in any::<u64>()) {
        let leaves = leaves(size);
        let index = first % size;
        let proof = inclusion_proof(&leaves, index).unwrap();
        check_inclusion(head(&leaves), index, leaves[index as usize], &proof);

        let old = second % (size + 1);
        let proof = consistency_proof(&leaves, old).unwrap();
        check_consistency(head(&leaves[..old as usize]), head(&leaves), &proof);
    }

    #[test]
    fn arbitrary_proofs_are_refused(old in any::<u64>(), new in any::<u64>(), hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let proof: Vec<Digest> = hashes.into_iter().map(Digest).collect();
        let (old, new) = (TreeHead { size: old, root: leaf(1) }, TreeHead { size: new, root: leaf(2) });
        prop_assert!(verify_consistency(old, new, &proof).is_err());
        prop_assert!(verify_inclusion(new, old.size, leaf(3), &proof).is_err());
    }
}

#[test]
fn a_proof_to_the_largest_size_ends() {
    let proof = vec![leaf(1); 64];
    let heads = [1, 2, 1 << 63, u64::MAX - 1, u64::MAX].map(|size| TreeHead { size, root: leaf(1) });
    for (at, old) in heads.iter().enumerate() {
        for new in &heads[at + 1..] {
            assert!(verify_consistency(*old, *new, &proof).is_err());
            assert!(verify_inclusion(*new, old.size, leaf(0), &proof).is_err());
        }
    }
}

/// A proof of an entry, cosigned by two witnesses.
fn cosigned_proof(index: u64, size: u64, extra: Vec<u8>) -> TlogProof {
    let (signer, log) = (Signer::log(), log(size));
    let mut checkpoint = signer.checkpoint(log.head());
    for number in [1, 2] {
        checkpoint = Signer::witness(number).cosigned(checkpoint, &signer, 1_800_000_000);
    }
    TlogProof { extra, index, hashes: log.inclusion_proof(index, size).unwrap(), checkpoint }
}

fn policy(numbers: &[u8]) -> CosignerPolicy {
    let keys = numbers.iter().map(|number| Signer::witness(*number).key).collect();
    CosignerPolicy::new(keys, numbers.len()).unwrap()
}

#[test]
fn a_proof_in_text_form_proves_its_entry() {
    let log_key = Signer::log().key;
    for (index, size) in [(0, 1), (0, 2), (5, 7), (299, 300)] {
        for extra in [Vec::new(), b"which file".to_vec()] {
            let proof = cosigned_proof(index, size, extra);
            let text = proof.to_string();
            let read = TlogProof::parse(text.as_bytes()).unwrap();
            assert_eq!(read, proof);
            assert_eq!(read.to_string(), text);

            let leaf = log(size).leaf_hashes()[index as usize];
            let proven = read.verify(leaf, &log_key, &policy(&[1, 2])).unwrap();
            assert_eq!((proven.index, proven.checkpoint.head()), (index, log(size).head()));
            assert_eq!(proven.cosignatures.len(), 2);
        }
    }
    let text = cosigned_proof(1, 2, b"x".to_vec()).to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra eA==\nindex 1\n"), "{text}");
    assert!(text.contains("=\n\nconsortium.example/log\n2\n"), "{text}");
}

#[test]
fn a_proof_of_another_log_entry_or_witness_proves_nothing() {
    let (proof, leaf) = (cosigned_proof(5, 7, Vec::new()), log(7).leaf_hashes()[5]);
    let log_key = Signer::log().key;
    assert!(proof.verify(leaf, &log_key, &policy(&[])).is_ok(), "control");
    let other = proof.verify(log(7).leaf_hashes()[4], &log_key, &policy(&[]));
    assert!(matches!(other, Err(UnprovenEntry::Inclusion(_))));
    let other = proof.verify(leaf, &log_key, &policy(&[1, 3]));
    assert_eq!(other, Err(UnprovenEntry::Cosignature(CosignatureError::TooFew { threshold: 2, came: 1 })));
    let other = proof.verify(leaf, &Signer::witness(1).key, &policy(&[]));
    assert!(matches!(other, Err(UnprovenEntry::Checkpoint(CheckpointError::Signature(_)))));
    for index in [0, 4, 6, 7, u64::MAX] {
        let other = TlogProof { index, ..proof.clone() }.verify(leaf, &log_key, &policy(&[]));
        assert!(matches!(other, Err(UnprovenEntry::Inclusion(_))), "{index}");
    }
}

/// Every byte of a proof is either checked or belongs to a line of an unknown key.
#[test]
fn no_byte_of_a_proof_can_be_changed() {
    let (proof, leaf) = (cosigned_proof(5, 7, Vec::new()), log(7).leaf_hashes()[5]);
    let (log_key, policy) = (Signer::log().key, policy(&[1, 2]));
    let text = proof.to_string();
    assert!(TlogProof::parse(text.as_bytes()).unwrap().verify(leaf, &log_key, &policy).is_ok(), "control");
    for at in 0..text.len() {
        for flip in [1, 2, 4, 16] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= flip;
            let verified =
                TlogProof::parse(&bytes).ok().and_then(|proof| proof.verify(leaf, &log_key, &policy).ok());
            assert!(verified.is_none(), "byte {at} of {text}");
        }
    }
}

#[test]
fn what_is_no_proof_is_refused() {
    let text = cosigned_proof(5, 7, b"x".to_vec()).to_string();
    let parse = |text: &str| TlogProof::parse(text.as_bytes());
    let replaced = |from: &str, to: &str| parse(&text.replacen(from, to, 1));
    assert!(replaced("x", "x").is_ok(), "control");

    assert!(matches!(parse(""), Err(TlogProofError::NoCheckpoint)));
    assert!(matches!(replaced("@v1", "@v2"), Err(TlogProofError::Header { .. })));
    assert!(matches!(replaced("\n", "\r\n"), Err(TlogProofError::Header { .. })));
    // No data, no padding, another encoding of the same byte.
    for extra in ["extra ", "extra eA=", "extra eB==", "extra  eA=="] {
        assert!(matches!(replaced("extra eA==", extra), Err(TlogProofError::Extra { .. })), "{extra}");
    }
    let index = |line: &str| replaced("index 5", line);
    for line in ["index", "index ", "index 05", "index -1", "index 5 ", "index +5", "Index 5"] {
        assert!(matches!(index(line), Err(TlogProofError::IndexLine { .. })), "{line}");
    }
    assert!(matches!(index("index 18446744073709551616"), Err(TlogProofError::IndexLine { .. })));
    assert!(matches!(index("extra eA==\nindex 5"), Err(TlogProofError::IndexLine { .. })));
    assert!(matches!(index("index 5\nindex 5"), Err(TlogProofError::Hash { .. })));
    assert!(matches!(index("index 5\nAAAA"), Err(TlogProofError::Hash { .. })));
    let many = format!("index 5{}", "\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=".repeat(64));
    assert!(matches!(index(&many), Err(TlogProofError::TooManyHashes { .. })));
    assert!(matches!(
        replaced("\n\n", "\n"),
        Err(TlogProofError::Hash { .. } | TlogProofError::NoCheckpoint)
    ));
    assert!(matches!(parse(text.trim_end()), Err(TlogProofError::Note(NoteError::NoFinalNewline))));
    assert!(matches!(TlogProof::parse(b"\xff"), Err(TlogProofError::Utf8 { at: 0 })));
}

/// The example of c2sp.org/tlog-proof, up to its note. It has 5 hashes where its size needs 17, and its signatures are
/// shortened, so another note follows, and it does not verify.
#[test]
fn the_specifications_example_is_read_and_written_alike() {
    let lines = "c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=
";
    let text = format!("{lines}\n{}", Signer::log().checkpoint(log(1).head()));
    let proof = TlogProof::parse(text.as_bytes()).unwrap();
    assert_eq!((proof.index, proof.hashes.len()), (73894, 5));
    assert!(proof.extra.starts_with(b"age-v1.2.1-darwin-arm64.tar.gz"));
    assert_eq!(proof.to_string(), text);
    assert!(proof.verify(leaf(0), &Signer::log().key, &policy(&[])).is_err());
}
