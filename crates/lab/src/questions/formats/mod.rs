//! Formats of multiple-choice benchmarks. A format is a module of this folder and a line of [`FORMATS`].

use cloister_experts::files::rows::Row;

mod hellaswag;
mod mmlu;
mod piqa;

/// A format of questions, which is recognised by its fields.
pub(super) struct QuestionFormat {
    /// The fields that a row of it has.
    pub(super) fields: &'static [&'static str],
    /// Reads a row that has them.
    pub(super) read: fn(&Row) -> Result<WrittenQuestion, String>,
}

/// A question as a file has it.
pub(super) struct WrittenQuestion {
    /// What a model is shown.
    pub(super) prompt: String,
    /// What it chooses from.
    pub(super) options: Vec<String>,
    /// The number of the right option, from 0; none if the row has none.
    pub(super) right: Option<usize>,
}

/// Every format. If a row has the fields of several, the first is taken.
pub(super) const FORMATS: [QuestionFormat; 3] = [piqa::FORMAT, hellaswag::FORMAT, mmlu::FORMAT];

impl QuestionFormat {
    /// Whether a row has this format's fields.
    pub(super) fn is_of(&self, row: &Row) -> bool {
        self.fields.iter().all(|field| row.has(field))
    }
}

/// All fields that are read of a file: those of every format, and the subject, which any may have.
pub(super) fn columns() -> Vec<&'static str> {
    let mut columns = vec!["subject"];
    columns.extend(FORMATS.iter().flat_map(|format| format.fields));
    columns
}

/// A prompt for a question; HellaSwag's texts are continued as they are.
fn as_question(text: &str) -> String {
    format!("Question: {text}\nAnswer:")
}

fn text(row: &Row, field: &str) -> Result<String, String> {
    Ok(row.text(field)?.unwrap_or_default().to_owned())
}

fn texts(row: &Row, field: &str) -> Result<Vec<String>, String> {
    Ok(row.texts(field)?.unwrap_or_default().into_iter().map(str::to_owned).collect())
}
