//! `cargo xtask constant-time`: runs what works on secrets with the secrets marked undefined, under
//! Valgrind's memcheck.
//!
//! Memcheck reports every branch and every address that depends on undefined memory, so that it finds what
//! leaks through time (Langley's *ctgrind*, 2010). Its errors are counted path by path. Controls leak on
//! purpose, and must be caught. What is opened for everybody to see is no secret any more, and is marked so.
//!
//! Under Valgrind, processors have no 512-bit registers: that kernel is not among those that run here.

// The requests to Valgrind, in one function.
#![allow(unsafe_code)]

use std::arch::asm;
use std::convert::Infallible;
use std::hint::black_box;
use std::process::ExitCode;

use cloister_crypto::group::{Element, ScalarSecret, prove_agreement, prove_knowledge};
use cloister_crypto::keystream::{Kernel, Sign, StreamSecret};
use cloister_crypto::letter;
use cloister_crypto::mask::MaskContext;
use cloister_crypto::seed::{SeedBases, SeedSecret};
use cloister_crypto::sharing::SharingSecret;
use cloister_params::id::{BlockId, Digest, PartyId, Round};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};

/// What memcheck is asked: numbers of `valgrind.h` and `memcheck.h`, which are part of their stable
/// interface.
#[derive(Clone, Copy)]
enum Request {
    RunningOnValgrind = 0x1001,
    CountErrors = 0x1201,
    MakeUndefined = 0x4d43_0001,
    MakeDefined = 0x4d43_0002,
}

/// Asks Valgrind; 0 without it.
fn ask(request: Request, start: usize, length: usize) -> usize {
    let arguments = [request as usize, start, length, 0, 0, 0];
    let mut answer = 0usize;
    // SAFETY: the sequence is a no-operation that Valgrind recognises; it reads the arguments and writes one
    // register. The rotations add up to 128 bits, and the exchange is of a register with itself.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") answer,
        );
    }
    answer
}

fn conceal<T>(values: &mut [T]) {
    ask(Request::MakeUndefined, values.as_ptr() as usize, size_of_val(values));
}

fn reveal<T>(values: &[T]) {
    ask(Request::MakeDefined, values.as_ptr() as usize, size_of_val(values));
}

/// Randomness that nobody knows.
struct Concealed(ChaCha20Rng);

