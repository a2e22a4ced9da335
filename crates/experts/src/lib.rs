//! What a hospital's machine trains, and the files that it reads and writes.
//!
//! The crate has two halves, and what they share:
//!
//! - [`classifier`] is the built-in model: all-MiniLM-L6-v2 upcycled into a Mixture-of-Experts classifier of notes. Its
//!   lower layers are frozen and run once a note ([`Encoder`]). In the upper layers the feed-forward network is copied
//!   into experts behind a router; each expert learns a low-rank adapter, and a linear head reads the mean-pooled last
//!   hidden state ([`Trainer`]).
//! - [`families`] has published Mixture-of-Experts models (OLMoE, Mixtral, Qwen, DeepSeek, Switch) as Hugging Face
//!   stores them, their adapters in PEFT's layouts, and their fine-tuning.
//! - [`training`] is what both train with: one loop, the optimizer, the routing regulariser, the statistics that scoring
//!   needs, and DP-SGD ([`training::private`]).
//! - [`files`] reads a hospital's rows: CSV, JSON Lines, Parquet, compressed or not. [`texts`] says how they become
//!   tokens.
//!
//! On top of both halves, [`task`] is what members agree on, [`exchange`] what a training program of a hospital's own
//! gets and gives back, and [`survey`] counts what files hold before anybody trains on them. [`synthetic`] and
//! [`partition`] make and distribute notes for simulations.
//!
//! What is trained leaves this crate only as flat vectors, block by block ([`BlockVectors`]). That is all that the rest
//! of Cloister sees of a model.

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
