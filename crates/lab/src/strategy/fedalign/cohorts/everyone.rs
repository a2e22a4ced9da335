//! Everyone: what choosing cohorts adds over not choosing any.

use super::ScoredExpert;

pub(super) fn shares(expert: &ScoredExpert<'_>) -> Vec<f64> {
    expert.updates.by_texts()
}
