//! What all parties of a consortium agree on before a round.
//!
//! - [`consortium`]: who takes part, with keys and roles; [`floors`]: the fewest organisations that follow
//!   from it.
//! - [`plan`]: everything that a round fixes before anybody trains, with the checks that every party makes.
//! - [`policy`]: what one party accepts of a plan, whatever the coordinator proposes; [`limits`]: its privacy
//!   budget.
//! - [`block`], [`fixed`], [`late`]: the parts of a model that are summed, their integers, and their late
//!   sketches.
//!
//! # What it is not
//! Nothing here does IO, holds a secret, hashes or checks a signature. A [`consortium::Consortium`] obeys its
//! rules, but only `cloister_crypto::consortium::Epoch` shows that the governance key signed it. What a
//! release costs is counted in `cloister_privacy`.
//!
//! # Trust
//! A plan comes from the coordinator, which nobody has to trust: [`plan::CheckedPlan::check`] rejects a plan
//! that breaks a rule of the specification, and [`policy::Policy::admit`] one that is looser than this party
//! wants. Requirement ids such as `PLAN-04` refer to `protocols/`.
//!
//! # Example
//! A hospital's policy admits the settings of a round, until they have less noise than it demands:
//!
//! ```
//! use cloister_params::floors::Floors;
//! use cloister_params::plan::RoundSettings;
//! use cloister_params::policy::{Policy, PolicyRefusal};
//!
//! let settings = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config/private/settings.toml"));
//! let policy = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config/private/policy.toml"));
//! let mut settings = RoundSettings::parse(settings)?;
//! let policy = Policy::parse(policy)?;
//! assert_eq!(policy.admit_settings(&settings), Ok(()));
//!
//! settings.training.private.as_mut().unwrap().noise_multiplier_milli = 1399;
//! let refusal = policy.admit_settings(&settings);
//! assert_eq!(refusal, Err(PolicyRefusal::NoiseMultiplier { got: 1399, limit: 1400 }));
//!
//! // Whatever a policy says, ten organisations with ten custodians open no sum over fewer than six of them.
//! assert_eq!(Floors::for_roster(10, 10)?.cohort, 6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod block;
pub mod consortium;
pub mod evaluation;
pub mod fixed;
pub mod floors;
pub mod id;
pub mod late;
pub mod limits;
pub mod per_block;
pub mod plan;
mod planned_block;
pub mod policy;
pub mod router;
pub mod rule;
pub mod time;
