//! Rows with a text and its class.

use super::{Long, Reader};
use crate::error::ExpertsError;
use crate::families::finetune::Example;
use crate::files::notes::{Note, class_number, labelled_text};
use crate::files::rows::Row;

impl Reader {
    /// Reads each row as a text with one of these classes, in the columns of
    /// [`NoteReader`](crate::files::notes::NoteReader), rather than as what a language model learns from.
    /// Without classes nothing changes. The tokenizer adds its special tokens to the text, but no end token
    /// is added. A text that is too long loses its end.
    ///
    /// # Errors
    /// [`ExpertsError::Settings`] if long texts are to be split: a head reads the last token of a text, and
    /// each window would have one.
    pub fn with_classes(self, classes: Vec<String>) -> Result<Self, ExpertsError> {
        match !classes.is_empty() && matches!(self.long, Long::Split { .. }) {
            true => Err(ExpertsError::Settings(
                "a published model sorts a text by its first window, so texts with classes are not split; \
                 let long texts be cut"
                    .to_owned(),
            )),
            false => Ok(Self { classes, ..self }),
        }
    }

    /// One row as an example.
    pub(super) fn labelled(&self, row: &Row) -> Result<Example, String> {
        let Note { text, label } = labelled_text(row)?;
        let class = class_number(&label, &self.classes)?;
        self.text_of_class(&text, class)
    }

    /// A text whose class nobody knows, as an example. It gets class 0, which is not read.
    ///
    /// # Errors
    /// Why the text cannot be sorted, without the text.
    pub(crate) fn unlabelled(&self, text: &str) -> Result<Example, String> {
        let example = self.text_of_class(text, 0)?;
        self.check(&example)?;
        Ok(example)
    }

    fn text_of_class(&self, text: &str, class: usize) -> Result<Example, String> {
        let mut tokens = self.tokens(text, true)?;
        // Special tokens that the tokenizer puts at the end are cut too; the head reads the last token that
        // remains.
        let cut = tokens.len() > self.max_tokens;
        tokens.truncate(self.max_tokens);
        match tokens.is_empty() {
            true => Err("its text has no tokens, so there is nothing to sort".to_owned()),
            false => Ok(Example { cut, ..Example::for_class(tokens, class) }),
        }
    }
}
