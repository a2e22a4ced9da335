//! The cryptography of a round: key agreement, signatures, verifiable shares in sealed letters, seeds,
//! proofs, masks.
//!
//! - [`consortium`], [`sign`]: who is who. An accepted consortium file, and Ed25519 signatures.
//! - [`mask`], [`keystream`]: pair masks, which cancel in a sum, and self masks, which revealed seeds remove.
//! - [`group`], [`shamir`], [`sharing`], [`letter`]: a member's keys of one round, and the shares of them
//!   that custodians receive in sealed letters.
//! - [`seed`]: the seeds of self masks, and the proof that they are right.
//! - [`hash`], [`merkle`]: digests with a domain for each use, and trees of them.
//!
//! # What it is not
//! It has no protocol: when a seed may be revealed and which sums may be opened, `cloister_protocol` decides.
//! It draws no randomness and reads no clock. Pair masks and letters are not secret from a quantum computer.
//!
//! # Trust
//! Randomness is always an argument, and it must be cryptographic. The primitives are those of `ring`,
//! `curve25519-dalek` and `aes`; no other crate names them. Types that end in `Secret` or `Key` are erased
//! when dropped and cannot be printed; only `SigningKey` is not erased, because `ring` holds its key. Each
//! module says which assumption it rests on, what it gives and what it does not. What works on a secret takes
//! a time that does not depend on it (`cargo xtask constant-time`); functions that work on public values say
//! so.
//!
//! # Example
//! Two members mask their uploads. Each upload alone looks random, and the masks cancel in the sum:
//!
//! ```
//! use cloister_crypto::{MaskContext, ScalarSecret, Sign};
//! use cloister_params::id::{BlockId, Digest, PartyId, Round};
//! use rand_core::SeedableRng;
//!
//! // A program takes the system's randomness.
//! let mut random = rand_chacha::ChaCha20Rng::seed_from_u64(1);
//! let (north, south) = (PartyId(1), PartyId(2));
//! let (north_key, south_key) = (ScalarSecret::random(&mut random), ScalarSecret::random(&mut random));
//! let context = MaskContext {
//!     epoch: Digest([1; 32]),
//!     plan: Digest([2; 32]),
//!     manifest: Digest([3; 32]),
//!     round: Round::FIRST,
//!     block: BlockId(0),
//!     ring_bits: 32,
//!     length: 4,
//! };
//!
//! let (mut from_north, mut from_south) = ([10u32, 20, 30, 40], [1, 2, 3, 4]);
//! let mask = context.pair_key(north, south, &north_key.agree(&south_key.public()));
//! mask.apply(Sign::for_pair(north, south), &mut from_north);
//! let mask = context.pair_key(south, north, &south_key.agree(&north_key.public()));
//! mask.apply(Sign::for_pair(south, north), &mut from_south);
//!
//! assert_ne!(from_north, [10, 20, 30, 40]);
//! let sum: Vec<u32> = from_north.iter().zip(from_south).map(|(one, other)| one.wrapping_add(other)).collect();
//! assert_eq!(sum, [11, 22, 33, 44]);
//! ```

pub mod consortium;
pub mod group;
pub mod hash;
pub mod keystream;
pub mod letter;
pub mod mask;
pub mod merkle;
pub mod seed;
pub mod shamir;
pub mod sharing;
pub mod sign;

pub use consortium::Epoch;
pub use group::{Element, ScalarSecret};
pub use keystream::Sign;
pub use mask::{MaskContext, MaskKey};
pub use seed::{SeedBases, SeedSecret};
pub use sign::SigningKey;
