//! Mask keys and their expansion.

use cloister_crypto::group::{Element, ScalarSecret};
use cloister_crypto::hash::{Domain, digest};
use cloister_crypto::mask::{MaskContext, MaskKey, Sign};
use cloister_crypto::seed::SeedSecret;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use serde::{Deserialize, Serialize};

use crate::vectors::Hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Masks {
    #[serde(rename = "self")]
    self_mask: SelfMask,
    pair: PairMask,
    cases: Vec<MaskCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelfMask {
    member: u32,
    seed: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairMask {
    one: u32,
    other: u32,
    secret: Hex,
    public: Hex,
}

/// What all masks of a block share.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Common {
    pub(crate) epoch: Digest,
    pub(crate) plan: Digest,
    pub(crate) manifest: Digest,
    pub(crate) round: u64,
    pub(crate) block: u32,
    pub(crate) ring_bits: u8,
    pub(crate) length: u64,
}

/// The encoded context and the key are for whoever looks for a difference; here the words speak for them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MaskCase {
    context: Common,
    owner: String,
    #[serde(rename = "encoded")]
    _encoded: Hex,
    #[serde(rename = "key")]
    _key: Hex,
    first: Vec<u32>,
    digest: Digest,
}

impl Common {
    pub(crate) fn context(&self) -> MaskContext {
        MaskContext {
            epoch: self.epoch,
            plan: self.plan,
            manifest: self.manifest,
            round: Round(self.round),
            block: BlockId(self.block),
            ring_bits: self.ring_bits,
            length: self.length,
        }
    }

    /// The words of a mask.
    pub(crate) fn words(&self, key: MaskKey) -> Vec<u32> {
        let mut words = vec![0; self.length as usize];
        key.apply(Sign::Plus, &mut words);
        words
    }
}

/// The digest of words of 32 bits, little-endian.
pub(crate) fn words_digest(words: &[u32]) -> Digest {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    digest(Domain::Sum, &[&bytes])
}

pub(crate) fn check(file: Masks) {
    let seed = SeedSecret::from(&Element::decode(file.self_mask.seed.array()).unwrap());
    let secret = ScalarSecret::from_revealed(file.pair.secret.array()).unwrap();
    let public = Element::decode(file.pair.public.array()).unwrap();
    let (one, other) = (PartyId(file.pair.one), PartyId(file.pair.other));
    for case in file.cases {
        let context = case.context.context();
        let key = || match case.owner.as_str() {
            "self" => context.self_key(PartyId(file.self_mask.member), &seed),
            "pair" => context.pair_key(one, other, &secret.agree(&public)),
            owner => panic!("no owner {owner}"),
        };
        let words = case.context.words(key());
        assert_eq!(words[..case.first.len()], case.first);
        assert_eq!(words_digest(&words), case.digest);
        let mut back = words;
        key().apply(Sign::Minus, &mut back);
        assert!(back.iter().all(|word| *word == 0));
    }
}
