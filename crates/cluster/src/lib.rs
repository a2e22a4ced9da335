//! Whole rounds in one process: the real state machines of a coordinator and its parties, over a seeded network.
//!
//! - [`Cluster`] runs a coordinator and its parties. Every frame is encoded and decoded on its way, so that what is run is what
//!   travels.
//! - [`consortium`] makes consortia whose keys follow from the parties' numbers.
//! - [`plan`] makes small plans, models and random contributions.
//!
//! # What it is not
//! There is no network, disk or clock here, and no attacker. Lying parties and worlds with faults are in `cloister-testkit`,
//! which only tests may link. Training is not here either: the caller says what each member contributes.
//!
//! # Trust
//! None: all keys follow from public numbers. A cluster is for research and for tests, and protects nobody's data.
//!
//! # Example
//! Seven hospitals sum their updates in one round, although one of them is lost in the middle of its upload:
//!
//! ```
//! use cloister_cluster::consortium::consortium;
//! use cloister_cluster::plan::template;
//! use cloister_cluster::{Cluster, DropOut};
//! use cloister_params::id::PartyId;
//!
//! // Seven organisations of weight 1, a plan with three experts, and the seed of network and contributions.
//! let mut cluster = Cluster::new(consortium(&[1; 7]), template(3, 5, 1), 42);
//! cluster.drop_member(PartyId(2), DropOut::InUpload(1));
//! let report = cluster.run_round().expect("enough custodians are up");
//! assert_eq!(report.announced.len(), 7);
//! assert_eq!(report.uploaded.len(), 6, "hospital 2 was lost");
//! assert!(!report.sums.is_empty());
//! ```

mod cluster;
pub mod consortium;
pub mod plan;

pub use cluster::{Cluster, DropOut, PartyNode};
pub use consortium::policy;
