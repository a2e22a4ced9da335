//! Where a run reads, computes and writes.

use std::path::PathBuf;

use cloister_experts::Device;

/// Where a run reads, computes and writes.
#[derive(Clone, Debug)]
pub struct RunFolders {
    /// What the configuration's files are relative to.
    pub data: PathBuf,
    /// MiniLM's files.
    pub minilm: PathBuf,
    /// Where models compute.
    pub device: Device,
    /// Where frozen features are kept for the next run.
    pub cache: PathBuf,
    /// Where results are written.
    pub out: PathBuf,
}
