//! The privacy gate: from a training result and a permit of the ledger to the contribution that may leave a hospital.
//!
//! [`prepare`] is the only way from the one to the other. It clips and quantises each block's update, sketches each expert,
//! and adds the noise that the plan asks for. [`averaging`] says how a trainer must average over records, so that the gate
//! can release the averages.
//!
//! # What it is not
//! This crate has no IO, no clock and no randomness of the system: the same arguments give the same contribution. It does not
//! decide whether a contribution may be made. The privacy ledger does, and its permit is an argument that is used up. It does
//! not mask anything: that is the protocol's. It does not train: a result comes as plain vectors ([`cloister_updates`]), so
//! the crate needs no libtorch.
//!
//! # Trust
//! Training results may be wrong in any way: what leaves is clipped to the plan's scale whatever a trainer produced. The caller
//! is trusted to pass randomness that nobody else knows, and a plan that the member has accepted.
//!
//! # Example
//! The ledger is charged for a round, and its permit allows one contribution to this round:
//!
//! ```
//! use cloister_cluster::plan::{model, template};
//! use cloister_gate::{PrepareError, prepare};
//! use cloister_params::id::{Digest, Round};
//! use cloister_params::limits::PrivacyUnit;
//! use cloister_params::plan::RoundPlan;
//! use cloister_privacy::ledger::{Charge, Ledger, Opening};
//! use cloister_privacy::release::releases;
//! use cloister_updates::{BlockVectors, ExpertRegion, LocalResult};
//! use rand_chacha::ChaCha20Rng;
//! use rand_core::SeedableRng;
//!
//! // A small plan with two experts, and the model that its round starts from.
//! let settings = template(2, 5, 1);
//! let global = model(&settings);
//! let plan = RoundPlan {
//!     epoch: Digest::default(),
//!     round: Round(1),
//!     previous: Digest::default(),
//!     model: global.digest(),
//!     parameters: global.block_digests(),
//!     custodians: vec![],
//!     barred: vec![],
//!     settings: settings.clone(),
//! };
//!
//! // A training that moved every parameter by 1000, which is far beyond the clip.
//! let table: Vec<_> = settings.blocks.iter().map(|block| block.shape).collect();
//! let moved = table.iter().map(|shape| vec![1000.0; shape.length as usize]).collect();
//! let region = |expert| ExpertRegion { layer: 0, expert, mean_hidden: vec![0.5; 8], tokens: 40 };
//! let local = LocalResult {
//!     updates: BlockVectors::new(table, moved)?,
//!     regions: vec![region(0), region(1)],
//!     margins: vec![vec![0.5; 2]],
//!     loss_first: 1.0,
//!     loss_last: 0.5,
//!     truncated: 0,
//!     notes: 10,
//!     by_record: None,
//! };
//!
//! // Each contribution is charged before it is made.
//! let path = std::env::temp_dir().join(format!("cloister-gate-{}", std::process::id()));
//! let opening = Opening { holder: "a hospital".into(), unit: PrivacyUnit::Record, group_by: None };
//! let mut ledger = Ledger::open(&path, opening)?;
//! let charge = |round| -> Result<Charge, Box<dyn std::error::Error>> {
//!     let releases = releases(&plan.settings, PrivacyUnit::Record)?;
//!     Ok(Charge { epoch: plan.epoch, round, model: plan.model, releases, at: None })
//! };
//!
//! let mut random = ChaCha20Rng::seed_from_u64(1);
//! let permit = ledger.charge(charge(Round(1))?, None)?;
//! let (contribution, clipped) = prepare(&plan, &global, &local, permit, &mut random)?;
//! assert_eq!(contribution.sketches.len(), 2);
//! assert!(clipped > 0);
//!
//! // A permit for another round does not allow it.
//! let permit = ledger.charge(charge(Round(2))?, None)?;
//! let refused = prepare(&plan, &global, &local, permit, &mut random);
//! assert!(matches!(refused, Err(PrepareError::Permit { charged: Round(2), round: Round(1) })));
//! # std::fs::remove_file(path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod prepare;
#[cfg(test)]
mod samples;
mod scores;
mod sketches;

pub use error::PrepareError;
pub use prepare::{LocalWork, averaging, prepare};
