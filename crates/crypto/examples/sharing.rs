//! `cargo xtask bench sharing`: what a round's two shared keys cost, at 100 members, 16 custodians and 1,024
//! blocks unless other numbers are given: bytes of each party, and processor seconds of each step. Runs
//! alternate, and medians are reported.

// A benchmark reads the clock.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use cloister_crypto::group::{Element, ScalarSecret, prove_knowledge, verify_knowledge};
use cloister_crypto::letter;
use cloister_crypto::seed::{SeedBases, combine};
use cloister_crypto::sharing::{Commitments, SharingSecret};
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const DEALER: PartyId = PartyId(1);
/// Proofs about a member's own seeds name this number in place of a custodian's.
const MEMBER: PartyId = PartyId(0);

/// Sizes of a consortium and its plan.
#[derive(Clone, Copy)]
struct Sizes {
    members: usize,
    custodians: u32,
    blocks: u32,
}

/// One dealer's keys, with what its round derives from them.
struct Dealt {
    threshold: usize,
    custodians: Vec<PartyId>,
    blocks: Vec<BlockId>,
    bases: SeedBases,
    key: ScalarSecret,
    sharing: SharingSecret,
    commitments: Commitments,
    recipient: ScalarSecret,
}

type Step<'a> = (&'static str, usize, Box<dyn Fn() + 'a>);

impl Dealt {
    fn new(sizes: Sizes) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(1);
        let threshold = sizes.custodians as usize / 2 + 1;
        let key = ScalarSecret::random(&mut random);
        let sharing = SharingSecret::new(&key, threshold, &mut random);
        let commitments = Commitments::decode(&sharing.commitments(), threshold).expect("its own");
        Self {
            threshold,
            custodians: (1..=sizes.custodians).map(PartyId).collect(),
            blocks: (0..sizes.blocks).map(BlockId).collect(),
            bases: bases(sizes.blocks),
            recipient: ScalarSecret::random(&mut random),
            key,
            sharing,
            commitments,
        }
    }

    /// Each step, with how often the party that performs it most often does so in a round.
    fn steps(&self, sizes: Sizes) -> Vec<Step<'_>> {
        vec![
            ("member: deals both keys", 1, Box::new(|| self.deal())),
            (
                "member: makes its seeds",
                1,
                Box::new(|| drop(black_box(self.bases.seeds(&self.key, &self.blocks)))),
            ),
            ("member: proves its seeds", 1, Box::new(|| drop(black_box(self.reveal(&self.key, MEMBER))))),
            ("all: the plan's bases", 1, Box::new(move || drop(black_box(bases(sizes.blocks))))),
            ("custodian: checks two shares", sizes.members, Box::new(|| self.check_shares())),
            (
                "custodian: parts of a lost member",
                1,
                Box::new(|| drop(black_box(self.reveal(&self.share(0), self.custodians[0])))),
            ),
            ("coordinator, custodian: checks a reveal", sizes.members, self.check_reveal()),
            ("coordinator, custodian: combines parts", 1, self.combine_parts()),
        ]
    }

    fn share(&self, index: usize) -> ScalarSecret {
        self.sharing.share_of(self.custodians[index])
    }

    fn deal(&self) {
        let mut random = ChaCha20Rng::seed_from_u64(2);
        // Both keys cost the same, so that one key stands for both.
        let sharings = [(); 2].map(|()| SharingSecret::new(&self.key, self.threshold, &mut random));
        for sharing in &sharings {
            black_box(sharing.commitments());
            black_box(prove_knowledge(&self.key, b"context", &mut random));
        }
        for custodian in &self.custodians {
            let shares = sharings.each_ref().map(|sharing| *sharing.share_of(*custodian).reveal()).concat();
            black_box(letter::seal(&shares, &self.recipient.public(), b"context", &mut random));
        }
    }

    fn check_shares(&self) {
        let proof = prove_knowledge(&self.key, b"context", &mut ChaCha20Rng::seed_from_u64(3));
        for _ in 0..2 {
            let decoded = Commitments::decode(&self.sharing.commitments(), self.threshold).expect("its own");
            verify_knowledge(decoded.key(), b"context", &proof).expect("its own");
            assert!(decoded.fits(self.custodians[0], &self.share(0)));
        }
    }

    fn reveal(&self, secret: &ScalarSecret, by: PartyId) -> (Vec<(BlockId, Element)>, [u8; 64]) {
        let seeds = self.bases.seeds(secret, &self.blocks);
        let proof = self.bases.prove((DEALER, by), (secret, &secret.public()), &seeds);
        (seeds, proof)
    }

    fn check_reveal(&self) -> Box<dyn Fn() + '_> {
        let (seeds, proof) = self.reveal(&self.key, MEMBER);
        let listed: Vec<(BlockId, [u8; 32])> =
            seeds.iter().map(|(block, seed)| (*block, seed.bytes())).collect();
        Box::new(move || {
            let checked = self.bases.verify((DEALER, MEMBER), self.commitments.key(), &listed, &proof);
            drop(black_box(checked.expect("its own")));
        })
    }

    fn combine_parts(&self) -> Box<dyn Fn() + '_> {
        let parts: Vec<(PartyId, Vec<(BlockId, Element)>)> = (0..self.threshold)
            .map(|index| (self.custodians[index], self.bases.seeds(&self.share(index), &self.blocks)))
            .collect();
        Box::new(move || drop(black_box(combine(&parts).expect("distinct"))))
    }
}

