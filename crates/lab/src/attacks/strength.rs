//! How much the attacked rounds cost.

/// `rho` of a round whose noise covers a whole member.
pub(crate) const COVERING: f64 = 1.125;
/// `rho` of a round whose noise leaves sketches useful for choosing cohorts.
pub(crate) const SLIGHT: f64 = 4000.0;
