//! Whole rounds in one process: the real state machines of a coordinator and its parties over a seeded network.
//!
//! Every frame is encoded and decoded on its way, so that what is run is what travels.

mod cluster;
pub mod consortium;
pub mod plan;

pub use cluster::{Cluster, DropOut, PartyNode, policy};
