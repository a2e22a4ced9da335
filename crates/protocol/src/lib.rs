//! The round as deterministic state machines: member, custodian, coordinator.
//!
//! Frames, time and randomness come in through `handle_*`; frames, tasks and records to keep come out of
//! `poll_output`, in the order in which they must be carried out. Nothing here does IO or reads a clock.
//!
//! Received bytes pass through types, each with one way in: `Signed` (parsed) → [`statement::Verified`] →
//! [`manifest::CheckedManifest`] (scored) → [`sealed::SealedCohorts`] → [`opening::OpenedSum`] →
//! [`model::Model`]. Requirement ids refer to `protocols/`.

mod applying;
pub mod bars;
pub mod contribution;
pub mod coordinator;
pub mod custodian;
pub mod dealing;
pub mod ending;
pub mod fault;
pub mod late;
pub mod manifest;
pub mod member;
pub mod model;
pub mod opening;
pub mod openings;
pub mod recompute;
mod reveals;
pub mod round;
pub mod sealed;
pub mod statement;
