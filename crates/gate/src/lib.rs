//! The privacy gate: from a training result and a permit of the ledger to the contribution that may leave a hospital.
//!
//! This crate has no IO, no clock and no randomness of the system: the same arguments give the same contribution.

mod prepare;

pub use prepare::{PrepareError, averaging, prepare};
