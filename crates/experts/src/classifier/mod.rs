//! The built-in model: all-MiniLM-L6-v2 upcycled into a Mixture-of-Experts classifier of notes.

pub mod checkpoint;
pub mod config;
pub mod embedding;
pub mod encoder;
pub mod features;
pub(crate) mod minilm;
pub(crate) mod model;
pub(crate) mod moe;
pub mod trainer;
