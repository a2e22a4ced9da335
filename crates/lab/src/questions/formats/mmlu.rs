//! MMLU: examination questions with a subject (Hendrycks et al. 2021).

use super::{QuestionFormat, WrittenQuestion, as_question, text, texts};

pub(super) const FORMAT: QuestionFormat = QuestionFormat {
    fields: &["question", "choices", "answer"],
    read: |row| {
        Ok(WrittenQuestion {
            prompt: as_question(&text(row, "question")?),
            options: texts(row, "choices")?,
            right: row.number("answer")?,
        })
    },
};
