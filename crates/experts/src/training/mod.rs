//! What the built-in classifier and published models train with.

pub(crate) mod losses;
pub mod memory;
pub(crate) mod optimizer;
pub mod private;
pub(crate) mod regularizer;
pub(crate) mod statistics;
