//! Settings of scores that members compute themselves.

/// How members score themselves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WithheldScores {
    /// Groups of experts; 0 for as many as there are experts.
    pub groups: usize,
    /// Standard deviation of the noise on each score.
    pub noise: f64,
}
