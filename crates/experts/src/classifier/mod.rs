//! The built-in model: all-MiniLM-L6-v2 upcycled into a Mixture-of-Experts classifier of notes.
//!
//! [`encoder`] runs notes through the frozen layers once and stores the result as [`features`]; [`trainer`]
//! trains the layers above and evaluates them. [`blocks`] and [`checkpoint`] are what leaves: vectors for a
//! round, and a file.

pub mod blocks;
pub mod checkpoint;
pub mod config;
pub mod embedding;
pub mod encoder;
pub mod features;
pub mod memory;
mod minilm;
mod model;
mod moe;
pub(crate) mod predicting;
pub mod trainer;
