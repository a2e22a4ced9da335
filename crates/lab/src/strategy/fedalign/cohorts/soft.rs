//! Everyone by consensus: the paper's soft form, in which no member is left out entirely.

use cloister_alignment::reference::soft_weights;

use super::ScoredExpert;

pub(super) fn shares(expert: &ScoredExpert<'_>) -> Vec<f64> {
    soft_weights(expert.roles, &expert.scores)
}
