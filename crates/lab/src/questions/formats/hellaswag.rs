//! HellaSwag: four endings of a description (Zellers et al. 2019).

use super::{QuestionFormat, WrittenQuestion, text, texts};

pub(super) const FORMAT: QuestionFormat = QuestionFormat {
    fields: &["query", "endings", "label"],
    read: |row| {
        Ok(WrittenQuestion {
            prompt: text(row, "query")?,
            options: texts(row, "endings")?,
            right: row.number("label")?,
        })
    },
};
