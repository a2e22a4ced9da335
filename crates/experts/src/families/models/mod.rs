//! Models of the families, put together from [`layers`](super::layers).

pub mod any_config;
pub(crate) mod batch;
pub mod decoder;
pub(crate) mod loader;
pub mod published;
pub(crate) mod shapes;
pub mod sites;
pub mod switch;
