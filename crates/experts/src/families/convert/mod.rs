//! Other kinds of checkpoints, rewritten as Hugging Face folders of safetensors.

pub mod gguf;
pub mod pickled;
pub mod upcycle;

/// What candle says is wrong; behind it, it prints where in the program that was, if the environment asks for it.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
