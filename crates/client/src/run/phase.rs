//! Where this hospital's contribution to the current round stands.

use std::mem;

use cloister_params::id::Digest;
use cloister_params::plan::RoundPlan;

use crate::jobs::LocalSeed;

/// A training that the thread was asked for.
pub(super) struct PlannedTraining {
    /// Digest of the plan, by which the thread's report names it.
    pub(super) digest: Digest,
    pub(super) plan: Box<RoundPlan>,
    pub(super) seed: LocalSeed,
}

/// What this hospital's member does next. The protocol's own state is in the member; this says what the training thread and the
/// privacy account still owe it.
#[derive(Default)]
pub(super) enum ContributionPhase {
    /// No training is in progress, and no contribution waits for its closing.
    #[default]
    WaitingForPlan,
    /// The training thread works on this plan. Results for any other plan are dropped.
    Training(PlannedTraining),
    /// A contribution was charged and given to the member under this plan, and no closing has summed it yet.
    Contributed(Box<RoundPlan>),
}

impl ContributionPhase {
    /// Ends the training for the plan of this digest. A result for a plan that was replaced since changes nothing.
    pub(super) fn take_training(&mut self, digest: Digest) -> Option<PlannedTraining> {
        match mem::take(self) {
            Self::Training(training) if training.digest == digest => Some(training),
            unexpected => {
                *self = unexpected;
                None
            }
        }
    }

    /// Ends the contribution with a closing, and returns the plan that it was charged for, if there is one.
    /// A closing whose sums lack this hospital ends it too: what follows is trained and charged anew.
    pub(super) fn take_contributed(&mut self) -> Option<Box<RoundPlan>> {
        match mem::take(self) {
            Self::Contributed(plan) => Some(plan),
            unexpected => {
                *self = unexpected;
                None
            }
        }
    }
}
