//! Models of the families, put together from [`layers`](super::layers).

pub mod decoder;
pub(crate) mod loader;
pub mod published;
pub(crate) mod shapes;
pub mod sites;
pub mod switch;
