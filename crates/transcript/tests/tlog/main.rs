//! The public log against the examples of its specifications, against other implementations, and against tampering.

// This suite writes files for another program and reads which Python to use.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod checkpoints;
mod implementations;
mod notes;
mod proofs;
mod python;
mod tiles;
mod world;
