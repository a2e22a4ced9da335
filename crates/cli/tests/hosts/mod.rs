//! Hosts with services, for tests of whole consortia.

// Each test binary uses a part of it.
#![allow(dead_code)]
// Processes take the time that they take.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[cfg(feature = "training")]
pub(crate) mod consortium;
pub(crate) mod network;
pub(crate) mod service;
