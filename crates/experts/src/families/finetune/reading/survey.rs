//! Reads rows for a survey.

use super::{EXAMPLE_COLUMNS, Reader};
use crate::error::ExpertsError;
use crate::files::notes::labelled_text;
use crate::files::rows::{NotesError, NotesFile, ReadSoFar, Row, Rows};
use crate::texts::SurveyedRow;

impl Reader {
    /// Passes each row with all of its tokens to `take`. Unlike [`each`](Self::each), it continues after a
    /// bad row.
    pub(crate) fn survey(
        &self,
        file: NotesFile,
        are_questions: bool,
        take: &mut dyn FnMut(Result<SurveyedRow, NotesError>, ReadSoFar) -> Result<(), ExpertsError>,
    ) -> Result<(), ExpertsError> {
        let mut rows = Rows::open(file, EXAMPLE_COLUMNS).map_err(ExpertsError::Notes)?;
        while let Some(row) = rows.next(|row| self.surveyed(row, are_questions)) {
            let row = row.map(|(tokens, class)| SurveyedRow { tokens, class, record: rows.record() });
            take(row, rows.so_far())?;
        }
        Ok(())
    }

    /// All tokens of a row, and the name of its class. It fails for a row that training would reject.
    fn surveyed(&self, row: &Row, are_questions: bool) -> Result<(Vec<i64>, Option<String>), String> {
        let examples = self.examples(row)?;
        if are_questions {
            self.asked(row)?;
        }
        if self.classes.is_empty() {
            // A conversation that is learnt turn by turn has several texts; the longest counts.
            let texts = self.sequences(row)?.into_iter().map(|sequence| sequence.tokens);
            return Ok((texts.max_by_key(Vec::len).unwrap_or_default(), None));
        }
        let class = examples.first().and_then(|example| example.class);
        let tokens = self.tokens(&labelled_text(row)?.text, true)?;
        Ok((tokens, class.map(|class| self.classes[class].clone())))
    }
}
