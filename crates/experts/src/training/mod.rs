//! What the built-in classifier and published models train with.

pub(crate) mod descent;
pub mod memory;
pub(crate) mod optimizer;
pub mod private;
pub mod progress;
pub(crate) mod regularizer;
pub mod result;
pub(crate) mod routing;
pub mod settings;
pub(crate) mod statistics;
