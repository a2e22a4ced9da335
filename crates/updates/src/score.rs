//! How well a model does on records that nobody trains on.

use std::collections::BTreeMap;

/// A model's score on held-out records: what an evaluation block carries (`PRIV-15`). One record more or less moves each number
/// by at most 1.
#[derive(Clone, Copy, PartialEq, Default)]
pub struct RecordScore {
    /// The sum over records of the share of each record that the model answers correctly, which is between 0 and 1.
    pub correct: f64,
    /// How many records there are.
    pub records: usize,
}

/// It reveals something about a hospital's records, so it is never printed.
impl std::fmt::Debug for RecordScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordScore")
    }
}

impl RecordScore {
    /// The score of rows, each with the number of its record, how many of its answers are right, and how many it has. A record
    /// without an answer counts 0 of 1.
    pub fn new(rows: impl IntoIterator<Item = (usize, usize, usize)>) -> Self {
        let mut records: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (record, right, answers) in rows {
            let sums = records.entry(record).or_default();
            *sums = (sums.0 + right, sums.1 + answers);
        }
        let shares = records.values().map(|(right, answers)| *right as f64 / (*answers).max(1) as f64);
        Self { correct: shares.map(|share| share.min(1.0)).sum(), records: records.len() }
    }

    /// The two numbers of an evaluation block.
    pub fn counts(self) -> Vec<f32> {
        vec![self.correct as f32, self.records as f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PRIV-15
    #[test]
    fn a_record_counts_once_however_many_rows_it_has() {
        let rows = [(0, 1, 1), (1, 0, 1), (2, 30, 40), (2, 0, 20), (3, 0, 0)];
        assert_eq!(RecordScore::new(rows).counts(), [1.5, 4.0]);
        assert_eq!(RecordScore::new([]).counts(), [0.0, 0.0]);
        // A program that reports more right answers than there are gains nothing.
        assert_eq!(RecordScore::new([(0, 9, 1)]).counts(), [1.0, 1.0]);
    }
}
