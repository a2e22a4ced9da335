//! Digests, trees and signatures.

use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::merkle;
use cloister_crypto::sign::{SigningKey, verify};
use cloister_params::consortium::PublicBytes;
use cloister_params::id::Digest;
use serde::Deserialize;

use crate::vectors::Hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Digests {
    cases: Vec<DigestCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestCase {
    domain: String,
    parts: Vec<Hex>,
    digest: Digest,
}

fn domain(name: &str) -> Domain {
    match name {
        "epoch" => Domain::Epoch,
        "task" => Domain::Task,
        "body" => Domain::Body,
        "parameters" => Domain::Parameters,
        "model" => Domain::Model,
        "letter" => Domain::Letter,
        "masked-block" => Domain::MaskedBlock,
        "sum" => Domain::Sum,
        "late" => Domain::Late,
        "opening" => Domain::Opening,
        "projection" => Domain::Projection,
        "enrolment" => Domain::Enrolment,
        "governance-key" => Domain::GovernanceKey,
        other => panic!("no domain {other}"),
    }
}

pub(crate) fn digests(file: Digests) {
    for case in file.cases {
        let parts: Vec<&[u8]> = case.parts.iter().map(|part| part.0.as_slice()).collect();
        assert_eq!(digest(domain(&case.domain), &parts), case.digest, "{}", case.domain);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trees {
    cases: Vec<Tree>,
    bad: Vec<BadPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tree {
    leaves: Vec<Digest>,
    root: Digest,
    paths: Vec<Vec<Digest>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadPath {
    root: Digest,
    leaf: Digest,
    index: usize,
    size: usize,
    path: Vec<Digest>,
    step: String,
}

pub(crate) fn merkle(file: Trees) {
    for tree in file.cases {
        assert_eq!(merkle::root(&tree.leaves), tree.root);
        for (index, path) in tree.paths.iter().enumerate() {
            assert_eq!(&merkle::Tree::new(tree.leaves.clone()).path(index), path);
            assert!(merkle::verify(tree.root, tree.leaves[index], index, tree.leaves.len(), path));
        }
    }
    for bad in file.bad {
        assert_eq!(bad.step, "path");
        assert!(!merkle::verify(bad.root, bad.leaf, bad.index, bad.size, &bad.path));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signatures {
    cases: Vec<SignatureCase>,
    bad: Vec<BadSignature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureCase {
    seed: Hex,
    public: Hex,
    tag: String,
    message: Hex,
    signature: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadSignature {
    why: String,
    public: Hex,
    tag: String,
    message: Hex,
    signature: Hex,
    step: String,
}

pub(crate) fn signatures(file: Signatures) {
    for case in file.cases {
        let key = SigningKey::from_seed(&case.seed.array());
        assert_eq!(key.public(), PublicBytes(case.public.array()));
        assert_eq!(key.sign(&case.tag, &case.message.0).to_vec(), case.signature.0);
        let signature = case.signature.array();
        assert!(verify(key.public(), &case.tag, &case.message.0, &signature).is_ok());
    }
    for bad in file.bad {
        assert_eq!(bad.step, "signature");
        let public = PublicBytes(bad.public.array());
        let result = verify(public, &bad.tag, &bad.message.0, &bad.signature.array());
        assert!(result.is_err(), "{}", bad.why);
    }
}
