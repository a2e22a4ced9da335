//! PIQA: two ways to reach a goal (Bisk et al. 2020).

use super::{QuestionFormat, WrittenQuestion, as_question, text};

pub(super) const FORMAT: QuestionFormat = QuestionFormat {
    fields: &["goal", "sol1", "sol2", "label"],
    read: |row| {
        Ok(WrittenQuestion {
            prompt: as_question(&text(row, "goal")?),
            options: vec![text(row, "sol1")?, text(row, "sol2")?],
            right: row.number("label")?,
        })
    },
};
