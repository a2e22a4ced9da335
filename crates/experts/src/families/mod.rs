//! Models as their makers publish them: Mixture-of-Experts families read from Hugging Face folders.
//!
//! [`config::DecoderConfig`] says in data what distinguishes OLMoE, Mixtral, Qwen2-MoE, Qwen3-MoE, DeepSeek-V2 and -V3
//! and Llama from each other; [`Decoder`] is the one program that computes them all. [`Switch`] is T5 with experts.
//! Weights stay as they are read: what is trained is an [`Adapter`], attached to a [`Model`], and goes in and out of
//! the folders that PEFT writes.

pub mod adapter;
mod attention;
pub mod blocks;
pub mod config;
pub mod decoder;
mod experts;
mod fields;
pub mod gguf;
mod head;
mod loader;
pub mod losses;
pub mod model;
pub(crate) mod names;
pub mod overview;
pub mod pickled;
mod projection;
mod read_config;
mod relative;
mod rope;
pub mod router;
mod shapes;
pub mod sites;
pub mod switch;
pub mod switch_config;
pub mod tokens;
pub mod upcycle;
mod weights;

pub use adapter::{Adapter, AdapterSettings, ExpertTraining, Layout};
pub use blocks::AdapterBlocks;
pub use config::{DecoderConfig, Family};
pub use decoder::Decoder;
pub use loader::Precision;
pub use model::Model;
pub use overview::{AnyConfig, Overview, Workload, overview};
pub use router::Routing;
pub use switch::Switch;
pub use tokens::Tokens;
pub use upcycle::upcycle;
pub(crate) use weights::shard_paths;
