//! Other kinds of checkpoints, rewritten as Hugging Face folders of safetensors.

pub mod gguf;
pub mod pickled;
pub mod upcycle;
