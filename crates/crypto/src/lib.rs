//! The cryptography of a round: key agreement, signatures, Shamir shares in sealed letters, commitments, proofs
//! of knowledge, masks.
//!
//! Randomness is always an argument. Types that end in `Secret` or `Key` are erased when dropped and cannot be
//! printed. This is the only crate that names `ring`, `curve25519-dalek` and the stream cipher.

pub mod commitment;
pub mod consortium;
pub mod group;
pub mod hash;
pub mod keystream;
pub mod letter;
pub mod mask;
pub mod merkle;
pub mod shamir;
pub mod sign;
