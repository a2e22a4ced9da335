//! Runs a hospital's own training program in place of the built-in trainer, as `protocols/trainer.md` specifies.
//!
//! One job is one run of the program. Before it, [`ProgramTrainer`] writes the model and a description of the job into the job's
//! folder. While the program runs, its progress is read from its stdout, and it is killed when its time is up. After it,
//! what it wrote is read and checked.
//!
//! # What it is not
//! Nothing leaves a hospital here: a result goes through `cloister-gate` like that of the built-in trainer. There is no
//! sandbox either. The program runs with the rights of this process.
//!
//! # Trust
//! The program is trusted with the hospital's notes, and with nothing else: it gets none of this process's environment beyond
//! named variables, and whatever it writes is checked for shape, finiteness and consistency.
//!
//! # Example
//! A program that fails ends the job with an error that names it, and nothing of the job's folder is left:
//!
//! ```
//! use std::time::Duration;
//!
//! use cloister_experts::task::Task;
//! use cloister_experts::{LocalTraining, ModelConfig, initial_blocks};
//! use cloister_trainer::{JobInputs, ProgramError, ProgramTrainer, TrainerError, TrainerProgram};
//!
//! let folder = std::env::temp_dir().join(format!("cloister-trainer-{}", std::process::id()));
//! let program = TrainerProgram {
//!     command: vec!["false".to_owned()],
//!     timeout: Duration::from_secs(60),
//!     environment: vec![],
//!     folder: folder.clone(),
//! };
//! let model = ModelConfig::new(vec!["heart".to_owned(), "lung".to_owned()]);
//! let inputs = JobInputs {
//!     task: Task::Classifier(model.clone()),
//!     base_model: "minilm".into(),
//!     notes: "notes.jsonl".into(),
//!     held_out: "held-out.jsonl".into(),
//!     threads: 1,
//! };
//! let trainer = ProgramTrainer::new(&program, inputs)?;
//! let result = trainer.train(&initial_blocks(&model), &LocalTraining::default(), &mut |_, _| ());
//! assert!(matches!(result, Err(TrainerError::Program(ProgramError::Failed { .. }))));
//! assert!(!folder.exists());
//! # Ok::<(), TrainerError>(())
//! ```

// This crate does IO: programs are started here, and their time is measured.
#![allow(clippy::disallowed_methods)]

mod folder;
mod process;
mod program;

pub use process::{ProgramError, Steps, TrainerProgram};
pub use program::{JobInputs, ProgramTrainer, TrainerError};
