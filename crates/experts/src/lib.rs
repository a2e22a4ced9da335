//! What a hospital's machine trains: all-MiniLM-L6-v2 upcycled into a Mixture-of-Experts text classifier.
//!
//! The lower layers of MiniLM are frozen and run once a note ([`classifier::encoder::Encoder`]). In the upper layers the
//! feed-forward network is copied into experts behind a router; each expert learns a low-rank adapter, and a linear
//! head reads the mean-pooled last hidden state ([`classifier::trainer::Trainer`]). What is trained leaves this crate only as
//! flat vectors, block by block ([`blocks::BlockVectors`]), which is all that the rest of Cloister sees of a model.
//!
//! [`families`] reads published Mixture-of-Experts models (OLMoE, Mixtral, Qwen, DeepSeek, Switch) as Hugging Face has
//! them, and their adapters in and out of PEFT's layouts.

pub mod blocks;
pub mod classifier;
pub mod device;
mod draw;
pub mod error;
pub mod exchange;
pub mod families;
pub mod files;
mod model_files;
mod packing;
pub mod partition;
pub mod survey;
pub mod synthetic;
pub mod task;
pub mod texts;
pub mod training;

pub use blocks::BlockVectors;
pub use classifier::blocks::{block_table, initial_blocks};
pub use classifier::config::ModelConfig;
pub use classifier::encoder::Encoder;
pub use classifier::features::Features;
pub use classifier::trainer::{Evaluation, Score, Trainer};
pub use device::Precision;
pub use error::ExpertsError;
pub use files::notes::Note;
pub use tch::Device;
pub use texts::{Long, Windows};
pub use training::private::{
    Averaging, PlantedGradients, PrivateReport, PrivateTraining, RecordAverages, ReleasedStep, RoutedToken,
};
pub use training::progress::TrainingProgress;
pub use training::regularizer::RoutingForm;
pub use training::result::{ExpertRegion, LocalResult};
pub use training::settings::{Frozen, LocalTraining};
pub use training::statistics::RegionForm;
