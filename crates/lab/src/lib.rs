//! The researchers' harness: federated runs on public data in one process.
//!
//! A run divides labelled texts among members, fits a head from sums, trains a Mixture-of-Experts model over rounds
//! under one of several [`strategy`]s, and measures it on texts that nobody trained on. Behind masks, the sums and
//! rounds go through the same state machines, and the same bytes, as the service ([`masked`]); in the clear they
//! are computed with [`cloister_alignment::reference`], the oracle.
//!
//! # Leakage
//! One process holds every member's texts. Nothing here is for patients' data.

pub mod accounts;
pub mod attacks;
pub mod audit;
mod chart;
mod checkpoint;
mod cohort_record;
pub mod config;
mod data;
mod digest;
mod environment;
pub mod error;
mod federation;
mod frozen;
pub mod head;
pub mod ladder;
mod learners;
mod linear;
pub mod masked;
pub mod noise;
pub mod partition;
mod private;
mod program;
mod progress;
mod questions;
mod results;
mod run;
mod seeds;
mod shuffle;
pub mod sketching;
pub mod statistics;
pub mod strategy;
mod text_run;
pub mod totals;
mod training;

pub use config::Config;
pub use environment::RunEnvironment;
pub use error::LabError;
pub use ladder::Ladder;
pub use progress::RunProgress;
pub use results::{MeasuredRound, RunSummary, SeedResult};
pub use run::{run, sketches};
