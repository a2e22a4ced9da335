//! What can go wrong in loading a model or training it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cloister_updates::BlockError;
use safetensors::SafeTensorError;
use thiserror::Error;

use crate::files::rows::NotesError;

/// An error of this crate's model and training.
#[derive(Debug, Error)]
pub enum ExpertsError {
    /// The member's model configuration is outside its limits.
    #[error("model configuration: {0}; correct it and start again")]
    Config(String),
    /// No such device, or one that cannot be used.
    #[error("the device “{name}” cannot be used: {reason}")]
    Device {
        /// What was asked for.
        name: String,
        /// What was expected, or what is missing.
        reason: String,
    },
    /// The member's settings of local training are outside their limits.
    #[error("training settings: {0}; correct them and train again")]
    Settings(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}; {}", hint(.source))]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file is damaged, or has another format or other contents than a file in its place must have.
    #[error("{path} is not usable: {reason}; fetch or write it again")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected and what is there.
        reason: String,
    },
    /// A file is sound, but needs a feature that this crate does not implement.
    #[error("{path} is not supported: {reason}; use another model, or another form of this one")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is supported and what is there.
        reason: String,
    },
    /// A model would be written over the files that it is made from.
    #[error(
        "what is written to {path} would overwrite files of {source_path}, which it is made from; name a \
         folder outside of it"
    )]
    Target {
        /// What it is made from.
        source_path: PathBuf,
        /// Where it was to be written.
        path: PathBuf,
    },
    /// A base model is not the one that the task names.
    #[error(
        "{path} has the SHA-256 {got}, and the task on {base_model} names {expected}; use the same files as all other \
         members"
    )]
    Base {
        /// What the task calls the base model.
        base_model: String,
        /// The file.
        path: PathBuf,
        /// The digest that the task names, or `none`.
        expected: String,
        /// The digest of the file, or `none`.
        got: String,
    },
    /// An adapter does not belong to the model that it is used with.
    #[error("{0}; use an adapter that was made for this model")]
    Adapter(String),
    /// PEFT has no layout for experts that are trained whole.
    #[error(
        "{path}: PEFT has no layout for experts that are trained whole; write them in their places among \
         the model's weights (the merged layout), and read them from there"
    )]
    WholeExperts {
        /// What was to be written or read.
        path: PathBuf,
    },
    /// PEFT would load an adapter without an error and compute something else.
    #[error(
        "{path}: of adapters for experts that are laid out one by one, PEFT takes those of Qwen2-MoE for \
         the dense network's; write them in the layout peft-fused, or add them to the model's weights \
         (--merge)"
    )]
    Layout {
        /// What was to be written.
        path: PathBuf,
    },
    /// A file of notes cannot be used.
    #[error(transparent)]
    Notes(NotesError),
    /// Training would take more memory than is free.
    #[error(
        "training takes about {:.1} GiB and {:.1} GiB are free; take smaller batches, shorter texts or a \
         smaller model, or free memory",
        gibibytes(*needed),
        gibibytes(*available)
    )]
    Memory {
        /// Bytes that training takes, as estimated, the program itself included.
        needed: usize,
        /// Bytes that are free.
        available: usize,
    },
    /// A note's label is none of the model's classes. The message does not quote the label, which may be a
    /// note's text in the wrong column.
    #[error("note {note} (counted from 1) has a label that is none of the model's classes: {}", classes.join(", "))]
    UnknownLabel {
        /// The note's place, counted from 1.
        note: usize,
        /// The classes that there are.
        classes: Vec<String>,
    },
    /// The tokenizer refuses a note.
    #[error("note {note} (counted from 1) cannot be tokenized: {reason}")]
    Tokenizer {
        /// The note's place, counted from 1.
        note: usize,
        /// Why, but not in the tokenizer's words, which may quote the note.
        reason: String,
    },
    /// A language model cannot learn from an example.
    #[error("example {example} (counted from 1): {reason}; correct it or leave it out")]
    Example {
        /// The example's place, counted from 1.
        example: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Canaries cannot be planted or tested.
    #[error("{0}")]
    Canaries(String),
    /// There is not a single note to learn from or to evaluate on.
    #[error("no notes were given; at least one is needed")]
    NoNotes,
    /// Block vectors do not follow the configuration's block table, or are not finite.
    #[error(transparent)]
    Blocks(#[from] BlockError),
    /// The loss of a step is infinite or not a number.
    #[error("the loss became {loss} in step {step}; lower the learning rate and train again")]
    Diverged {
        /// The step, counted from 1.
        step: usize,
        /// Its loss: infinite, or NaN.
        loss: f64,
    },
}

fn gibibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

impl ExpertsError {
    /// Why a file of tensors could not be written.
    pub(crate) fn unwritable(path: &Path, error: SafeTensorError) -> Self {
        let path = path.to_owned();
        match error {
            SafeTensorError::IoError(source) => Self::File { path, source },
            other => Self::Content { path, reason: other.to_string() },
        }
    }
}

/// What to do about an error of the operating system.
fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "make room for it, or write it elsewhere"
        }
        _ => "check the path and its permissions",
    }
}
