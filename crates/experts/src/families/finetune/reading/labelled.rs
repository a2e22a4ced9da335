//! Rows that have a text and its class.

use super::{Long, Reader};
use crate::error::ExpertsError;
use crate::families::finetune::Example;
use crate::files::notes::{Note, class_number, labelled_text};
use crate::files::rows::Row;

impl Reader {
    /// Reads each row as a text and one of these classes, as [`NoteReader`](crate::files::notes::NoteReader) has them, in place of
    /// what a language model learns from; where no class is named, nothing changes. The tokenizer's own tokens come around
    /// the text as it puts them, and no end token. A text that is too long loses its end.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] where long texts are split: a head reads one last token, so there would be several of one
    /// text.
    pub fn with_classes(self, classes: Vec<String>) -> Result<Self, ExpertsError> {
        match !classes.is_empty() && matches!(self.long, Long::Split { .. }) {
            true => Err(ExpertsError::Settings(
                "a published model sorts texts by their first window; texts that it sorts into classes are not split".to_owned(),
            )),
            false => Ok(Self { classes, ..self }),
        }
    }

    /// One row as an example.
    pub(super) fn labelled(&self, row: &Row) -> Result<Example, String> {
        let Note { text, label } = labelled_text(row)?;
        let class = class_number(&label, &self.classes)?;
        let mut tokens = self.tokens(&text, true)?;
        let cut = tokens.len() > self.max_tokens;
        tokens.truncate(self.max_tokens);
        match tokens.is_empty() {
            true => Err("there is no text to sort".to_owned()),
            false => Ok(Example { cut, ..Example::of_class(tokens, class) }),
        }
    }
}
