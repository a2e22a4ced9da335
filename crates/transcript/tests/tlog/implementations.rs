//! Cross-checks with independent Rust implementations: `signed_note` and `tlog_tiles` of Cloudflare, which port Go's,
//! and `ct-merkle`.

use cloister_crypto::SigningKey;
use cloister_params::id::Digest;
use cloister_transcript::EpochLog;
use cloister_transcript::checkpoint::{LogCheckpoint, TreeHead};
use cloister_transcript::keys::{SignatureType, VerifierKey};
use cloister_transcript::note::SignedNote;
use cloister_transcript::proof::{verify_consistency, verify_inclusion};
use cloister_transcript::tiles::{TileKind, TilePath, added_paths};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof};
use proptest::prelude::*;
use sha2::Sha256;
use signed_note::{Note, StandardSigner, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{Checkpoint, Error, Hash, HashReader, Tile, TileHashReader, TileReader};

use crate::world::{Signer, log};

/// Cloudflare's signer for a seed, under the log's name.
fn their_signer(signer: &Signer, seed: u8) -> StandardSigner {
    use base64ct::{Base64, Encoding};
    let material = Base64::encode_string(&[&[1], &[seed; 32][..]].concat());
    StandardSigner::new(&format!("PRIVATE+KEY+{}+{}+{material}", signer.name, signer.key.id())).unwrap()
}

fn their_verifiers(key: &VerifierKey) -> VerifierList {
    VerifierList::new(vec![Box::new(StandardVerifier::new(&key.to_string()).unwrap())])
}

#[test]
fn notes_are_written_and_verified_alike() {
    let signer = Signer::log();
    for text in ["text\n", "\n", "a\n\nb\n\n", "è\n— not a signature\n"] {
        let ours = SignedNote::sign(text, &signer.name, &signer.secret).unwrap();
        let mut theirs = Note::new(text.as_bytes(), &[]).unwrap();
        theirs.add_sigs(&[&their_signer(&signer, 1)]).unwrap();
        assert_eq!(theirs.to_bytes(), ours.to_string().into_bytes());

        let read = Note::from_bytes(ours.to_string().as_bytes()).unwrap();
        let (verified, _) = read.verify(&their_verifiers(&signer.key)).unwrap();
        assert_eq!((verified.len(), read.text()), (1, text.as_bytes()));
        let read = SignedNote::parse(&theirs.to_bytes()).unwrap();
        assert_eq!(read.verify(std::slice::from_ref(&signer.key)).unwrap().text(), text);
    }
}

proptest! {
    /// Damaged notes: both accept the same ones.
    #[test]
    fn damaged_notes_are_judged_alike(at in any::<prop::sample::Index>(), with in prop::sample::select(&b"\n\n =+A/\x00\xe2a"[..]), kind in 0..3) {
        let signer = Signer::log();
        let note = signer.checkpoint(log(3).head());
        let note = Signer::witness(1).cosigned(note, &signer, 10);
        let mut bytes = note.to_string().into_bytes();
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = with,
            1 => bytes.insert(at, with),
            _ => drop(bytes.remove(at)),
        }
        let ours = SignedNote::parse(&bytes);
        let theirs = Note::from_bytes(&bytes);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}", String::from_utf8_lossy(&bytes));
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(ours.to_string().into_bytes(), theirs.to_bytes());
            let ours = ours.verify(std::slice::from_ref(&signer.key));
            prop_assert_eq!(ours.is_ok(), theirs.verify(&their_verifiers(&signer.key)).is_ok());
        }
    }

    #[test]
    fn keys_are_read_alike(seed in any::<[u8; 32]>()) {
        let name = Signer::log().name;
        let public = SigningKey::from_seed(&seed).public();
        let key = VerifierKey::new(name.clone(), SignatureType::Ed25519, public).unwrap();
        let theirs = StandardVerifier::new(&key.to_string()).unwrap();
        prop_assert_eq!((theirs.name(), theirs.key_id().to_be_bytes()), (name.as_str(), key.id().0));
        let renamed = format!("a{key}");
        prop_assert!(StandardVerifier::new(&renamed).is_err() && VerifierKey::parse(&renamed).is_err());
    }
}

#[test]
fn checkpoints_are_written_and_read_alike() {
    let root = Digest([7; 32]);
    for size in [1, 20852163, u64::MAX] {
        let head = TreeHead { size, root };
        let text = LogCheckpoint { origin: Signer::log().name, head }.to_string();
        let theirs = Checkpoint::from_bytes(text.as_bytes()).unwrap();
        assert_eq!((theirs.size(), theirs.hash().0, theirs.extension()), (size, root.0, ""));
        assert_eq!(theirs.to_bytes(), text.clone().into_bytes());
        assert_eq!(LogCheckpoint::parse_unverified(&text).unwrap().head, head);
    }
}

