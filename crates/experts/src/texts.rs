//! How texts become tokens and windows, whichever model reads them.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::ExpertsError;
use crate::model_files::{read_file, unusable};

/// How a note that is longer than the model reads is split. Windows of a note stay one note: they are pooled together
/// before the head, so the note has one label, one loss, and counts as one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    /// The most windows of a note, at least 1. Tokens after them are cut off. The hospital sets it.
    pub most: usize,
    /// Tokens that a window shares with the one before, fewer than a window has room for.
    pub overlap: usize,
}

impl Default for Windows {
    fn default() -> Self {
        Self { most: 1, overlap: 0 }
    }
}

impl Windows {
    /// The most tokens of a text that are read, all windows together; a window has room for `room` of them.
    pub(crate) fn read_tokens(self, room: usize) -> Result<usize, ExpertsError> {
        self.check_room(room)?;
        // Each further window reads only what it does not share with the one before.
        Ok(room + (self.most - 1) * (room - self.overlap))
    }

    /// The same rule for texts of a published model, where one window means that long texts are cut.
    pub fn long(self) -> Long {
        match self.most {
            1 => Long::Cut,
            most => Long::Split { overlap: self.overlap, most },
        }
    }

    /// Checks that there is a window, and that windows with room for `room` tokens of a text share fewer than that:
    /// each one must have tokens of its own, or splitting would not end.
    pub(crate) fn check_room(self, room: usize) -> Result<(), ExpertsError> {
        if self.most == 0 || self.overlap >= room {
            return Err(ExpertsError::Settings(format!(
                "a note must have at least 1 window, and windows may share at most {} of their {room} tokens",
                room - 1
            )));
        }
        Ok(())
    }
}

/// How a published model's reader treats a text that is longer than the model reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Long {
    /// A prompt loses its start, and what is learnt loses its end.
    Cut,
    /// The text becomes several windows, each an example of the same record. Each starts with the last
    /// `overlap` tokens of the one before, which are context only: every token is learnt once. For decoders.
    Split {
        /// Tokens that two windows share, at least 1 and fewer than a window has.
        overlap: usize,
        /// The most windows of a text; tokens after them are cut off.
        most: usize,
    },
}

/// A row's text as the model reads it, its class, and its record.
pub(crate) struct SurveyedRow {
    /// All tokens of it, however many the model reads.
    pub(crate) tokens: Vec<i64>,
    /// The name of its class, where there are classes.
    pub(crate) class: Option<String>,
    /// The number of its record in its file.
    pub(crate) record: usize,
}

/// A model's `tokenizer.json`, without the padding and truncation that the file may ask for: windows and batches are
/// made here.
pub(crate) fn open_tokenizer(path: &Path) -> Result<Tokenizer, ExpertsError> {
    // The library does not tell a missing file from a broken one, so the file is read first.
    let bytes = read_file(path)?;
    let mut tokenizer = Tokenizer::from_bytes(bytes)
        .map_err(|error| unusable(path, format!("it is not a tokenizer: {error}")))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| unusable(path, format!("its truncation cannot be turned off: {error}")))?;
    Ok(tokenizer)
}

/// The fault of a text with a token beyond the model's vocabulary. Such a token would be an index outside the
/// embedding.
pub(crate) fn beyond(token: i64, vocabulary: usize) -> String {
    format!(
        "its text has the token number {token}, and the model's vocabulary has {vocabulary} tokens, \
         counted from 0; use the tokenizer that belongs to the model"
    )
}
