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
    /// The plan of the contribution that outlasts this rehearsal, if an abort left one (`ROUND-39`).
    pub(super) outlasting: Option<Box<RoundPlan>>,
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
            Self::Training(mut training) if training.digest == digest => {
                *self = Self::with_contribution(training.outlasting.take());
                Some(training)
            }
            unexpected => {
                *self = unexpected;
                None
            }
        }
    }

    /// Ends whatever an earlier plan began, because another plan came. Returns the plan of the contribution that outlasts the
    /// new one, if that is a rehearsal.
    pub(super) fn replace(&mut self, is_rehearsal: bool) -> Option<Box<RoundPlan>> {
        self.end_rehearsal();
        self.take_contributed().filter(|_| is_rehearsal)
    }

    /// Ends the training in progress. What outlasts it waits for its closing again.
    pub(super) fn end_rehearsal(&mut self) {
        if let Self::Training(training) = self {
            *self = Self::with_contribution(training.outlasting.take());
        }
    }

    /// Whether a contribution waits for its closing.
    pub(super) fn with_contribution(plan: Option<Box<RoundPlan>>) -> Self {
        plan.map_or(Self::WaitingForPlan, Self::Contributed)
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
