//! Privacy that is accounted for: exact noise, what it costs, and the ledger that keeps the cost within a
//! budget.
//!
//! - [`release`]: what a round releases of a member's data, from its plan alone.
//! - [`accountant`]: what releases cost together, as (ε, δ); [`concentrated`]: the cost of one noised vector.
//! - [`budget`]: whether a further release fits; [`ledger`]: the file of everything that was released,
//!   without whose permit nothing is.
//! - [`explanation`], [`statement`]: what a ledger says, for people and for programs.
//! - [`planning`]: from a target ε to the noise that keeps to it; [`accuracy`]: what that noise cost in an
//!   experiment.
//! - [`discrete_gaussian`]: the sampler of the noise.
//!
//! # What it is not
//! The accountant counts what a plan says. That a member clips, samples and adds noise as planned is up to
//! the member's own program: a hospital's ledger is a promise to its own patients, and no proof for others.
//! Who takes part, how long training takes and how large messages are is not counted ([`statement`] lists
//! what is not covered).
//!
//! # Trust
//! A hospital trusts its own ledger file and its disk. The noise of the member itself and of two honest
//! companions is counted, and no other (`PRIV-02`); the coordinator may see everything that leaves the
//! hospital. `opendp`'s proven maps give the cost of noised vectors; composition by privacy loss
//! distributions is computed here and compared with PyPI `dp-accounting`.
//!
//! # Example
//! From mechanisms to ε: 1000 steps of DP-SGD, each on one percent of the records, beside a sum with discrete
//! Gaussian noise.
//!
//! ```
//! use cloister_privacy::{Account, Budget, Mechanism};
//!
//! let mut account = Account::default();
//! account.add(Mechanism::Gaussian { noise_multiplier: 1.0, sampling_probability: 0.01 }, 1000);
//! let training = account.epsilon(1e-5);
//! assert_eq!(training.method, "pld");
//! assert!((1.82..1.84).contains(&training.epsilon));
//!
//! let sum = Mechanism::DiscreteGaussian { sigma: 400, parties: 3, coordinates: 64, sensitivity: 200.0 };
//! account.add(sum, 1);
//! let together = account.epsilon(1e-5).epsilon;
//! assert!(training.epsilon < together && together < 3.0);
//!
//! // A filter decides before each release whether the budget has room for it. It holds for releases that are chosen
//! // one after another, so that it counts a little more than the accountant does afterwards.
//! let budget = Budget::new(4.0, 1e-5)?;
//! assert!(budget.epsilon_by_filter(&account) > together);
//! assert!(budget.admit(&account).is_ok());
//! account.add(sum, 20);
//! assert!(budget.admit(&account).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod accountant;
pub mod accuracy;
pub mod budget;
pub mod closed;
pub mod concentrated;
pub mod discrete_gaussian;
pub mod explanation;
pub mod ledger;
pub mod planning;
pub mod release;
pub mod statement;

pub use accountant::{Account, Epsilon, Mechanism};
pub use budget::Budget;
pub use explanation::Explanation;
pub use ledger::{History, Ledger, ReleasePermit};
pub use release::releases;
pub use statement::Statement;
