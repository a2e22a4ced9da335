//! Settings of scores that members compute themselves.

/// How members score themselves. By default each expert has a score, without noise.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct WithheldScores {
    /// Groups of experts; 0 for as many as there are experts.
    pub groups: usize,
    /// Standard deviation of the noise on each score.
    pub noise: f64,
}

/// The number of groups of so many experts: as many as there are if it is 0, and never more.
pub(crate) fn groups_of(groups: usize, experts: usize) -> usize {
    if groups == 0 { experts } else { groups.min(experts) }
}
