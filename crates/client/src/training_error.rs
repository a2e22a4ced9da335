//! Why there is no training result. A build without training has no such reason, and the type has no value.

#[cfg(feature = "training")]
use cloister_experts::ExpertsError;
#[cfg(feature = "training")]
use cloister_trainer::TrainerError;
use thiserror::Error;

/// Why there is no training result.
#[derive(Debug, Error)]
pub enum TrainingError {
    /// The built-in trainer failed, or its files or the hospital's notes cannot be used.
    #[cfg(feature = "training")]
    #[error(transparent)]
    Experts(#[from] ExpertsError),
    /// The hospital's training program failed, or wrote something that its contract does not allow.
    #[cfg(feature = "training")]
    #[error(transparent)]
    Program(#[from] TrainerError),
    /// The plan asks for DP-SGD, and nobody can check from outside that a program of the hospital's own does it.
    #[cfg(feature = "training")]
    #[error(
        "the plan asks for training with DP-SGD, which a program given by --trainer-cmd cannot be checked for; leave \
         --trainer-cmd out, or do not take part in these rounds"
    )]
    PrivateProgram,
}
