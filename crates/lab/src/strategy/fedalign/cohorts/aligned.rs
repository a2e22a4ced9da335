//! The aligned members, as in `protocols/alignment.md`.

use super::{ScoredExpert, shares_of_cohort};

pub(super) fn shares(expert: &ScoredExpert<'_>) -> Vec<f64> {
    shares_of_cohort(&expert.scores.aligned, expert.updates)
}
