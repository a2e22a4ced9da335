//! What can be audited, and the evidence that an audit collects.

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
    /// Signs of noised regions and updates, which are products of both.
    Signs,
    /// Releases of one kind.
    #[serde(untagged)]
    Release(Released),
}

impl AuditSubject {
    /// In words, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Round => "everything in a round",
            Self::Signs => "signs of noised regions and updates",
            Self::Release(released) => released.in_words(),
        }
    }
}

/// What an audit knows about releases in which canaries were included or not.
#[derive(Clone, Debug)]
pub struct CanaryEvidence {
    /// What was released.
    pub(crate) subject: AuditSubject,
    /// The accountant's charge for including one canary.
    pub(crate) claimed: Account,
    /// The furthest that a canary moves the release before noise, divided by the sensitivity that is charged.
    pub(crate) moved: f64,
    /// A score of each canary, from the release alone: its log-likelihood ratio under the claimed noise.
    /// Above 0, inclusion is likelier.
    pub(crate) scores: Vec<f64>,
    /// Whether each was included.
    pub(crate) included: Vec<bool>,
    /// Tests of the noise itself.
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
    /// Releases what at least so many canaries contribute, and scores them for each subject. Whole rounds and
    /// steps are run, so there may be a few canaries more.
    fn evidence(&self, canaries: usize, seed: u64) -> Result<Vec<CanaryEvidence>, LabError>;
}
