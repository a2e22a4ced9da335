//! Checks of the files that a coordinator leaves behind.

use std::ops::RangeInclusive;
use std::path::Path;

use cloister_crypto::consortium::Epoch;
use cloister_crypto::merkle;
use cloister_params::id::{Digest, Round};
use cloister_params::policy::Policy;
use cloister_protocol::ending::KnownEnding;
use cloister_wire::codec;
use cloister_wire::message::Ending;
use serde_json::Value;

/// Checks each round of a consortium's folder: it closed, and its log is the one that custodians signed.
pub(crate) fn check(folder: &Path, rounds: RangeInclusive<u64>) {
    let epoch = load_consortium(folder);
    for round in rounds {
        check_round(&folder.join("coordinator/data/rounds"), round, &epoch);
    }
}

fn load_consortium(folder: &Path) -> Epoch {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let policy = Policy::parse(&read("coordinator/policy.toml")).unwrap();
    let mut signature = [0; 64];
    hex::decode_to_slice(read("consortium.toml.sig").trim(), &mut signature).unwrap();
    Epoch::accept(&read("consortium.toml"), &signature, policy.governance_key).unwrap()
}

/// Checks that the ending is certified, and that the log before it is the one that the custodians signed.
fn check_round(rounds: &Path, round: u64, epoch: &Epoch) {
    let read = |name: &str| std::fs::read(rounds.join(format!("{round:04}.{name}"))).unwrap();
    let ending: Ending = codec::decode(&read("ending")).unwrap();
    assert_eq!(KnownEnding::check(&ending, epoch).unwrap().round, Round(round));
    let Ending::Closed { certificate, .. } = ending else { panic!("round {round} has no sum") };
    let text = String::from_utf8(read("log.jsonl")).unwrap();
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (closing, before) = entries.split_last().unwrap();
    assert_eq!(closing["body"], hex::encode(&certificate.body));
    // LOG-01: no root has these.
    let beside = ["unsealed-announcement", "receiving-key", "bad-dealing"];
    let in_tree = before.iter().filter(|entry| !beside.contains(&entry["kind"].as_str().unwrap()));
    let leaves: Vec<Digest> = in_tree.map(leaf).collect();
    assert_eq!(certificate.parse().unwrap().tree, merkle::root(&leaves));
}

/// The hash of a line's entry; its kind's number follows from the order of kinds in a round with sums.
fn leaf(entry: &Value) -> Digest {
    let kinds = ["plan", "announcement", "manifest", "seal-1", "upload", "seal-2", "reveal"];
    let kind = 1 + kinds.iter().position(|kind| entry["kind"] == *kind).unwrap() as u8;
    let party = entry["party"].as_u64().unwrap() as u32;
    let body = hex::decode(entry["body"].as_str().unwrap()).unwrap();
    merkle::leaf_hash(&[&[kind][..], &party.to_le_bytes(), &body].concat())
}