impl TryRng for Concealed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut value = [self.0.next_u32()];
        conceal(&mut value);
        Ok(value[0])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut value = [self.0.next_u64()];
        conceal(&mut value);
        Ok(value[0])
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        conceal(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Concealed {}

fn random() -> Concealed {
    Concealed(ChaCha20Rng::seed_from_u64(1))
}

fn secret() -> ScalarSecret {
    ScalarSecret::random(&mut random())
}

/// Somebody else's public key.
fn public() -> Element {
    ScalarSecret::random(&mut ChaCha20Rng::seed_from_u64(2)).public()
}

/// An own public key, as everybody sees it.
fn published(secret: &ScalarSecret) -> Element {
    let element = [secret.public()];
    reveal(&element);
    element[0]
}

fn context() -> MaskContext {
    let digest = Digest([3; 32]);
    MaskContext {
        epoch: digest,
        plan: digest,
        manifest: digest,
        round: Round(1),
        block: BlockId(0),
        ring_bits: 32,
        // No multiple of four: words remain that fill no register.
        length: 1003,
    }
}

fn key_agreement() {
    black_box(published(&secret()));
    black_box(secret().agree(&public()));
}

fn knowledge_proof() {
    black_box(prove_knowledge(&secret(), b"context", &mut random()));
}

fn agreement_proof() {
    black_box(prove_agreement(&secret(), &public(), b"context", &mut random()));
}

fn shares() {
    let sharing = SharingSecret::new(&secret(), 3, &mut random());
    for custodian in (1..=5).map(PartyId) {
        black_box(sharing.share_of(custodian));
    }
}

/// The commitments are public; what they are made of is not.
fn commitments() {
    black_box(SharingSecret::new(&secret(), 3, &mut random()).commitments());
}

fn bases() -> SeedBases {
    SeedBases::new(Digest([1; 32]), Round(1), Digest([2; 32]), 4)
}

fn seeds() {
    black_box(bases().seed(&secret(), BlockId(1)));
}

/// Makes the seed of a block known to everybody, as a reveal does, and proves it: the key stays secret.
fn seed_proof() {
    let secret = secret();
    let seeds = bases().seeds(&secret, &[BlockId(0), BlockId(3)]);
    let public = [secret.public()];
    reveal(&seeds);
    reveal(&public);
    black_box(bases().prove((PartyId(1), PartyId(2)), (&secret, &public[0]), &seeds));
}

fn sealing() {
    let mut content = [9; 96];
    conceal(&mut content);
    black_box(letter::seal(&content, &public(), b"context", &mut random()));
}

fn masks() {
    let mut words = vec![5; 1003];
    conceal(&mut words);
    let seed = SeedSecret::from(&ScalarSecret::random(&mut random()).public());
    context().self_key(PartyId(1), &seed).apply(Sign::Plus, &mut words);
    context().pair_key(PartyId(1), PartyId(2), &secret().agree(&public())).apply(Sign::Minus, &mut words);
    black_box(words);
}

/// Every kernel on vectors that end where their memory does, so that memcheck sees accesses beyond the end.
fn kernels() {
    let mut bytes = [6; 32];
    conceal(&mut bytes);
    for kernel in Kernel::available() {
        for length in 0..200 {
            let mut words = vec![7; length];
            kernel.apply(&StreamSecret::new(&bytes), Sign::Plus, &mut words);
            black_box(words);
        }
    }
}

/// Control: a comparison that ends at the first difference.
fn early_exit() {
    let (one, other) = (secret().reveal(), ScalarSecret::random(&mut random()).reveal());
    black_box(one.iter().zip(other.iter()).all(|(one, other)| black_box(one == other)));
}

/// Control: a table that a secret is the index of.
fn lookup() {
    let table: Vec<u8> = (0..=255).collect();
    black_box(black_box(table)[usize::from(secret().reveal()[0])]);
}

struct Path {
    name: &'static str,
    run: fn(),
    /// Whether it leaks on purpose.
    leaks: bool,
}

const PATHS: [Path; 12] = [
    Path { name: "key agreement", run: key_agreement, leaks: false },
    Path { name: "proof of knowledge", run: knowledge_proof, leaks: false },
    Path { name: "proof of agreement", run: agreement_proof, leaks: false },
    Path { name: "shares", run: shares, leaks: false },
    Path { name: "commitments", run: commitments, leaks: false },
    Path { name: "seeds", run: seeds, leaks: false },
    Path { name: "proof about seeds", run: seed_proof, leaks: false },
    Path { name: "sealing a letter", run: sealing, leaks: false },
    Path { name: "masks", run: masks, leaks: false },
    Path { name: "kernels", run: kernels, leaks: false },
    Path { name: "control: early exit", run: early_exit, leaks: true },
    Path { name: "control: lookup", run: lookup, leaks: true },
];

fn errors() -> usize {
    ask(Request::CountErrors, 0, 0)
}

fn main() -> ExitCode {
    if ask(Request::RunningOnValgrind, 0, 0) == 0 {
        eprintln!("this runs under Valgrind alone: `cargo xtask constant-time`");
        return ExitCode::from(2);
    }
    let kernels: Vec<&str> = Kernel::available().into_iter().map(Kernel::name).collect();
    println!("kernels of masks here: {}", kernels.join(", "));
    let mut all_as_expected = true;
    for path in &PATHS {
        let before = errors();
        (path.run)();
        let found = errors() - before;
        let as_expected = (found > 0) == path.leaks;
        all_as_expected &= as_expected;
        let word = if as_expected { "ok" } else { "WRONG" };
        println!("{:<22}{found:>6} reports   {word}", path.name);
    }
    if all_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
