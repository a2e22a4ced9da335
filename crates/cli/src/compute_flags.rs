//! Flags that commands share which compute with a model.

use std::path::PathBuf;

use clap::Args;
use cloister_experts::prediction::PredictorSettings;
use cloister_experts::{Device, Windows, device};

use crate::experts::PrecisionFlag;

/// How long notes are split.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct WindowFlags {
    /// The largest number of windows that a long note is split into. The rest of the note is cut off.
    #[arg(long, default_value_t = 1)]
    windows: usize,
    /// Number of tokens that each window shares with the one before.
    #[arg(long, default_value_t = 0)]
    window_overlap: usize,
}

impl From<WindowFlags> for Windows {
    fn from(flags: WindowFlags) -> Self {
        Self { most: flags.windows, overlap: flags.window_overlap }
    }
}

/// What the model computes in and on.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ComputeFlags {
    /// The floating-point type that the model computes in. What is trained is stored in float32.
    #[arg(long, value_enum, default_value = "float32")]
    pub(crate) precision: PrecisionFlag,
    /// Number of CPU threads, at most 256.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// The device to compute on: cpu, cuda, cuda:N, or auto for the first GPU if there is one.
    #[arg(long, default_value = "auto", value_parser = device::named)]
    pub(crate) device: Device,
}

/// A trained model, and how it computes.
#[derive(Debug, Args)]
pub(crate) struct TrainedModelFlags {
    /// The task file that the model was trained for.
    #[arg(long)]
    pub(crate) task: PathBuf,
    /// The trained model in the hospital's data folder: model.safetensors of a classifier; of a published model the folder
    /// `adapter`, or `merged`.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The folder of the base model's files: MiniLM for tasks with classes of its own, otherwise the model that the task names.
    #[arg(long, env = "CLOISTER_BASE_MODEL")]
    base_model: PathBuf,
    #[command(flatten)]
    windows: WindowFlags,
    #[command(flatten)]
    compute: ComputeFlags,
}

impl TrainedModelFlags {
    pub(crate) fn settings(&self) -> PredictorSettings {
        PredictorSettings {
            base_model: self.base_model.clone(),
            windows: self.windows.into(),
            threads: self.compute.threads.into(),
            device: self.compute.device,
            precision: self.compute.precision.into(),
        }
    }
}
