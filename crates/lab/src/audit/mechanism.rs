//! What can be audited, and what an audit sees of it.

use cloister_privacy::accountant::Account;
use cloister_privacy::release::Released;
use serde::Serialize;

use super::noise::NoiseSeen;
use crate::error::LabError;

/// What a claim is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditSubject {
    /// Everything that a round releases.
    Round,
    /// Releases of one kind.
    #[serde(untagged)]
    Release(Released),
}

impl AuditSubject {
    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Round => "everything in a round",
            Self::Release(released) => released.in_words(),
        }
    }
}

/// What is seen of releases in which canaries were included or not.
#[derive(Clone, Debug)]
pub struct CanaryEvidence {
    /// What was released.
    pub(crate) subject: AuditSubject,
    /// What the accountant says that it costs one canary to be there.
    pub(crate) claimed: Account,
    /// The furthest that a canary moves the release before noise, over what is charged for.
    pub(crate) moved: f64,
    /// A score of each canary, from nothing but the release: the likelier that it was included, the higher. A score of 0 is
    /// undecided by what the mechanism is said to be.
    pub(crate) scores: Vec<f64>,
    /// Whether each was included.
    pub(crate) included: Vec<bool>,
    /// What the noise looks like.
    pub(crate) noise: NoiseSeen,
}

impl CanaryEvidence {
    /// The scores of the canaries that were included, or of those that were not.
    pub(crate) fn scores_where(&self, wanted: bool) -> Vec<f64> {
        let scores = self.scores.iter().zip(&self.included);
        scores.filter(|(_, included)| **included == wanted).map(|(score, _)| *score).collect()
    }
}

/// A mechanism that canaries pass through, each included with probability ½.
pub trait AuditedMechanism {
    /// Releases what so many canaries make, or a few more, and scores them for each subject.
    ///
    /// # Errors
    /// A release that fails, or a plan whose charges cannot be computed.
    fn evidence(&self, canaries: usize, seed: u64) -> Result<Vec<CanaryEvidence>, LabError>;
}
