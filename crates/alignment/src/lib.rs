//! FedAlign-MoE behind masks: which members' experts mean the same, computed from noised sketches.
//!
//! Everything from the sketch on is integer arithmetic, so that every custodian and auditor recomputes the same
//! bytes on any machine. Method: Fang et al., arXiv 2603.21276; what is theirs and what is ours is told apart in
//! `protocols/alignment.md`.
//!
//! # Leakage
//! The coordinator, the custodians and the auditors see every sketch and count as given here, and what follows
//! from them: agreements, consensus, cohorts. Nothing here sees an update.

pub mod cohort;
pub mod consistency;
pub mod late;
pub mod reference;
pub mod score;
pub mod sketch;
mod statistics;
