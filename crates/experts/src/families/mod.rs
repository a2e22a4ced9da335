//! Models as their makers publish them: Mixture-of-Experts families read from Hugging Face folders.
//!
//! [`config::DecoderConfig`] says in data what distinguishes OLMoE, Mixtral, Qwen2-MoE, Qwen3-MoE,
//! DeepSeek-V2 and -V3 and Llama from each other; [`Decoder`] is the one program that computes them all.
//! [`Switch`] is T5 with experts. Weights stay as they are read: what is trained is an [`Adapter`], attached
//! to a [`PublishedModel`], and goes in and out of the folders that PEFT writes.
//!
//! From the bottom up: [`config`] reads what a model is, `weights` its tensors; [`layers`] are the parts of
//! models and [`models`] puts them together; [`adapter`] is what is trained, [`finetune`] trains it,
//! [`convert`] rewrites other kinds of checkpoints, and [`overview`](mod@overview) says what a training will
//! take.

pub mod adapter;
pub mod config;
pub mod convert;
pub mod finetune;
pub mod layers;
pub mod models;
pub mod overview;
mod weights;

pub use adapter::blocks::AdapterBlocks;
pub use adapter::{Adapter, AdapterSettings, ExpertTraining, Layout};
pub use config::{DecoderConfig, Family};
pub use convert::upcycle::upcycle;
pub use layers::router::Routing;
pub use layers::tokens::Tokens;
pub use models::any_config::AnyConfig;
pub use models::decoder::Decoder;
pub use models::published::PublishedModel;
pub use models::switch::Switch;
pub use overview::{Overview, Workload, overview};
pub(crate) use weights::shard_paths;
