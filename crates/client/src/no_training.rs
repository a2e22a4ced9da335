//! What takes the place of training in a build without it. The type has no value, so a client of such a build has no
//! member's part: it can only be a custodian.

use crate::jobs::TrainingThread;

pub use NoTraining as TrainingConfig;

/// What a hospital trains on and with: nothing.
#[derive(Clone, Debug)]
pub enum NoTraining {}

impl NoTraining {
    pub(crate) fn group_by(&self) -> Option<String> {
        match *self {}
    }

    pub(crate) fn spawn(self) -> TrainingThread {
        match self {}
    }
}
