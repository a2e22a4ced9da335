//! The scoring rule of a plan.

use serde::{Deserialize, Serialize};

use super::SketchForm;

/// How the centre and the spread of the region agreements are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Threshold {
    /// Mean and standard deviation, as in the paper.
    MeanDeviation,
    /// Median and median absolute deviation, robust against outliers.
    MedianDeviation,
}

/// What happens to a scored block whose cohort would be smaller than the floor plus the slack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fallback {
    /// The cohort is everyone who announced.
    Everyone,
    /// The block is void this round.
    Skip,
}

/// Whose update is summed for the shared parameters, which include the classifier's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SharedCohort {
    /// Everyone who announced.
    Everyone,
    /// The members that most of the experts with a consensus for them align (`ALIGN-09`). It fits consortia
    /// whose members have similar mixes of labels, while some members' labels may be wrong.
    Majority,
}

/// The scoring rule with its constants (`protocols/alignment.md`). Fractions are in 256ths, so that scoring
/// is integer arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScoringRule {
    /// What members announce of their experts, and how they are compared. By default pairs.
    #[serde(default)]
    pub sketches: SketchForm,
    /// Into how many groups experts are divided if sketches are withheld. A member announces one number for each. 0 in
    /// other forms.
    #[serde(default)]
    pub groups: u16,
    /// Standard deviation of the noise on each of these numbers, in units of 2⁻¹⁴; 0 is no noise. 0 in other forms.
    #[serde(default)]
    pub score_noise: u16,
    /// How the centre and the spread of the agreements of pairs are measured. Signs have no threshold.
    pub threshold: Threshold,
    /// `beta`: how many spreads below the centre the threshold lies, in 256ths.
    pub spread_factor: u16,
    /// The least consensus of a cohort member, as a fraction of the median consensus, in 256ths.
    pub consensus_fraction: u16,
    /// The fewest tokens, noise included, with which a member counts for an expert.
    pub minimum_tokens: u32,
    /// Organisations above the floor that a scored cohort must have, so that it stays valid after dropouts.
    pub slack: u16,
    /// What happens to a cohort below floor plus slack.
    pub fallback: Fallback,
    /// The cohort of the shared parameters.
    pub shared_cohort: SharedCohort,
}

impl ScoringRule {
    /// The largest token count that a member announces, in tokens; larger counts are cut to it. Scoring only
    /// asks whether a count reaches the minimum, and each token more would cost privacy (`PRIV-04`).
    pub fn largest_count(&self) -> u32 {
        self.minimum_tokens.saturating_mul(2)
    }

    /// The least noise on token counts (`PLAN-17`), in tokens: an eighth of the minimum, and at least 1.
    pub fn least_count_noise(&self) -> u32 {
        self.minimum_tokens.div_ceil(8).max(1)
    }
}
