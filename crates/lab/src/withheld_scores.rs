//! Settings of scores that members compute themselves.

/// How members score themselves. By default each expert has a score, without noise.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct WithheldScores {
    /// Groups of experts; 0 for as many as there are experts.
    pub groups: usize,
    /// Standard deviation of the noise on each score.
    pub noise: f64,
}
