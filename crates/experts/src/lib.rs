//! What a hospital's machine trains: all-MiniLM-L6-v2 upcycled into a Mixture-of-Experts text classifier.
//!
//! The lower layers of MiniLM are frozen and run once a note ([`encoder::Encoder`]). In the upper layers the
//! feed-forward network is copied into experts behind a router; each expert learns a low-rank adapter, and a linear
//! head reads the mean-pooled last hidden state ([`trainer::Trainer`]). What is trained leaves this crate only as
//! flat vectors, block by block ([`blocks::BlockVectors`]), which is all that the rest of Cloister sees of a model.
//!
//! [`families`] reads published Mixture-of-Experts models (OLMoE, Mixtral, Qwen, DeepSeek, Switch) as Hugging Face has
//! them, and their adapters in and out of PEFT's layouts.

pub mod blocks;
pub mod checkpoint;
pub mod config;
pub mod device;
mod draw;
pub mod embedding;
pub mod encoder;
pub mod error;
pub mod exchange;
pub mod families;
pub mod features;
pub mod finetune;
mod losses;
pub mod memory;
mod minilm;
mod model;
mod moe;
pub mod notes;
mod optimizer;
mod packing;
pub mod partition;
pub mod private;
mod quiet;
mod regularizer;
pub mod rows;
mod statistics;
pub mod survey;
pub mod synthetic;
pub mod task;
pub mod trainer;

pub use blocks::{BlockVectors, block_table, initial_blocks};
pub use config::ModelConfig;
pub use encoder::{Encoder, Windows};
pub use error::ExpertsError;
pub use features::Features;
pub use notes::Note;
pub use private::{
    Averaging, PlantedGradients, PrivateReport, PrivateTraining, RecordAverages, ReleasedStep, RoutedToken,
};
pub use regularizer::RoutingForm;
pub use statistics::RegionForm;
pub use tch::Device;
pub use trainer::{
    Evaluation, ExpertRegion, Frozen, LocalResult, LocalTraining, Score, Trainer, TrainingProgress,
};
