//! Whole rounds in one process: the real state machines over a seeded network, with drop-outs at every step.
//!
//! Every frame is encoded and decoded on its way, so that what is tested is what travels.

pub mod attacker;
pub mod byzantine;
pub mod cluster;
pub mod consortium;
mod node;
pub mod plan;
pub mod world;