/// Our path of a tile of theirs, which has the height 8 in its path.
fn our_path(tile: &Tile) -> TilePath {
    let text = tile.path().replacen("tile/8/", "tile/", 1);
    TilePath::parse(&text).unwrap()
}

/// The files of a log, as their reader wants them.
struct Files<'a>(&'a EpochLog);

impl TileReader for Files<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(tiles.iter().map(|tile| self.0.content(our_path(tile)).unwrap()).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn their_hashes(proof: &[Digest]) -> Vec<Hash> {
    proof.iter().map(|digest| Hash(digest.0)).collect()
}

#[test]
fn a_tile_reader_authenticates_our_tiles_and_makes_our_proofs() {
    let log = log(66_000);
    for size in [1, 2, 255, 256, 257, 511, 512, 1_000, 65_535, 65_536, 65_537, 66_000] {
        let head = log.head_at(size).unwrap();
        let (root, files) = (Hash(head.root.0), Files(&log));
        let reader = TileHashReader::new(size, root, &files);
        assert_eq!(tlog_tiles::tree_hash(size, &reader).unwrap(), root, "{size}");
        for index in [0, 1, 254, 255, 256, 65_535, size / 2, size - 1] {
            if index >= size {
                continue;
            }
            let proof = log.inclusion_proof(index, size).unwrap();
            let (theirs, leaf) = (their_hashes(&proof), log.leaf_hashes()[index as usize]);
            assert_eq!(tlog_tiles::prove_record(size, index, &reader).unwrap(), theirs, "{index} of {size}");
            tlog_tiles::check_record(&theirs, size, root, index, Hash(leaf.0)).unwrap();
            assert_eq!(tlog_tiles::record_hash(&log.entries()[index as usize]).0, leaf.0);
            verify_inclusion(head, index, leaf, &proof).unwrap();
        }
        for old in [1, 2, 255, 256, 300, 65_536, size / 2 + 1, size] {
            if old > size {
                continue;
            }
            let old_head = log.head_at(old).unwrap();
            let proof = log.consistency_proof(old, size).unwrap();
            let theirs = their_hashes(&proof);
            assert_eq!(tlog_tiles::prove_tree(size, old, &reader).unwrap(), theirs, "{old} and {size}");
            tlog_tiles::check_tree(&theirs, size, root, old, Hash(old_head.root.0)).unwrap();
            verify_consistency(old_head, head, &proof).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn the_same_hash_tiles_are_added(old in 0u64..200_000, growth in 0u64..140_000) {
        let theirs: Vec<TilePath> = Tile::new_tiles(8, old, old + growth).iter().map(our_path).collect();
        let added = added_paths(old, old + growth).into_iter();
        let ours: Vec<TilePath> = added.filter(|path| path.kind() != TileKind::Entries).collect();
        prop_assert_eq!(ours, theirs);
    }
}

fn bytes(proof: &[Digest]) -> Vec<u8> {
    proof.iter().flat_map(|digest| digest.0).collect()
}

#[test]
fn a_third_tree_has_the_same_roots_and_proofs() {
    let log = log(70);
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut roots = vec![tree.root()];
    for (at, entry) in log.entries().iter().enumerate() {
        tree.push(entry.clone());
        roots.push(tree.root());
        let size = at as u64 + 1;
        let root = &roots[at + 1];
        assert_eq!(root.as_bytes()[..], log.head_at(size).unwrap().root.0);
        for index in 0..size {
            let ours = bytes(&log.inclusion_proof(index, size).unwrap());
            assert_eq!(tree.prove_inclusion(index as usize).as_bytes(), ours, "{index} of {size}");
            let proof = InclusionProof::try_from_bytes(ours).unwrap();
            root.verify_inclusion(&log.entries()[index as usize], index, &proof).unwrap();
        }
        for old in 1..=size {
            let ours = bytes(&log.consistency_proof(old, size).unwrap());
            assert_eq!(tree.prove_consistency((size - old) as usize).as_bytes(), ours, "{old} and {size}");
            let proof = ConsistencyProof::try_from_bytes(ours).unwrap();
            root.verify_consistency(&roots[old as usize], &proof).unwrap();
        }
    }
}

#[test]
fn their_reader_refuses_a_changed_tile() {
    /// The files of a log, with one bit of each tile changed.
    struct Changed<'a>(Files<'a>);

    impl TileReader for Changed<'_> {
        fn height(&self) -> u8 {
            8
        }

        fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
            let mut contents = self.0.read_tiles(tiles)?;
            contents.iter_mut().for_each(|content| content[0] ^= 1);
            Ok(contents)
        }

        fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
    }

    let log = log(300);
    let files = Changed(Files(&log));
    let reader = TileHashReader::new(300, Hash(log.head().root.0), &files);
    assert!(reader.read_hashes(&[0]).is_err());
}
