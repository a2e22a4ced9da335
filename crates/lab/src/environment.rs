//! Where a run reads, computes and writes, and what trains in it.

use std::path::PathBuf;

use cloister_experts::Device;
use cloister_trainer::TrainerProgram;

/// What a run needs of the machine that it runs on. Except for a training program, none of it is part of a
/// result's digest.
#[derive(Clone, Debug)]
pub struct RunEnvironment {
    /// What the configuration's files are relative to.
    pub data: PathBuf,
    /// The folder of MiniLM's weights and tokenizer.
    pub minilm: PathBuf,
    /// Where models compute.
    pub device: Device,
    /// Where frozen features are stored for the next run; may be deleted at any time.
    pub cache: PathBuf,
    /// Where results are written.
    pub out: PathBuf,
    /// A program that is every member's local step, in place of the built-in trainer. Its own folder is replaced by one
    /// below `out`.
    pub trainer: Option<TrainerProgram>,
}
