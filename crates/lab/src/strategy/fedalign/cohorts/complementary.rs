//! Cohorts of those that agree least, as large as the aligned ones: a control that should do worse than chance.

use super::{ScoredExpert, membership, shares_of_cohort};

pub(super) fn shares(expert: &ScoredExpert<'_>) -> Vec<f64> {
    let mut by_consensus: Vec<(f64, usize)> = Vec::new();
    for (member, consensus) in expert.scores.consensus.iter().enumerate() {
        by_consensus.extend(consensus.map(|consensus| (consensus, member)));
    }
    // The sort is stable, so members of equal consensus stay in order and a run can be repeated.
    by_consensus.sort_by(|one, other| one.0.total_cmp(&other.0));
    let least: Vec<usize> =
        by_consensus.into_iter().take(expert.aligned_count()).map(|(_, member)| member).collect();
    shares_of_cohort(&membership(expert.roles.len(), &least), expert.updates)
}
