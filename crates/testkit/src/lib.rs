//! Attackers and worlds with faults, for tests.
//!
//! - [`world`]: a coordinator and its parties whose links break, whose programs restart from their disks, and whose frames a
//!   test can hold back, change or repeat.
//! - [`attacker`]: a coordinator's key in the wrong hands: it sees every frame, and proposes whatever could split the
//!   custodians.
//! - [`byzantine`]: a custodian that signs and reveals everything.
//!
//! # What it is not
//! This crate is for tests alone. The shipped program must not link it: `cargo xtask fence` fails if any chain of dependencies
//! leads there from `cloister-cli`. The honest cluster in one process, which the lab uses, is `cloister-cluster`.
//!
//! # Example
//! One of seven custodians signs and reveals everything, and the round closes all the same:
//!
//! ```
//! use cloister_cluster::consortium::consortium;
//! use cloister_cluster::plan::template;
//! use cloister_params::id::PartyId;
//! use cloister_testkit::world::{Observation, World};
//!
//! let mut world = World::new(consortium(&[1; 7]), template(3, 5, 1), 7);
//! world.corrupt_custodian(PartyId(2));
//! world.start_round();
//! // Deliver every frame, and let deadlines pass that still wait for the liar.
//! for _ in 0..8 {
//!     world.settle();
//!     world.expire();
//! }
//! let is_end = |observation: &Observation| matches!(observation, Observation::Ended(_));
//! assert!(world.observations.iter().any(is_end));
//! ```

pub mod attacker;
pub mod byzantine;
mod node;
pub mod world;
