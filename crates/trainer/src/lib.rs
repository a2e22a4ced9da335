//! Runs a hospital's own training program in place of the built-in trainer, as `protocols/trainer.md` specifies.
//!
//! One job is one run of the program. Before it, the job's folder gets the model and a description of the job. While it
//! runs, progress is read from its stdout, and it is killed when its time is up. After it, [`ProgramTrainer`] reads what the
//! program wrote, and checks all of it: the program is trusted with the hospital's notes, and with nothing else.

// This crate does IO: programs are started here, and their time is measured.
#![allow(clippy::disallowed_methods)]

mod folder;
mod process;
mod program;

pub use process::{ProgramError, Steps, TrainerProgram};
pub use program::{JobInputs, ProgramTrainer, TrainerError};
