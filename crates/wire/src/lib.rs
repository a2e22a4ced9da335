//! What travels: statements that parties sign, messages that carry them, and frames.
//!
//! Every decoder is bounded, rejects trailing and non-canonical bytes, and never allocates by a peer's word
//! (`WIRE-01` to `WIRE-04`). Signatures cover the bytes of a body as they came. This is the only crate that names
//! `bincode`, which is unmaintained (RUSTSEC-2025-0141): its use is one module, [`codec`].

pub mod codec;
pub mod frame;
pub mod message;
pub mod opening;
pub mod statement;
