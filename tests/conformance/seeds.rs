//! Seeds of blocks, custodians' parts of them, and the proofs of both.

use cloister_crypto::group::{AgreementProof, Element};
use cloister_crypto::seed::{SeedBases, combine};
use cloister_crypto::sharing::Commitments;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use cloister_params::plan::MAX_BLOCKS;
use serde::Deserialize;

use crate::dealing::{arrays, element, secret};
use crate::steps::variant;
use crate::vectors::Hex;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seeds {
    epoch: Digest,
    round: u64,
    plan: Digest,
    dealer: u32,
    threshold: usize,
    commitments: Vec<Hex>,
    bases: Vec<Base>,
    cases: Vec<Revealed>,
    recoveries: Vec<Recovery>,
    bad: Vec<BadReveal>,
    bad_recoveries: Vec<BadRecovery>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    block: u32,
    base: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    block: u32,
    seed: Hex,
}

/// What one secret makes of some blocks; `by` is 0 for the dealer itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revealed {
    by: u32,
    secret: Hex,
    key: Hex,
    /// For whoever looks for a difference.
    #[expect(dead_code)]
    transcript: Hex,
    seeds: Vec<Row>,
    proof: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recovery {
    block: u32,
    parts: Vec<(u32, Hex)>,
    seed: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadReveal {
    why: String,
    epoch: Digest,
    round: u64,
    plan: Digest,
    key: Hex,
    dealer: u32,
    by: u32,
    seeds: Vec<Row>,
    proof: Hex,
    step: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BadRecovery {
    parts: Vec<(u32, Hex)>,
    step: String,
}

fn rows(listed: &[Row]) -> Vec<(BlockId, [u8; 32])> {
    listed.iter().map(|row| (BlockId(row.block), row.seed.array())).collect()
}

/// What one custodian gives of seeds.
type Parts = (PartyId, Vec<(BlockId, Element)>);

/// The list of one block from each custodian; none if a part is no element.
fn parts(block: u32, listed: &[(u32, Hex)]) -> Option<Vec<Parts>> {
    let part = |(holder, bytes): &(u32, Hex)| {
        let element = Element::decode(bytes.array()).ok()?;
        Some((PartyId(*holder), vec![(BlockId(block), element)]))
    };
    listed.iter().map(part).collect()
}

impl Seeds {
    /// The bases of as many blocks as a plan may have.
    fn all_bases(&self) -> SeedBases {
        SeedBases::new(self.epoch, Round(self.round), self.plan, MAX_BLOCKS)
    }

    fn check_reveals(&self, bases: &SeedBases) {
        let commitments = Commitments::decode(&arrays(&self.commitments), self.threshold).unwrap();
        for case in &self.cases {
            let key = match case.by {
                0 => *commitments.key(),
                custodian => commitments.public_share(PartyId(custodian)).unwrap(),
            };
            assert_eq!(key, element(&case.key));
            let listed = rows(&case.seeds);
            let blocks: Vec<BlockId> = listed.iter().map(|(block, _)| *block).collect();
            let names = (PartyId(self.dealer), PartyId(case.by));
            let secret = secret(&case.secret);
            let seeds = bases.seeds(&secret, &blocks);
            let made: Vec<_> = seeds.iter().map(|(block, seed)| (*block, seed.bytes())).collect();
            let proof = bases.prove(names, (&secret, &key), &seeds);
            assert_eq!((&made, proof.to_vec()), (&listed, case.proof.0.clone()));
            let checked = bases.verify(names, &key, &listed, &proof).unwrap();
            assert!(checked.iter().map(|(block, element)| (*block, element.bytes())).eq(listed));
        }
    }

    fn check_recoveries(&self) {
        for case in &self.recoveries {
            let mut parts = parts(case.block, &case.parts).unwrap();
            for _ in 0..parts.len() {
                parts.rotate_left(1);
                let recovered = |count: usize| *combine(&parts[..count]).unwrap()[0].1.reveal();
                assert_eq!(recovered(self.threshold), case.seed.array());
                assert_ne!(recovered(self.threshold - 1), case.seed.array());
            }
        }
        for bad in &self.bad_recoveries {
            match parts(0, &bad.parts) {
                Some(parts) => assert_eq!(variant(&combine(&parts).unwrap_err()), bad.step),
                None => assert_eq!(bad.step, "element"),
            }
        }
    }
}

impl BadReveal {
    fn check(&self, bases: &SeedBases) {
        let proof: AgreementProof = self.proof.array();
        let names = (PartyId(self.dealer), PartyId(self.by));
        let error =
            bases.verify(names, &element(&self.key), &rows(&self.seeds), &proof).expect_err(&self.why);
        assert_eq!(variant(&error), self.step, "{}", self.why);
    }
}

/// MASK-14, MASK-15
pub(crate) fn check(file: Seeds) {
    let bases = file.all_bases();
    for case in &file.bases {
        assert_eq!(bases.base(BlockId(case.block)), Some(&element(&case.base)));
    }
    file.check_reveals(&bases);
    file.check_recoveries();
    for bad in &file.bad {
        let is_here = (bad.epoch, bad.round, bad.plan) == (file.epoch, file.round, file.plan);
        match is_here {
            true => bad.check(&bases),
            false => bad.check(&SeedBases::new(bad.epoch, Round(bad.round), bad.plan, MAX_BLOCKS)),
        }
    }
}
