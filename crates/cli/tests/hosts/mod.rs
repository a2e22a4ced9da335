//! Hosts with services, for tests of whole consortia.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub(crate) mod network;
pub(crate) mod service;
