//! Cohorts drawn at random, as large as the aligned ones: whether it matters who is chosen, or only how many.

use super::{ScoredExpert, membership, shares_of_cohort};
use crate::seeds::{Purpose, seed_for};
use crate::shuffle::shuffled;

/// As many members as align, drawn for each block and round.
pub(super) fn shares(expert: &ScoredExpert<'_>) -> Vec<f64> {
    let members = expert.roles.len();
    let purpose = Purpose::RandomCohort { block: expert.block, round: expert.updates.round };
    let order = shuffled((0..members).collect(), seed_for(expert.seed, purpose));
    shares_of_cohort(&membership(members, &order[..expert.aligned_count()]), expert.updates)
}
