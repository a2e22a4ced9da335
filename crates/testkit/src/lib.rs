//! Attackers and faulty worlds for tests: a coordinator that lies, custodians that sign and reveal everything, frames that
//! are lost or late, programs that restart.
//!
//! What the shipped program links of this kind, the honest cluster in one process, is `cloister-cluster`; `cargo xtask fence`
//! fails if the program could reach this crate.

pub mod attacker;
pub mod byzantine;
mod node;
pub mod world;
