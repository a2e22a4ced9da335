//! The built-in model: all-MiniLM-L6-v2 upcycled into a Mixture-of-Experts classifier of notes.

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
pub mod trainer;
