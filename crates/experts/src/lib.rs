//! What a hospital's machine trains, and the files that it reads and writes.
//!
//! The crate has two halves, and what they share:
//!
//! - [`classifier`] is the built-in model: all-MiniLM-L6-v2 upcycled into a Mixture-of-Experts classifier of
//!   notes. Its lower layers are frozen and run once a note ([`Encoder`]). In the upper layers the
//!   feed-forward network is copied into experts behind a router; each expert learns a low-rank adapter, and
//!   a linear head reads the mean-pooled last hidden state ([`Trainer`]).
//! - [`families`] has published Mixture-of-Experts models (OLMoE, Mixtral, Qwen, DeepSeek, Switch) as Hugging
//!   Face stores them, their adapters in PEFT's layouts, and their fine-tuning.
//! - [`training`] is what both train with: one loop, the optimizer, the routing regulariser, the statistics
//!   that scoring needs, and DP-SGD ([`training::private`]).
//! - [`files`] reads a hospital's rows: CSV, JSON Lines, Parquet, compressed or not. [`texts`] says how they
//!   become tokens.
//!
//! On top of both halves, [`task`] is what members agree on, [`exchange`] what a training program of a
//! hospital's own gets and gives back, [`survey`] counts what files hold before a hospital trains on them,
//! [`prediction`] applies a trained model to new notes, and [`canaries`] tests whether it recites what was planted.
//! [`synthetic`] and [`partition`] make and distribute notes for simulations.
//!
//! # What it is not
//! This crate has no keys and does not know other members. What is trained goes to the rest of Cloister only
//! as flat vectors, block by block ([`BlockVectors`]), with the statistics beside them ([`LocalResult`]);
//! `cloister_gate` turns these into a contribution, and decides which of them may leave. The crate measures
//! no ε: [`training::private`] runs DP-SGD, and `cloister_privacy` counts what it costs.
//!
//! # Trust
//! - The author of a model's folder, an adapter or a checkpoint is trusted with numbers only. Names and
//!   shapes of tensors are checked against what the configuration says. A pickle, which is a program, is
//!   parsed and never run. A chat template is rendered by an interpreter that reaches no file and no network.
//!   Nobody checks that a model is good.
//! - The hospital's own rows may be malformed. An error names the file and the row, and never shows the text
//!   of a note.
//! - A training result reveals something about the notes that it was trained on, so a [`LocalResult`] is
//!   never printed. Only what a round's plan names may leave the hospital.
//! - libtorch is trusted: it computes everything.
//!
//! # Example
//! A tiny Mixtral learns three texts for six steps, and its adapter is written as PEFT reads it, and read
//! again:
//!
//! ```
//! use std::path::Path;
//!
//! use cloister_experts::families::finetune::{Example, FineTuner, FineTuning};
//! use cloister_experts::families::{Adapter, AdapterSettings, Family, Layout, PublishedModel};
//! use cloister_experts::{Device, Precision};
//!
//! let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mixtral");
//! let mut model = PublishedModel::open(&folder, Precision::Float32, Device::Cpu)?;
//!
//! // What is trained: low-rank additions to the experts, and the routers.
//! let settings = AdapterSettings { rank: 4, alpha: 8.0, router: true, ..AdapterSettings::default() };
//! let adapter = Adapter::new(&mut model, &settings, 1)?;
//! let mut tuner = FineTuner::new(model, adapter)?;
//!
//! // Token numbers stand for a text. Its first two tokens are given, the others are learnt.
//! let examples: Vec<Example> =
//!     (3..6).map(|first| Example::new(vec![first, 7, 9, first + 20, 2], 2)).collect();
//! let before = tuner.loss(&examples, 3)?;
//! let settings = FineTuning { epochs: 6, batch_size: 3, learning_rate: 2e-2, ..FineTuning::default() };
//! let trained = tuner.train(&examples, &settings, &mut |_| {})?;
//! let after = tuner.loss(&examples, 3)?;
//! assert_eq!(trained.losses.len(), 6);
//! assert!(after < 0.95 * before, "the loss fell from {before} to {after} only");
//!
//! // The adapter alone is written: the model's weights are as they were.
//! let target = std::env::temp_dir().join(format!("cloister-example-{}", std::process::id()));
//! tuner.adapter().write(&target, Family::Mixtral, Layout::PeftFused)?;
//! let mut model = PublishedModel::open(&folder, Precision::Float32, Device::Cpu)?;
//! let read = Adapter::read(&target, &mut model)?;
//! std::fs::remove_dir_all(&target)?;
//! let loss = FineTuner::new(model, read)?.loss(&examples, 3)?;
//! assert!((loss - after).abs() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod canaries;
mod class_scores;
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
pub mod prediction;
pub mod survey;
pub mod synthetic;
pub mod task;
pub mod texts;
pub mod training;

pub use class_scores::ClassScores;
pub use classifier::blocks::{block_table, block_vectors, initial_blocks};
pub use classifier::config::ModelConfig;
pub use classifier::encoder::Encoder;
pub use classifier::features::Features;
pub use classifier::trainer::{Evaluation, Score, Trainer};
pub use cloister_updates::{
    Averaging, BlockError, BlockVectors, ExpertRegion, LocalResult, RecordAverages, RecordScore,
};
pub use device::Precision;
pub use error::ExpertsError;
pub use files::notes::Note;
pub use tch::Device;
pub use texts::{Long, Windows};
pub use training::private::{
    PlantedGradients, PrivateReport, PrivateTraining, ReleasedStep, RoutedToken, planted_averages,
};
pub use training::progress::TrainingProgress;
pub use training::regularizer::RoutingForm;
pub use training::settings::{Frozen, LocalTraining};
pub use training::statistics::RegionForm;
