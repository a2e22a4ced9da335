//! The cryptography of a round: key agreement, signatures, verifiable shares in sealed letters, seeds, proofs, masks.
//!
//! Randomness is always an argument. Types that end in `Secret` or `Key` are erased when dropped and cannot be
//! printed. This is the only crate that names `ring`, `curve25519-dalek` and the stream cipher.

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
