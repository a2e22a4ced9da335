//! What can be audited.

use cloister_privacy::accountant::Account;

use crate::error::LabError;

/// A mechanism that canaries pass through, each included or left out.
pub trait Mechanism {
    /// What the accountant says that it costs one canary to be there.
    ///
    /// # Errors
    /// A plan whose charges cannot be computed.
    fn claimed(&self) -> Result<Account, LabError>;

    /// Releases what canaries of which these are included make, and scores each canary from nothing but the release: the
    /// likelier that it was included, the higher. A score of 0 is undecided by what the mechanism is said to be.
    ///
    /// # Errors
    /// A release that fails.
    fn scores(&mut self, included: &[bool], seed: u64) -> Result<Vec<f64>, LabError>;
}
