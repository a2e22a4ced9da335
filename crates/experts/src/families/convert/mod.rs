//! Other kinds of checkpoints, rewritten as Hugging Face folders of safetensors.

pub mod gguf;
pub mod pickled;
pub mod upcycle;

/// The first line of an error of candle. The lines behind it are a backtrace, if the environment asks for
/// one.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
