//! What a survey found, as `cloister data check` prints it. The fields' names are those of its JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Survey;
use crate::files::notes::near_twins;

/// What the surveyed files hold.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SurveyReport {
    /// Rows of all files, good and bad.
    pub rows: usize,
    /// Records of the good rows. Without `--group-by`, each row is one.
    pub records: usize,
    /// The largest number of good rows that one record has.
    pub most_rows_of_a_record: usize,
    /// Rows that the client would reject.
    pub bad_rows: usize,
    /// The messages of the first of them, at most 10, each with file and place.
    pub first_bad_rows: Vec<String>,
    /// Messages on files of which the rest was not read, each with file and place. If there is one, all counts are
    /// too small. The row where reading ended is among the bad ones.
    pub unread: Vec<String>,
    /// Good rows of each class of the task, 0 included. Empty if the task has no classes.
    pub classes: BTreeMap<String, usize>,
    /// Groups of the task's classes that may be spellings of one class.
    pub near_twins: Vec<Vec<String>>,
    /// How long the good rows' texts are.
    pub lengths: Lengths,
    /// Good rows whose text an earlier row has too, token by token.
    pub duplicates: usize,
    /// Different texts that have rows of several classes.
    pub texts_of_several_classes: usize,
    /// Good rows whose text is among the held-out rows too. `None` without a held-out file.
    pub rows_held_out_too: Option<usize>,
}

/// Lengths of texts in tokens.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Lengths {
    /// The most tokens of a text that the model reads, all windows together.
    pub read: usize,
    /// The median.
    pub median: usize,
    /// The length that nine of ten texts do not exceed.
    pub ninth_decile: usize,
    /// The longest.
    pub longest: usize,
    /// Texts that are longer than `read`.
    pub cut: usize,
    /// The share of all tokens that the model does not read, from 0 to 1.
    pub share_of_tokens_cut: f64,
}

pub(super) fn report(
    survey: &Survey,
    held_out: Option<&Survey>,
    classes: &[String],
    read_tokens: usize,
) -> SurveyReport {
    let mut counts: BTreeMap<String, usize> = classes.iter().map(|class| (class.clone(), 0)).collect();
    counts.extend(survey.classes.clone());
    let repeated = survey.texts.values().map(|(count, _)| count - 1);
    let held_out_too = |other: &Survey| {
        let both = survey.texts.iter().filter(|(text, _)| other.texts.contains_key(*text));
        both.map(|(_, (count, _))| count).sum()
    };
    SurveyReport {
        rows: survey.rows,
        records: survey.records.len(),
        most_rows_of_a_record: survey.records.values().copied().max().unwrap_or(0),
        bad_rows: survey.rejected,
        first_bad_rows: survey.first_rejected.clone(),
        unread: survey.unread.clone(),
        classes: counts,
        near_twins: near_twins(classes).into_iter().map(|twins| twins.0).collect(),
        lengths: lengths(&survey.lengths, read_tokens),
        duplicates: repeated.sum(),
        texts_of_several_classes: survey.texts.values().filter(|(_, classes)| classes.len() > 1).count(),
        rows_held_out_too: held_out.map(held_out_too),
    }
}

fn lengths(lengths: &[usize], read: usize) -> Lengths {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| {
        // The nearest rank, so that the answer is a length that a text has and not one between two.
        let place = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or(0)
    };
    let all: usize = sorted.iter().sum();
    let not_read: usize = sorted.iter().map(|length| length.saturating_sub(read)).sum();
    Lengths {
        read,
        median: at(0.5),
        ninth_decile: at(0.9),
        longest: at(1.0),
        cut: sorted.iter().filter(|&&length| length > read).count(),
        share_of_tokens_cut: not_read as f64 / all.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::SurveyedRow;
    use super::*;

    fn survey(rows: &[(&[i64], &str, usize)]) -> Survey {
        let mut survey = Survey { files: 1, ..Survey::default() };
        for (tokens, class, record) in rows {
            let row =
                SurveyedRow { tokens: tokens.to_vec(), class: Some((*class).to_owned()), record: *record };
            survey.take(Ok(row)).expect("a good row");
        }
        survey
    }

    #[test]
    fn rows_are_counted_by_class_text_and_record() {
        let training_rows = survey(&[
            (&[1, 2, 3], "heart", 0),
            (&[1, 2, 3], "lung", 1),
            (&[1, 2, 3], "heart", 0),
            (&[4], "heart", 0),
            (&[5, 6, 7, 8, 9], "lung", 2),
        ]);
        let held_out = survey(&[(&[4], "heart", 0), (&[9], "lung", 1)]);
        let classes = ["Heart", "heart", "lung", "skin"].map(str::to_owned);
        let report = report(&training_rows, Some(&held_out), &classes, 3);
        assert_eq!((report.rows, report.records, report.most_rows_of_a_record), (5, 3, 3));
        assert_eq!(report.classes["heart"], 3);
        assert_eq!(report.classes["skin"], 0, "a class without rows is told");
        assert_eq!((report.duplicates, report.texts_of_several_classes), (2, 1));
        assert_eq!(report.rows_held_out_too, Some(1));
        assert_eq!(report.near_twins, [["Heart", "heart"]]);
        let lengths = report.lengths;
        assert_eq!((lengths.median, lengths.ninth_decile, lengths.longest, lengths.cut), (3, 5, 5, 1));
        assert!((lengths.share_of_tokens_cut - 2.0 / 15.0).abs() < 1e-12, "{lengths:?}");
    }

    #[test]
    fn no_rows_make_an_empty_report() {
        let report = report(&Survey::default(), None, &[], 8);
        assert_eq!((report.rows, report.lengths.longest, report.rows_held_out_too), (0, 0, None));
        assert_eq!(report.lengths.share_of_tokens_cut, 0.0);
    }
}
