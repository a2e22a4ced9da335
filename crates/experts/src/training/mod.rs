//! What the built-in classifier and published models train with.
//!
//! A training is one loop (`descent`) over a source of gradients: epochs of shuffled examples, or the steps
//! of DP-SGD ([`private`]). It starts with a fresh optimizer, so nothing of a round lives on in the next. A
//! half brings what only it knows: how a batch, or each example of it, becomes gradients.

pub(crate) mod descent;
pub mod memory;
pub(crate) mod optimizer;
pub mod private;
pub mod progress;
pub(crate) mod regularizer;
pub(crate) mod routing;
pub mod settings;
pub(crate) mod statistics;