fn bases(blocks: u32) -> SeedBases {
    SeedBases::new(Digest([1; 32]), Round(1), Digest([2; 32]), blocks as usize)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes that the two keys take, and what a seed of its own for each block would.
fn print_bytes(sizes: Sizes) {
    let threshold = sizes.custodians as usize / 2 + 1;
    let (blocks, custodians) = (sizes.blocks as usize, sizes.custodians as usize);
    let announced = 2 * (32 * threshold + 64) + custodians * (4 + 32 + 32);
    let letters = custodians * (letter::OVERHEAD + 64);
    let announced_before = 32 + 64 + 32 * blocks + custodians * (4 + 32 + 32);
    let letters_before = custodians * (letter::OVERHEAD + 32 * (1 + blocks));
    let revealed = 36 * blocks + 64;
    println!("bytes of one member: announced {announced}, letters {letters}, revealed {revealed}");
    println!(
        "with a shared seed for each block: announced {announced_before}, letters {letters_before}, revealed {}",
        36 * blocks
    );
    println!("parts of a member that left: {} from {threshold} custodians", threshold * revealed);
}

fn main() -> ExitCode {
    let given: Vec<u32> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (members, custodians, blocks, runs) = match given[..] {
        [] => (100, 16, 1024, 5),
        [members, custodians, blocks] => (members, custodians, blocks, 5),
        _ => {
            eprintln!("usage: cargo xtask bench sharing [MEMBERS CUSTODIANS BLOCKS]");
            return ExitCode::from(2);
        }
    };
    let sizes = Sizes { members: members as usize, custodians, blocks };
    println!("{members} members, {custodians} custodians, {blocks} blocks");
    print_bytes(sizes);
    let dealt = Dealt::new(sizes);
    let steps = dealt.steps(sizes);
    let mut seconds = vec![Vec::new(); steps.len()];
    for _ in 0..runs {
        for ((_, _, step), seconds) in steps.iter().zip(&mut seconds) {
            let start = Instant::now();
            step();
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    for ((name, times, _), seconds) in steps.iter().zip(seconds) {
        let once = median(seconds) * 1e3;
        println!("{name:<42}{once:>10.2} ms   {times:>4} times: {:>8.0} ms", once * *times as f64);
    }
    ExitCode::SUCCESS
}
