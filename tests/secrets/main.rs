//! Secrets erase themselves, cannot be printed, sent or compared; a type that is named like one must be listed here.

#![allow(clippy::unwrap_used)]

mod printed;
mod sources;

use cloister_alignment::score::ExpertSketch;
use cloister_cluster::plan::{contribution, template};
use cloister_crypto::group::{AgreedSecret, ScalarSecret};
use cloister_crypto::keystream::StreamSecret;
use cloister_crypto::mask::MaskKey;
use cloister_identity::online::InvitationToken;
use cloister_identity::operator::OperatorToken;
use cloister_protocol::contribution::Contribution;
use cloister_protocol::dealing::{HeldShares, RoundSecrets};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sources::{Declaration, declarations, declared};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// How types are named that hold secrets.
const ENDINGS: [&str; 8] = ["Secret", "Secrets", "Seed", "Seeds", "Key", "Keys", "Shares", "Password"];

/// Types that hold secrets.
const SECRET: [&str; 13] = [
    "AgreedSecret",
    "HeldShares",
    "InvitationToken",
    "LocalSeed",
    "MaskKey",
    "OperatorToken",
    "ProxyPassword",
    "RoundSecrets",
    "ScalarSecret",
    "SeedSecret",
    "SharingSecret",
    "SigningKey",
    "StreamSecret",
];

/// Types that hold what never leaves a hospital as it is.
const CONFIDENTIAL: [&str; 3] = ["Contribution", "ExpertRegion", "LocalResult"];

/// Types that are named like secrets and hold none: names of secrets, public keys, errors about them, what was opened for
/// all to see.
const PUBLIC: [&str; 11] = [
    "BadSeeds",
    "BlockSeed",
    "DealtKey",
    "DealtKeys",
    "PublicKey",
    "ReceivingKey",
    "RevealedSecret",
    "RevealedSeeds",
    "SharedKey",
    "VerifierKey",
    "WeakKey",
];

/// What would print, send or compare a value. Nothing of the kind is derived or written for a secret but a printing
/// that says nothing; so no comparison of secrets can depend on their bytes in time: there is none.
const FORBIDDEN: [&str; 5] = ["Debug", "Serialize", "Deserialize", "PartialEq", "Copy"];

fn is_named_like_a_secret(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The declarations that are named like secrets and listed nowhere.
fn unlisted(all: &[Declaration]) -> Vec<&str> {
    let known = |name: &&str| SECRET.contains(name) || PUBLIC.contains(name);
    let named = all.iter().map(|declaration| declaration.name.as_str());
    named.filter(|name| is_named_like_a_secret(name) && !known(name)).collect()
}

/// What these types derive and must not.
fn derived(all: &[Declaration], names: &[&str], forbidden: &[&str]) -> Vec<(String, String)> {
    let of_secrets = all.iter().filter(|declaration| names.contains(&declaration.name.as_str()));
    of_secrets
        .flat_map(|declaration| {
            let derives = declaration.derives.iter().filter(|name| forbidden.contains(&name.as_str()));
            derives.map(|name| (declaration.name.clone(), name.clone()))
        })
        .collect()
}

#[test]
fn every_type_that_is_named_like_a_secret_is_listed() {
    assert_eq!(
        unlisted(&declarations()),
        [""; 0],
        "list it in tests/secrets/main.rs, as a secret or as public"
    );
}

#[test]
fn every_listed_type_is_declared() {
    let all = declarations();
    for name in SECRET.iter().chain(&CONFIDENTIAL).chain(&PUBLIC) {
        assert!(
            all.iter().any(|declaration| declaration.name == *name),
            "{name} is gone; take it off the list"
        );
    }
}

#[test]
fn secrets_cannot_be_printed_sent_or_compared() {
    let all = declarations();
    assert_eq!(derived(&all, &SECRET, &FORBIDDEN), []);
    assert_eq!(derived(&all, &CONFIDENTIAL, &["Debug", "Serialize", "Deserialize"]), []);
}

/// Positive controls: a new secret, and one that can be printed, are found.
#[test]
fn a_new_or_printable_secret_is_found() {
    let all =
        declared("/// New.\n#[derive(Clone, Debug)]\npub(crate) struct NewSeed([u8; 32]);\nstruct Other;\n");
    assert_eq!(unlisted(&all), ["NewSeed"]);
    assert_eq!(derived(&all, &["NewSeed"], &FORBIDDEN), [("NewSeed".to_owned(), "Debug".to_owned())]);
    assert_eq!(declared("#[cfg(test)]\nmod tests {\n    struct InTests;\n}\n"), []);
    let after_an_item = declared("#[cfg(test)]\nmod tests;\n\npub struct LaterSeed([u8; 32]);\n");
    assert_eq!(unlisted(&after_an_item), ["LaterSeed"]);
}

/// All but `SigningKey`, as the library that signs keeps its key in memory as it likes, `LocalSeed`, which its crate
/// keeps for itself, and `ProxyPassword`, whose crate has this test. A contribution holds what was never masked.
#[test]
fn secrets_erase_themselves() {
    fn erases_itself<T: ZeroizeOnDrop>() {}
    erases_itself::<AgreedSecret>();
    erases_itself::<HeldShares>();
    erases_itself::<InvitationToken>();
    erases_itself::<MaskKey>();
    erases_itself::<OperatorToken>();
    erases_itself::<RoundSecrets>();
    erases_itself::<ScalarSecret>();
    erases_itself::<StreamSecret>();
    erases_itself::<Contribution>();
}

/// A contribution is erased by hand, as its map of sketches cannot erase itself.
#[test]
fn nothing_of_an_erased_contribution_is_left() {
    let mut contribution = contribution(&template(3, 5, 1), &mut ChaCha20Rng::seed_from_u64(1));
    let sketches = contribution.sketches.clone();
    assert!(sketches.values().all(|sketch| sketch.tokens > 0 && !sketch.update().is_empty()), "control");
    contribution.zeroize();
    assert!(contribution.integers.values().iter().all(Vec::is_empty));
    let erased = |sketch: &ExpertSketch| {
        sketch.region().is_empty() && sketch.update().is_empty() && sketch.tokens == 0
    };
    assert!(contribution.sketches.values().all(erased));
}
